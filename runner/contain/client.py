"""The runner's end of the launcher: start it, ask for launches, hear of exits."""

from __future__ import annotations

from runner.contain.launch import Exit, Launch

__all__ = ["Exit", "Launch", "Launcher"]


class Launcher:
    """One running launcher program, and the two pipes to it."""
