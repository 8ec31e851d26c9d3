"""What the caller of a run gives it: a listener, which follows the run beyond its hooks, and in tests a clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.errors import Fault


class Listener:
    """Does nothing; a display overrides what it shows."""

    @property
    def interval(self) -> float | None:
        """How often to call `tick`, in seconds; None for never."""
        return None

    def tick(self) -> None:
        """Redraw: time has passed."""

    def hashed(self, path: str, total: int, size: int) -> None:
        """Note that `size` more bytes of a file of `total` bytes are hashed."""

    def waiting(self, holder: dict[str, object]) -> None:
        """Say who holds the lock that the run waits for."""

    def warn(self, fault: Fault) -> None:
        """Warn of what stops nothing: a state file that counts as missing, a likely mistake in the spec."""

    def hooks(self) -> tuple[object, ...]:
        """Return what implements hooks. A run calls this once it has work to do; without work it loads no hooks."""
        return ()


class Clock:
    """A clock that only goes forward, in seconds from an arbitrary start. Tests replace it."""

    def __call__(self) -> float:
        """Return the time."""
        return time.monotonic()

    def patience(self, seconds: float) -> float:
        """Return how long to really wait until `seconds` have passed, when there is nothing else to wait for."""
        return seconds
