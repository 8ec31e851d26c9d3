"""Stages that succeeded, until they are published: what they made is made durable while other stages run.

Several at a time, in rounds: one syncs the outputs of the stages that have ended since the last began, and the log,
where the commits stand of those whose outputs the last one synced. So however long a disk takes, nobody waits for it
but those who need the outputs, and what ends meanwhile it writes in one go.

The thread does nothing but sync: what is recorded and renamed is so by the loop's own, in the order of recovery.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.record.syncing import SyncThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.errors import StateError
    from runner.executor.attempts import Attempts
    from runner.executor.job import Job
    from runner.marker import OutputIdentity

    Step = tuple[Job, Callable[[], None]]
    Published = Callable[[Job, dict[str, OutputIdentity]], None]

MOST = 64  # stages that wait at a time: each holds its lock open


class _Round(NamedTuple):
    """What is being synced: outputs of these, and the log up to this size for the commits of those."""

    ended: list[Job]
    committed: list[Job]
    size: int


class Committer:
    """Takes jobs that succeeded, and calls `published` for each when its outputs are in place."""

    def __init__(self, attempts: Attempts, published: Published) -> None:
        self._attempts = attempts
        self._log = attempts.log
        self._published = published
        self._ended: list[Job] = []
        self._committed: list[Job] = []
        self._round: _Round | None = None
        self._thread = SyncThread() if attempts.durable else None

    @property
    def wakeup(self) -> int | None:
        """A descriptor that is readable when there are `steps` to take; None when nothing is ever waited for."""
        return self._thread.wakeup if self._thread else None

    @property
    def is_idle(self) -> bool:
        return not (self._ended or self._committed or self._round)

    @property
    def has_room(self) -> bool:
        waiting = len(self._round.ended) + len(self._round.committed) if self._round else 0
        return waiting + len(self._ended) + len(self._committed) < MOST

    def take(self, job: Job, *, alone: bool) -> None:
        """Publish a job: at once where nothing is to be synced, or nothing goes on meanwhile (`alone`)."""
        if self._thread is None or (alone and self.is_idle):
            if self._attempts.durable:
                self._attempts.make_durable(job)
            self._attempts.commit(job)
            if self._attempts.durable:
                self._log.sync()
            self._put_in_place(job)
        else:
            self._ended.append(job)

    def steps(self) -> Iterator[Step]:
        """Yield what can be done now without waiting, each for a job, which it may fail; then begin the next round.

        StateError when the log cannot be made durable.
        """
        if self._thread is None:
            return
        if self._round is not None:
            errors = self._thread.ended()
            if errors is None:
                return
            ended, committed, size = self._round
            self._round = None
            if committed:
                self._log.flushed(size, cast("StateError | None", errors.pop()))
            for job in committed:
                yield job, partial(self._put_in_place, job)
            for job, error in zip(ended, errors, strict=True):
                yield job, partial(self._commit, job, error)
        if self._ended or self._committed:
            self._round = _Round(self._ended, self._committed, self._log.size)
            self._ended, self._committed = [], []
            syncs = [partial(self._attempts.make_durable, job) for job in self._round.ended]
            self._thread.begin([*syncs, *([self._log.flush] if self._round.committed else [])])

    def close(self) -> None:
        """Wait for the thread, and let it go. What is not published by now is the next run's."""
        if self._thread is not None:
            self._thread.close()

    def _commit(self, job: Job, error: Exception | None) -> None:
        if error is not None:
            raise error
        self._attempts.commit(job)
        self._committed.append(job)

    def _put_in_place(self, job: Job) -> None:
        self._published(job, self._attempts.put_in_place(job))
