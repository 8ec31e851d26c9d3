"""Stages that succeeded, until they are published: their outputs are made durable while other stages run.

One thread syncs outputs, in the order in which their stages ended. Another syncs the log: commits that are recorded
meanwhile share its next sync. So the loop waits for the disk only where no other stage is at work.

The threads do nothing but sync. Records and renames are the loop's, in the order that recovery relies on.
"""

from __future__ import annotations

import os
import select
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from runner.errors import InterruptedRunError
from runner.record import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from queue import SimpleQueue
    from threading import Thread

    from runner.executor.job import Job
    from runner.executor.publishing import Publisher
    from runner.interrupts import Interrupts

    Step = tuple[Job, Callable[[], None]]
    Calls = SimpleQueue[Callable[[], None] | None]

MOST = 64  # none starts while so many wait: each holds its lock open, and a kill costs all their work
OUTPUTS, LOG = "outputs", "log"  # the threads


class CommitQueue:
    """Takes jobs that succeeded, and calls `published` for each when its outputs are in place.

    `poll`, in which the loop waits, wakes when there are `steps` to take.
    """

    def __init__(self, publisher: Publisher, published: Callable[[Job], None], poll: select.poll) -> None:
        self._publisher = publisher
        self._log = publisher.log
        self._published = published
        self._poll = poll
        descriptors = os.sysconf("SC_OPEN_MAX")  # -1: no limit. Running stages need some, too
        self._most = MOST if descriptors < 0 else max(1, min(MOST, descriptors // 4))
        self._waiting = 0
        self._committed: list[Job] = []  # on record, and no sync of the log that covers it has begun
        self._covered: list[Job] = []  # by the sync that has
        self._size = 0  # of the log, when that began
        self._threads: dict[str, tuple[Thread, Calls]] = {}
        self._ended: deque[tuple[Job | None, Exception | None]] = deque()  # None: a sync of the log
        self._cancelled: Exception | None = None
        self._wakeup = self._write_end = -1

    @property
    def is_idle(self) -> bool:
        return self._waiting == 0

    @property
    def has_room(self) -> bool:
        return self._waiting < self._most

    def take(self, job: Job, *, alone: bool) -> None:
        """Publish a job: now if nothing is to be durable, or no other stage runs (`alone`); else in later `steps`."""
        if not self._publisher.durable:
            self._publisher.commit(job)
            self._put_in_place(job)
        elif alone and self.is_idle:
            self._publisher.make_durable(job)
            self._publisher.commit(job)
            self._log.sync()
            self._put_in_place(job)
        else:
            self._ask(OUTPUTS, job, partial(self._publisher.make_durable, job))
            self._waiting += 1

    def steps(self) -> Iterator[Step]:
        """Yield what can be done now without waiting, each for a job, which it may fail.

        StateError when the log cannot be made durable.
        """
        if self._wakeup >= 0:
            with suppress(BlockingIOError):
                os.read(self._wakeup, 4096)
        while self._ended:
            job, error = self._ended.popleft()
            if job is not None:
                yield job, partial(self._commit, job, error)
            else:
                self._log.flushed(self._size, error)
                covered, self._covered = self._covered, []
                for committed in covered:
                    self._waiting -= 1
                    yield committed, partial(self._put_in_place, committed)
            if self._committed and not self._covered:
                self._covered, self._committed, self._size = self._committed, [], self._log.size
                self._ask(LOG, None, self._log.flush)

    def hurry(self, interrupts: Interrupts) -> None:
        """After a second signal: let outputs whose sync has not begun count as interrupted."""
        if interrupts.first is not None and interrupts.count > 1:
            self._cancelled = InterruptedRunError(interrupts.first)

    def close(self) -> None:
        """Wait for what is being synced, and let go. What is not published by now is the next run's."""
        self._cancelled = self._cancelled or InterruptedError()
        for thread, calls in self._threads.values():
            calls.put(None)
            thread.join()
        if self._wakeup >= 0:
            self._poll.unregister(self._wakeup)
            os.close(self._wakeup)
            os.close(self._write_end)
            self._wakeup = -1

    def _commit(self, job: Job, error: Exception | None) -> None:
        self._waiting -= 1
        if error is not None:
            raise error
        self._publisher.commit(job)
        self._waiting += 1
        self._committed.append(job)

    def _put_in_place(self, job: Job) -> None:
        self._publisher.put_in_place(job)
        self._published(job)

    def _ask(self, name: str, job: Job | None, sync: Callable[[], None]) -> None:
        """Call `sync` in the thread of this name, after its earlier calls; `steps` sees when it ended."""
        from queue import SimpleQueue
        from threading import Thread

        if self._wakeup < 0:
            with files.naming("the threads that sync", "wait for"):
                self._wakeup, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._poll.register(self._wakeup, select.POLLIN)
        call = partial(self._call, job, sync)
        if name not in self._threads:
            calls: Calls = SimpleQueue()
            thread = Thread(target=_work, args=(calls,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads for us: the loop waits for the disk
                call()
                return
            self._threads[name] = thread, calls
        self._threads[name][1].put(call)

    def _call(self, job: Job | None, sync: Callable[[], None]) -> None:
        """Runs in a *thread*."""
        error = self._cancelled if job is not None else None
        if error is None:
            try:
                sync()
            except Exception as raised:  # noqa: BLE001 - `steps` raises it
                error = raised
        self._ended.append((job, error))
        os.write(self._write_end, b"!")


def _work(calls: Calls) -> None:
    """Runs in a *thread*: make the calls in turn, until None."""
    for call in iter(calls.get, None):
        call()
