"""The command line: its verbs and their output."""
