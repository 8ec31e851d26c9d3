"""The attempts of a run: each is decided on, recorded, and what it leaves is taken up or removed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import OffpipeError
from runner.executor.prepare import Preparer
from runner.plan.planner import AGAIN, Reason
from runner.record import events, files
from runner.record.checkpoints import adopt, discard_checkpoint, keep_checkpoint, read_progress
from runner.record.locks import lock
from runner.results import BLOCKED, FAILED, INTERRUPTED, added_up

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from runner.executor.job import Job, RunContext
    from runner.record.checkpoints import Checkpoint
    from runner.results import AttemptResult, NetworkCalls, StageResult


class Attempts:
    """Decides on, records and settles the attempts of one run. As a context manager, gives up at an OffpipeError."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._log = run.log
        self.preparer = Preparer(run)
        self._later = run.new_examiner()  # which looks at what a fingerprint saw, and remembers nothing of it
        self._tags = {stage: dict(known) for stage, known in run.tags.items()}
        self._held: dict[str, Job] = {}  # those that hold their lock, by stage

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OffpipeError):
            self._give_up()

    # ---- before ----

    def decide(self, job: Job) -> None:
        """Find the key, and the reasons why the stage must run as everything is now; without any it is up to date."""
        job.fingerprint, marker = self._run.new_examiner().examine(job.stage), self._run.marker_of(job.stage.name)
        job.reasons = self._run.planner.reasons(job.stage, job.fingerprint, marker)
        if marker is not None and not job.reasons:
            self._run.published.update((output.path, output) for output in marker.outputs.values())
            self.record_skip(job, job.fingerprint.key)

    def redecide(self, job: Job, changed: str) -> None:
        """Decide anew, since an input has changed while the stage ran; it may be up to date after all."""
        job.redecided += 1
        job.changed, job.tries_before, job.delay = changed, len(job.attempts), 0.0
        self.decide(job)
        if job.reasons:
            job.reasons = (Reason(AGAIN, f'"{changed}" changed while attempt {job.number} ran'), *job.reasons)

    def record_skip(self, job: Job, key: str) -> None:
        """Record that a stage is up to date, and remove the checkpoint of an attempt at what it is no longer to be."""
        if job.has_checkpoint():
            self.discard(job)
        self._log.append(events.SKIPPED, events.StageSkipped(job.stage.name, key))

    def lock(self, job: Job) -> bool:
        """Take the stage's lock; False when another process holds it."""
        job.lock = lock(self._run.spec.paths.stage_lock(job.stage.name))
        if job.lock is None:
            return False
        self._held[job.stage.name] = job
        return True

    def started(self, job: Job) -> None:
        """Record that the attempt that was prepared starts now, and hand it what a checkpoint vouches for.

        The record comes first: it says whose the partials are that are renamed then.
        """
        stage, key = job.stage, job.fingerprint.key
        checkpoint = self._keep(job, key) if job.has_checkpoint() else None
        started = events.AttemptStarted(
            stage=stage.name, attempt=job.number, key=key, tag=job.tag, program=job.program, outputs=stage.outputs,
            delay_micros=round(job.delay * 1e6), reasons=job.reasons_as_json(), enforced=job.limits.as_json(),
            resumed_from=checkpoint.progress.as_record() if checkpoint else None,
        )  # fmt: skip
        self._log.append(events.ATTEMPT_STARTED, started)
        self._tags.setdefault(stage.name, {})[job.tag] = key
        if checkpoint:
            adopt(checkpoint, job.real, job.tag)
        if stage.stdout:
            files.touch(job.partials[stage.stdout])

    # ---- during and after ----

    def record_network(self, job: Job, calls: Iterable[NetworkCalls]) -> None:
        """Record which networks the running attempt asked for, and what that does to the stage."""
        for each in calls:
            action = "fail" if job.fails_by(each) else "record"
            event = events.NetworkAttempt(job.stage.name, job.number, each.program, each.family, each.calls, action)
            self._log.append(events.NETWORK, event)
            job.network.append(each)

    def finish(self, job: Job, ended: AttemptResult) -> AttemptResult:
        """Record how an attempt ended, remove its scratch, and keep the partials that a checkpoint vouches for."""
        self.record_network(job, ended.network)
        progress = read_progress(job.progress) if job.has_checkpoint() else None
        lines = progress.line_offset if progress and progress.key == job.fingerprint.key else None
        network = added_up(job.network)
        attempt = ended._replace(number=job.number, delay=job.delay, lines=lines, network=network)
        self._log.append(events.ATTEMPT_FINISHED, {"stage": job.stage.name, **attempt.as_record()})
        self.preparer.give_back_scratch(job)
        if attempt.code != 0 or attempt.timed_out:
            now = job.signatures()
            job.written = {name: path for name, path in job.stage.outputs.items() if now[name] != job.before[name]}
            self.sweep(job)
        return attempt

    def changed_input(self, job: Job) -> str | None:
        """Return the path of what the stage read that is no longer what its key was computed from, or None.

        The first time also of what was only written anew; a stage that does that to its inputs does it each time.
        """
        changed = self._later.changed_since(job.fingerprint, strict=not job.redecided)
        return os.path.relpath(changed, self._run.spec.root) if changed else None

    def record_end(self, result: StageResult) -> None:
        """Record how a stage ended, where no commit or skip says it already."""
        if result.status in (FAILED, BLOCKED, INTERRUPTED):
            what = str(result.fault.what) if result.fault else ""
            self._log.append(events.FINISHED, events.StageFinished(result.name, result.status, what))

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
        self.sweep(job)
        self.release(job)

    def sweep(self, job: Job) -> None:
        """Remove what an attempt left, but for what a checkpoint vouches for.

        A stage that could not even be decided has no key: whatever checkpoint it has is for the next run to judge.
        """
        self._keep(job, job.fingerprint.key or None)

    def _keep(self, job: Job, key: str | None) -> Checkpoint | None:
        return keep_checkpoint(job.progress, key, job.real, self._tags.get(job.stage.name, {}))

    def discard(self, job: Job) -> None:
        """Remove the partials and the checkpoint of a stage that nobody may have, or go on from."""
        discard_checkpoint(job.progress, job.real)

    def _give_up(self) -> None:
        """After the disk refused something and all stages were ended: remove what it lets us of what they left.

        The next run would do it, but room may be just what is missing. Where the log is gone, what lies there may be
        another run's.
        """
        is_ours = False
        with suppress(OffpipeError):
            is_ours = self._log.is_in_place()
        for job in [*self._held.values()]:
            with suppress(OffpipeError):
                if is_ours and job.commit is None:
                    self.sweep(job)
            self.release(job)
        with suppress(OffpipeError):
            if is_ours:
                files.discard(self._run.spec.paths.run_temporary(self._log.run))
