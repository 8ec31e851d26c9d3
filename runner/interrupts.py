"""HUP, INT and TERM to the runner: noted when they come, acted on where the state is consistent."""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

from runner.errors import InterruptedRunError

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Self

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Catches the signals while it is entered; `wakeup` is a descriptor that becomes readable when one came.

    A signal that was ignored when the run began (nohup) stays ignored. Outside the main thread, where Python allows no
    handlers, nothing is caught.
    """

    def __init__(self, *, final: bool = False) -> None:
        """`final`: the process ends with the run, so that after a signal no further one may change its exit code."""
        self._final = final
        self.first: int | None = None
        self.count = 0
        self.tolerated = 0
        self.wakeup = -1
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        self.wakeup, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        except ValueError:
            pass  # not the main thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            if self._final and self.count:
                previous = signal.SIG_IGN  # noqa: PLW2901
            signal.signal(number, previous)  # type: ignore[arg-type]
        os.close(self.wakeup)
        os.close(self._write_end)

    def check(self) -> None:
        """Raise InterruptedRunError when more signals came than are `tolerated` just now.

        Long computations call it between chunks. What a stage has finished is published after a first signal too.
        """
        if self.first is not None and self.count > self.tolerated:
            raise InterruptedRunError(self.first)

    def await_signal(self, seconds: float) -> None:
        """Wait until a signal has come, for at most so many seconds."""
        if not self.count:
            poll = select.poll()
            poll.register(self.wakeup, select.POLLIN)
            poll.poll(seconds * 1000)

    def drain(self) -> None:
        """Empty the wakeup pipe."""
        try:
            while os.read(self.wakeup, 512):
                pass
        except BlockingIOError:
            pass

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a signal handler
        self.first = self.first or number
        self.count += 1
        try:
            os.write(self._write_end, b"!")
        except BlockingIOError:
            pass  # the pipe is full of earlier ones: the reader wakes anyway
