"""Decides which stages run, and why: pure functions of the spec, the files on disk and the markers of earlier runs."""
