"""Decides which stages run, and why, from the spec, the files on disk and the markers of earlier runs."""
