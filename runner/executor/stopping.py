"""Whether a run ends before all is done: after a failure, or because a signal asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.interrupts import SIGNALS

if TYPE_CHECKING:
    from runner.contain.client import Launcher
    from runner.interrupts import Interrupts
    from runner.results import AttemptResult

OWN_SIGNAL_PATIENCE = 0.25


class Stopping:
    """`has_begun`: nothing more is to be started."""

    def __init__(self, interrupts: Interrupts, launcher: Launcher) -> None:
        self._interrupts = interrupts
        self._launcher = launcher
        self._passed_on = 0
        self.has_begun = False

    def heed(self) -> bool:
        """Pass a first signal on as TERM, with the grace; a second one kills. False when none came since the last."""
        count = self._interrupts.count
        if count == self._passed_on:
            return False
        self.has_begun = True
        end = self._launcher.kill if count > 1 else self._launcher.terminate
        end()
        self._passed_on = count
        return True

    def is_why(self, attempt: AttemptResult) -> bool:
        """Whether an attempt failed because the run was asked to stop.

        When every process gets the signal at once, the stage's end may be heard of before our own signal.
        """
        if attempt.signal in SIGNALS and not attempt.timed_out:
            self._interrupts.await_signal(OWN_SIGNAL_PATIENCE)
        return self._interrupts.count > 0
