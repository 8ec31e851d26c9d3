"""HUP, INT and TERM to the runner: noted when they arrive, acted on where the state is consistent."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from runner.errors import InterruptedRunError
from runner.processes import signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from runner.results import AttemptResult

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
GRACE = 5.0  # seconds that a stage has from TERM to KILL
OWN_SIGNAL_PATIENCE = 0.25  # seconds to wait for a signal to the runner, after a signal ended a stage


class Interrupts:
    """Catches the signals while it is entered. The descriptor `wakeup` becomes readable when a signal arrives.

    A signal that was ignored when the run began (nohup) stays ignored. Outside the main thread Python allows no
    handlers, so no signal is caught there.
    """

    def __init__(self, *, final: bool = False) -> None:
        """`final`: the process ends with the run, so after a first signal a later one must not change its exit code."""
        self._final = final
        self.first: int | None = None
        self.count = 0
        self.tolerated = 0
        self.wakeup = -1
        self._previous: dict[int, object] = {}
        self._previous_wakeup = -1

    def __enter__(self) -> Self:
        self.wakeup, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(ValueError):  # not the main thread
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
            # Python writes there as soon as any thread gets a signal. `_note` only runs once the main thread wakes.
            self._previous_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            if self._final and self.count:
                previous = signal.SIG_IGN  # noqa: PLW2901 - the loop ends with it
            signal.signal(number, previous)  # type: ignore[arg-type] # what signal.signal returned
        with suppress(ValueError):  # not the main thread
            signal.set_wakeup_fd(self._previous_wakeup)
        os.close(self.wakeup)
        os.close(self._write_end)

    def check(self) -> None:
        """Raise InterruptedRunError if more signals have arrived than are `tolerated` now.

        Long computations call it between chunks. One signal is tolerated while the outputs of a stage are published.
        """
        if self.first is not None and self.count > self.tolerated:
            raise InterruptedRunError(self.first)

    def await_signal(self, seconds: float) -> None:
        """Wait until a signal has arrived, but at most `seconds`."""
        if not self.count:
            poll = select.poll()
            poll.register(self.wakeup, select.POLLIN)
            poll.poll(seconds * 1000)

    def drain(self) -> None:
        """Empty the wakeup pipe."""
        with suppress(BlockingIOError):
            while os.read(self.wakeup, 512):
                pass

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        self.first = self.first or number
        self.count += 1


class Stopping:
    """Ends a run early, after a signal or a failure. `has_begun`: the run starts no more stages."""

    def __init__(self, interrupts: Interrupts, terminate: Callable[[], None], kill: Callable[[], None]) -> None:
        """`terminate` ends all running stages with a grace, `kill` ends them at once."""
        self._interrupts = interrupts
        self._end_all = terminate, kill
        self._passed_on = 0
        self.has_begun = False

    def forward(self) -> bool:
        """Pass a first signal on as TERM, with the grace; a second one kills. False if there was no new signal."""
        count = self._interrupts.count
        if count == self._passed_on:
            return False
        self.has_begun = True
        self._end_all[count > 1]()
        self._passed_on = count
        return True

    def explains(self, attempt: AttemptResult) -> bool:
        """Whether an attempt failed because the run is stopping.

        A terminal sends a signal to every process at once, so the stage's end may arrive before our own signal.
        """
        if attempt.signal in SIGNALS and not attempt.timed_out:
            self._interrupts.await_signal(OWN_SIGNAL_PATIENCE)
        return self._interrupts.count > 0
