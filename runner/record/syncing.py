"""Threads that make things durable, so that whoever has other things to do need not wait for the disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.record import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue
    from threading import Thread

    Told = tuple[object, Exception | None]


class Syncs:
    """Calls that sync, made in other threads: one a `line`, in the order of asking, started when it is first needed.

    `wakeup` is readable when something has `ended`. StateError where there is no descriptor for that.
    """

    def __init__(self) -> None:
        from queue import SimpleQueue  # which loads threads: not before the first stage starts

        with files.naming("the threads that sync", "wait for"):
            self.wakeup, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._lines: dict[str, _Line] = {}
        self._told: SimpleQueue[Told] = SimpleQueue()

    def ask(self, line: str, token: object, sync: Callable[[], None]) -> None:
        """Have `sync` called in this line's thread, after what was asked of it before; `ended` will give `token`."""
        if line not in self._lines:
            self._lines[line] = _Line(line, self._tell)
        self._lines[line].ask(token, sync)

    def ended(self) -> list[Told]:
        """Return what has ended since the last look: its token, and what it raised or None."""
        try:
            count = len(os.read(self.wakeup, 4096))
        except BlockingIOError:
            return []
        return [self._told.get() for _ in range(count)]

    def cancel(self, line: str, error: Exception) -> None:
        """Let calls that have not begun end with this error, and not be made."""
        if line in self._lines:
            self._lines[line].cancelled = error

    def close(self) -> None:
        """Wait for what is being synced now, and leave the rest."""
        for line in self._lines.values():
            line.close()
        os.close(self.wakeup)
        os.close(self._write_end)

    def _tell(self, token: object, error: Exception | None) -> None:
        """Runs in a *thread*."""
        self._told.put((token, error))
        os.write(self._write_end, b"!")


class _Line:
    """One thread and its queue."""

    def __init__(self, name: str, tell: Callable[[object, Exception | None], None]) -> None:
        from queue import SimpleQueue
        from threading import Thread

        self.cancelled: Exception | None = None
        self._tell = tell
        self._queue: SimpleQueue[tuple[object, Callable[[], None]] | None] = SimpleQueue()
        self._thread: Thread | None = Thread(target=self._work, name=name, daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the system has no more threads for us: the caller waits
            self._thread = None

    def ask(self, token: object, sync: Callable[[], None]) -> None:
        if self._thread is None:
            self._call(token, sync)
        else:
            self._queue.put((token, sync))

    def close(self) -> None:
        self.cancelled = self.cancelled or InterruptedError()  # nobody hears of it any more
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (asked := self._queue.get()) is not None:
            self._call(*asked)

    def _call(self, token: object, sync: Callable[[], None]) -> None:
        error = self.cancelled
        if error is None:
            try:
                sync()
            except Exception as raised:  # noqa: BLE001 - whoever asked is told
                error = raised
        self._tell(token, error)
