"""The terminal: how plans, runs and errors are shown. Nothing in here makes decisions, or raises into a run."""
