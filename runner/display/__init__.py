"""The terminal: how plans, runs and errors are shown. Nothing in here makes decisions, or raises into a run.

Not part of the story: a run calls it by its hooks and `Listener`.
"""
