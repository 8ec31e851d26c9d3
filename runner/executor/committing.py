"""Stages that succeeded, until they are published: what they made is made durable while other stages run.

One thread syncs outputs, in the order in which their stages ended. Another syncs the log: commits that are recorded
while it does so share its next sync. So the loop waits for the disk only where no other stage is at work.

The threads do nothing but sync. Records and renames are the loop's, in the order that recovery relies on.
"""

from __future__ import annotations

import os
import select
from functools import partial
from typing import TYPE_CHECKING

from runner.errors import InterruptedRunError
from runner.record.syncing import Syncs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.executor.attempts import Attempts
    from runner.executor.job import Job
    from runner.interrupts import Interrupts

    Step = tuple[Job, Callable[[], None]]

MOST = 64  # none starts while so many wait: each holds its lock open, and a kill costs all their work
OUTPUTS, LOG = "outputs", "log"


class Committer:
    """Takes jobs that succeeded, and calls `published` for each when its outputs are in place.

    `poll`, in which the loop waits, wakes when there are `steps` to take.
    """

    def __init__(self, attempts: Attempts, published: Callable[[Job], None], poll: select.poll) -> None:
        self._attempts = attempts
        self._log = attempts.log
        self._published = published
        self._poll = poll
        descriptors = os.sysconf("SC_OPEN_MAX")  # -1: no limit. Those who run are to find some left
        self._most = MOST if descriptors < 0 else max(1, min(MOST, descriptors // 4))
        self._waiting = 0
        self._committed: list[Job] = []  # on record, and no sync of the log that covers it has begun
        self._covered: list[Job] = []  # by the sync that has
        self._size = 0  # of the log, when that began
        self._syncs: Syncs | None = None

    @property
    def is_idle(self) -> bool:
        return self._waiting == 0

    @property
    def has_room(self) -> bool:
        return self._waiting < self._most

    def take(self, job: Job, *, alone: bool) -> None:
        """Publish a job: now if nothing is to be durable, or no other stage runs (`alone`); else in later `steps`."""
        if not self._attempts.durable:
            self._attempts.commit(job)
            self._put_in_place(job)
        elif alone and self.is_idle:
            self._attempts.make_durable(job)
            self._attempts.commit(job)
            self._log.sync()
            self._put_in_place(job)
        else:
            self._opened().ask(OUTPUTS, job, partial(self._attempts.make_durable, job))
            self._waiting += 1

    def steps(self) -> Iterator[Step]:
        """Yield what can be done now without waiting, each for a job, which it may fail.

        StateError when the log cannot be made durable.
        """
        for token, error in self._syncs.ended() if self._syncs else ():
            if token is LOG:
                self._log.flushed(self._size, error)
                covered, self._covered = self._covered, []
                for job in covered:
                    self._waiting -= 1
                    yield job, partial(self._put_in_place, job)
            else:
                job = token  # type: ignore[assignment] # the token of outputs is their job
                yield job, partial(self._commit, job, error)
            self._cover()

    def hurry(self, interrupts: Interrupts) -> None:
        """After a second signal: let outputs whose sync has not begun count as interrupted."""
        if self._syncs and interrupts.first is not None and interrupts.count > 1:
            self._syncs.cancel(OUTPUTS, InterruptedRunError(interrupts.first))

    def close(self) -> None:
        """Wait for what is being synced, and let go. What is not published by now is the next run's."""
        if self._syncs:
            self._poll.unregister(self._syncs.wakeup)
            self._syncs.close()
            self._syncs = None

    def _opened(self) -> Syncs:
        if self._syncs is None:
            self._syncs = Syncs()
            self._poll.register(self._syncs.wakeup, select.POLLIN)
        return self._syncs

    def _commit(self, job: Job, error: Exception | None) -> None:
        self._waiting -= 1
        if error is not None:
            raise error
        self._attempts.commit(job)
        self._waiting += 1
        self._committed.append(job)

    def _cover(self) -> None:
        """Have the log synced with what was committed, unless a sync of it is under way."""
        if self._committed and not self._covered:
            self._covered, self._committed, self._size = self._committed, [], self._log.size
            self._opened().ask(LOG, LOG, self._log.flush)

    def _put_in_place(self, job: Job) -> None:
        self._attempts.put_in_place(job)
        self._published(job)
