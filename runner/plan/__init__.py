"""Decides which stages run, and why, from the spec, the files on disk and the markers of earlier runs.

Part of the story. Deciding changes nothing: `plan`, `explain` and `run` share it.
"""
