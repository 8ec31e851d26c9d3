"""The command line: its verbs and their output. A new verb begins in `parser`.

Not part of the story: each verb calls one function of `engine`, `verbs`, `audit` or `extras`, and prints its value.
"""
