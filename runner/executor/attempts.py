"""The attempts of a run: each is decided on, recorded, and what it leaves is taken up or removed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import OffpipeError
from runner.executor.job import Job
from runner.executor.partials import Partials
from runner.executor.prepare import Preparer
from runner.executor.publishing import real_identities
from runner.plan.planner import AGAIN, Reason
from runner.record import files
from runner.record.checkpoints import read_progress
from runner.record.events import (
    ATTEMPT_FINISHED,
    ATTEMPT_STARTED,
    FINISHED,
    NETWORK,
    SKIPPED,
    AttemptStarted,
    NetworkAsked,
    StageFinished,
    StageSkipped,
)
from runner.record.locks import lock
from runner.results import BLOCKED, FAILED, INTERRUPTED, added_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from runner.executor.prepare import RunEnvironment
    from runner.executor.publishing import Publisher
    from runner.plan.fingerprint import Examiner
    from runner.plan.planner import Planner
    from runner.record.audit import AuditLog
    from runner.record.markers import Marker, OutputIdentity
    from runner.results import AttemptResult, NetworkCalls, StageResult
    from runner.spec.model import Spec, Stage


class Attempts:
    """Decides on, records and settles the attempts of one run. As a context manager, gives up at an OffpipeError."""

    def __init__(
        self, spec: Spec, log: AuditLog, planner: Planner, new_examiner: Callable[[], Examiner],
        marker_of: Callable[[str], Marker | None], published: dict[str, OutputIdentity], publisher: Publisher,
        outer: RunEnvironment, earlier: Mapping[str, int], tags: Mapping[str, dict[str, str]],
    ) -> None:  # fmt: skip
        """`earlier`: how many attempts each stage had in this run before it was resumed.

        `tags`: of all attempts that open runs tell of, stage -> tag -> key.
        """
        self._spec = spec
        self.log = log
        self._planner = planner
        self._new_examiner = new_examiner
        self._later = new_examiner()  # which looks at what a fingerprint saw, and remembers nothing of it
        self._marker_of = marker_of
        self._published = published
        self.publisher = publisher
        self.durable = outer.durable
        self.partials = Partials(spec, tags)
        self.preparer = Preparer(spec, log.run, outer, self.partials, earlier)
        self._held: dict[str, Job] = {}  # those that hold their lock, by stage

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OffpipeError):
            self._give_up()

    # ---- before ----

    def decide(self, stage: Stage) -> Job:
        """Return a job with the reasons why a stage must run as everything is now; without any it is up to date."""
        job = Job(stage, self._new_examiner().examine(stage))
        marker = self._marker_of(stage.name)
        job.reasons = self._planner.reasons(stage, job.fingerprint, marker)
        if marker is not None and not job.reasons:
            self._know(marker.outputs)
            self.record_skip(stage, job.fingerprint.key)
        return job

    def redecide(self, job: Job, changed: str) -> bool:
        """Take a changed input into account; False when the stage is up to date after all."""
        job.redecided += 1
        job.changed, ran = changed, job.number
        job.tries_before, job.delay = len(job.attempts), 0.0
        fresh = self.decide(job.stage)
        if not fresh.reasons:
            return False
        job.fingerprint = fresh.fingerprint
        job.reasons = (Reason(AGAIN, f'"{changed}" changed while attempt {ran} ran'), *fresh.reasons)
        return True

    def record_skip(self, stage: Stage, key: str) -> None:
        """Record that a stage is up to date, and remove the checkpoint of an attempt at what it is no longer to be."""
        self.partials.forget(stage)
        self.log.append(SKIPPED, StageSkipped(stage.name, key))

    def lock(self, job: Job) -> bool:
        """Take the stage's lock; False when another process holds it."""
        job.lock = lock(self._spec.paths.stage_lock(job.stage.name))
        if job.lock is None:
            return False
        self._held[job.stage.name] = job
        return True

    def started(self, job: Job) -> None:
        """Record that the attempt that was prepared starts now, and hand it what a checkpoint vouches for.

        The record comes first: it says whose the partials are that are renamed then.
        """
        checkpoint = self.partials.checkpoint(job)
        started = AttemptStarted(
            stage=job.stage.name, attempt=job.number, key=job.fingerprint.key, tag=job.tag,
            program=job.program, outputs=job.stage.outputs, delay_micros=round(job.delay * 1e6),
            reasons=job.reasons_as_json(), enforced=job.limits.as_json(),
            resumed_from=checkpoint.progress.as_record() if checkpoint else None,
        )  # fmt: skip
        self.log.append(ATTEMPT_STARTED, started)
        self.partials.hand_over(job, checkpoint)

    # ---- during and after ----

    def record_network(self, job: Job, calls: Iterable[NetworkCalls]) -> None:
        """Record which networks the running attempt asked for, and what that does to the stage."""
        for each in calls:
            action = "fail" if job.fails_by(each) else "record"
            event = NetworkAsked(job.stage.name, job.number, each.program, each.family, each.calls, action)
            self.log.append(NETWORK, event)
            job.network.append(each)

    def finish(self, job: Job, ended: AttemptResult) -> AttemptResult:
        """Record how an attempt ended, remove its scratch, and keep the partials that a checkpoint vouches for."""
        self.record_network(job, ended.network)
        job.has_checkpoint = os.path.lexists(path := self.partials.progress(job.stage))
        progress = read_progress(path) if job.has_checkpoint else None
        lines = progress.line_offset if progress and progress.key == job.fingerprint.key else None
        network = added_up(job.network)
        attempt = ended._replace(number=job.number, delay=job.delay, lines=lines, network=network)
        self.log.append(ATTEMPT_FINISHED, {"stage": job.stage.name, **attempt.as_record()})
        self.preparer.give_back_scratch(job)
        if attempt.code != 0 or attempt.timed_out:
            now = real_identities(self._spec, job.stage)
            job.written = {name: path for name, path in job.stage.outputs.items() if now[name] != job.before[name]}
            self.partials.sweep(job)
        return attempt

    def changed_input(self, job: Job) -> str | None:
        """Return the path of what the stage read that is no longer what its key was computed from, or None.

        The first time also of what was only written anew; a stage that does that to its inputs does it each time.
        """
        changed = self._later.changed_since(job.fingerprint, strict=not job.redecided)
        return os.path.relpath(changed, self._spec.root) if changed else None

    def make_durable(self, job: Job) -> None:
        """Make durable what a job that succeeded has made, in whatever thread."""
        self.publisher.make_durable(job.stage, job.tag)

    def commit(self, job: Job) -> None:
        """Record what it has made; that is published when it and the record are durable."""
        job.commit = self.publisher.commit(
            job.stage, job.fingerprint, job.tag, job.reasons_as_json(), job.program, self._marker_of(job.stage.name)
        )

    def put_in_place(self, job: Job) -> None:
        """Publish the outputs of a job whose commit is on record."""
        assert job.commit is not None
        outputs = self.publisher.put_in_place(job.commit, job.tag)
        if job.has_checkpoint:
            files.discard(self.partials.progress(job.stage))
        self._know(outputs)

    def record_end(self, result: StageResult) -> None:
        """Record how a stage ended, where no commit or skip says it already."""
        if result.status in (FAILED, BLOCKED, INTERRUPTED):
            what = str(result.fault.what) if result.fault else ""
            self.log.append(FINISHED, StageFinished(result.name, result.status, what))

    def release(self, job: Job) -> None:
        """Give the stage's lock back."""
        if job.lock is not None:
            os.close(job.lock)
            job.lock = None
            del self._held[job.stage.name]

    def abandon(self, job: Job) -> None:
        """Take back an attempt that was prepared and will not be started."""
        self.preparer.give_back_scratch(job)
        if job.log:
            files.discard(job.log)
        self.partials.sweep(job)
        self.release(job)

    def _know(self, outputs: Mapping[str, OutputIdentity]) -> None:
        """Let later stages know the digests of outputs."""
        self._published.update((identity.path, identity) for identity in outputs.values())

    def _give_up(self) -> None:
        """After the disk refused something and all stages were ended: remove what it lets us of what they left.

        The next run would do it, but room may be just what is missing. Where the log is gone, what lies there may be
        another run's.
        """
        is_ours = False
        with suppress(OffpipeError):
            is_ours = self.log.is_in_place()
        for job in [*self._held.values()]:
            with suppress(OffpipeError):
                if is_ours and job.commit is None:
                    self.partials.sweep(job)
            self.release(job)
        with suppress(OffpipeError):
            if is_ours:
                files.discard(self._spec.paths.run_temporary(self.log.run))
