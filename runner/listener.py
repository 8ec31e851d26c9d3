"""What follows a run beyond its hooks, also before any are loaded."""

from __future__ import annotations

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
