"""The clock of a run, for back-off, the time limits of retries, and durations."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A clock that only goes forward, in seconds from an arbitrary start."""

    def __call__(self) -> float:
        """Return the time."""

    def patience(self, seconds: float) -> float:
        """Return how long really to wait for so many seconds to pass, when there is nothing else to wait for."""


class Monotonic:
    """The machine's own."""

    def __call__(self) -> float:
        """Return the time since some start of the machine's."""
        return time.monotonic()

    def patience(self, seconds: float) -> float:
        """Return all of it."""
        return seconds
