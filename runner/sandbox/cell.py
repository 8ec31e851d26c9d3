"""A thread inside the walls of a stage, from which one program after the other is started.

What the program of a stage could not put up itself (the filter that fastens its tag, its Landlock domain) belongs to a
thread, and what that starts has it too. So a cell has a thread, which enters them once, and the launcher stays outside.
It lives as long as the launcher: a program that asks to be killed with its parent (PR_SET_PDEATHSIG) would be killed by
the end of the thread that started it, prctl(2).

Its domain keeps it from other cells, and not from what an earlier launch started in it. So no launch gets a cell while
anything of the launch before is left.

Loaded by the launcher program only.
"""

from __future__ import annotations

import _thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import NoReturn
else:
    import _signal as signal  # `signal` itself builds enums, which costs a start of the launcher 3 ms


class Cell:
    """One thread, to which one at a time gives work."""

    def __init__(self, enter: Callable[[], object]) -> None:
        """Let a new thread enter the walls. Raises what that raises, and RuntimeError where there is no thread."""
        self._work: Callable[[], int] = lambda: 0
        self._result = 0
        self._error: BaseException | None = None
        self._asked, self._answered = _thread.allocate_lock(), _thread.allocate_lock()
        self._asked.acquire()
        self._answered.acquire()
        _thread.start_new_thread(self._live, (enter,))
        self._await()

    def run(self, work: Callable[[], int]) -> int:
        """Let the thread do this work, and wait; returns and raises what that does."""
        self._work = work
        self._asked.release()
        self._await()
        return self._result

    def _await(self) -> None:
        self._answered.acquire()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _live(self, enter: Callable[[], object]) -> None:
        """Runs in the *thread*. No signal is for it: the end of a process that it started would wake it for nothing."""
        try:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            enter()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the one who waits gets it
            self._error = error
            self._answered.release()
            return
        self._serve()

    def _serve(self) -> NoReturn:
        while True:
            self._answered.release()
            self._asked.acquire()
            try:
                self._result = self._work()
            except BaseException as error:  # noqa: BLE001 - as above
                self._error = error
