"""The listener of a run, for news that no hook covers, and the clock of a run. The caller of a run may replace both."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.errors import Fault


class Listener:
    """Does nothing; a display overrides the methods for what it shows."""

    @property
    def interval(self) -> float | None:
        """How often to call `tick`, in seconds; None for never."""
        return None

    def tick(self) -> None:
        """Redraw: time has passed."""

    def hashed(self, path: str, total: int, size: int) -> None:
        """Note that `size` more bytes of a file with `total` bytes are hashed."""

    def waiting(self, holder: dict[str, object]) -> None:
        """Show the holder of the lock that the run waits for."""

    def warn(self, fault: Fault) -> None:
        """Show a warning: a state file that counts as missing, a likely mistake in the spec."""

    def hooks(self) -> tuple[object, ...]:
        """Return plugins that implement hooks. A run calls this only if it has work to do."""
        return ()


class Clock:
    """A clock that only goes forward, in seconds from an arbitrary start. Tests replace it."""

    def __call__(self) -> float:
        """Return the time."""
        return time.monotonic()

    def patience(self, seconds: float) -> float:
        """Return how long to really wait until `seconds` have passed, when there is nothing else to wait for."""
        return seconds
