"""A thread that makes things durable, so that whoever has other things to do need not wait for the disk."""

from __future__ import annotations

import os
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from runner.record import files

if TYPE_CHECKING:
    from collections.abc import Callable


class SyncThread:
    """One thread, started when it is first needed; `wakeup` is readable when what it was given has `ended`.

    StateError where there is no descriptor for that.
    """

    def __init__(self) -> None:
        with files.naming("the thread that syncs", "wait for"):
            self.wakeup, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._rounds: SimpleQueue[list[Callable[[], None]] | None] = SimpleQueue()
        self._errors: list[Exception | None] = []
        self._thread: Thread | None = None

    def begin(self, syncs: list[Callable[[], None]]) -> None:
        """Have all of these called, one after the other; one that fails holds up none."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="sync", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the system has no more threads for us
                self._thread = None
                self._call(syncs)
                return
        self._rounds.put(syncs)

    def ended(self) -> list[Exception | None] | None:
        """Return what each raised, or None while it lasts."""
        try:
            os.read(self.wakeup, 1)
        except BlockingIOError:
            return None
        errors, self._errors = self._errors, []
        return errors

    def close(self) -> None:
        """Wait for its end, which may be long in coming where a disk does not answer."""
        if self._thread is not None:
            self._rounds.put(None)
            self._thread.join()
        os.close(self.wakeup)
        os.close(self._write_end)

    def _work(self) -> None:
        while (syncs := self._rounds.get()) is not None:
            self._call(syncs)

    def _call(self, syncs: list[Callable[[], None]]) -> None:
        errors: list[Exception | None] = []
        for sync in syncs:
            try:
                sync()
                errors.append(None)
            except Exception as error:  # noqa: BLE001 - raised again by the loop
                errors.append(error)
        self._errors = errors
        os.write(self._write_end, b"!")
