"""One attempt of one stage: everything it needs is laid out, and what it leaves is taken up or removed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from runner import results
from runner.errors import OffpipeError
from runner.executor.job import Job, Surroundings
from runner.executor.partials import Partials
from runner.executor.publishing import real_identities
from runner.executor.setting import Setting
from runner.paths import partial_tag
from runner.plan.fingerprint import Fingerprint
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
from runner.record.scratch import ScratchPool
from runner.resources import enforced
from runner.results import AttemptResult, NetworkCalls, StageResult, added_up
from runner.sandbox.client import Launch
from runner.spec.placeholders import list_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from runner.executor.publishing import Publisher
    from runner.plan.fingerprint import Examiner
    from runner.plan.planner import Planner
    from runner.record.audit import AuditLog
    from runner.record.markers import Marker, OutputIdentity
    from runner.spec.model import Spec, Stage

REASONS_KEPT = 100  # in records and markers


class Attempts:
    """Prepares, records and settles the attempts of one run."""

    def __init__(
        self,
        spec: Spec,
        run_id: str,
        log: AuditLog,
        planner: Planner,
        new_examiner: Callable[[], Examiner],
        marker_of: Callable[[str], Marker | None],
        published: dict[str, OutputIdentity],
        publisher: Publisher,
        surroundings: Surroundings,
        earlier: dict[str, int],
        tags: Mapping[str, dict[str, str]],
    ) -> None:
        """`earlier`: how many attempts each stage had in this run before it was resumed; numbers go on from there.

        `tags`: of all attempts that open runs tell of, stage -> tag -> key.
        """
        self.run_id = run_id
        self.durable = surroundings.durable
        self._spec = spec
        self._paths = spec.paths
        self.partials = Partials(spec, tags)
        self.log = log
        self._planner = planner
        self._new_examiner = new_examiner
        self._later = new_examiner()  # which looks at what a fingerprint saw, and remembers nothing of it
        self._marker_of = marker_of
        self._published = published
        self.publisher = publisher
        self._setting = Setting(spec, run_id, surroundings)
        self._scratch = ScratchPool(spec.paths, run_id)
        self._numbers = dict(earlier)
        self.keys: dict[str, str] = {}
        self._made_directories: set[str] = set()
        self._held: dict[str, Job] = {}  # whose locks are, by stage
        self._launched = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OffpipeError):
            self.give_up()

    # ---- deciding ----

    def decide(self, stage: Stage) -> Job | None:
        """Return a job for a stage that must run as everything is now, or None when it is up to date."""
        job = Job(stage, self._new_examiner().examine(stage))
        self.keys[stage.name] = job.fingerprint.key
        marker = self._marker_of(stage.name)
        job.reasons = self._planner.reasons(stage, job.fingerprint, marker)
        if not job.reasons:
            assert marker is not None
            self._published.update((identity.path, identity) for identity in marker.outputs.values())
            self.record_skip(stage, job.fingerprint.key)
            return None
        return job

    def redecide(self, job: Job, changed: str) -> bool:
        """Take a changed input into account; False when the stage is up to date after all."""
        job.redecided += 1
        job.changed, ran = changed, job.number
        job.tries_before, job.delay = len(job.attempts), 0.0
        fresh = self.decide(job.stage)
        if fresh is None:
            return False
        job.fingerprint = fresh.fingerprint
        job.reasons = (Reason(AGAIN, f'"{changed}" changed while attempt {ran} ran'), *fresh.reasons)
        return True

    def job_of(self, stage: Stage) -> Job:
        """Return a job for a stage that could not even be decided."""
        return Job(stage, Fingerprint(self.keys.get(stage.name, ""), {}, {}))

    def record_skip(self, stage: Stage, key: str) -> None:
        """Record that a stage is up to date, and remove the checkpoint of an attempt at what it is no longer to be."""
        self.partials.forget(stage)
        self.log.append(SKIPPED, StageSkipped(stage.name, key))

    # ---- before ----

    def lock(self, job: Job) -> bool:
        """Take the stage's lock; False when another process holds it."""
        job.lock = lock(self._paths.stage_lock(job.stage.name))
        if job.lock is None:
            return False
        self._held[job.stage.name] = job
        return True

    def prepare(self, job: Job) -> Launch:
        """Lay out the next attempt: number, partials, scratch, stage file, log, environment.

        Raises SpecError when the command line cannot be made, or its program is not there.
        """
        stage, run = job.stage, self.run_id
        job.network.clear()
        job.number = self._numbers[stage.name] = self._numbers.get(stage.name, 0) + 1
        job.tag = partial_tag(run, job.fingerprint.key, job.number)
        job.log = self._paths.log(run, stage.name, job.number)
        job.before = real_identities(self._spec, stage)
        for path in (*self.partials.real(stage).values(), job.log):
            self._make_directory(os.path.dirname(path))
        self.partials.make_room(stage)
        job.scratch = self._scratch.take()
        files.create(job.log)
        job.partials = self.partials.of(job)
        inputs = {name: [file.absolute for file in found] for name, found in job.fingerprint.inputs.items()}
        environment = self._setting.environment(job, inputs)
        argv, job.program = self._setting.command(job, inputs, environment)
        stdout = job.partials[stage.stdout] if stage.stdout else None
        self._launched += 1
        job.limits = enforced(stage.resources, self._launched)
        job.opening = self._opening(job)
        return Launch(
            self._launched, argv, environment, self._spec.root,
            inputs[stage.stdin][0] if stage.stdin else None, stdout, job.log,
            timeout=stage.timeout_seconds, program=job.program, affinity=job.limits.affinity,
            address_space=job.limits.address_space, script=self._setting.script(stage), preload=job.fingerprint.imports,
        )  # fmt: skip

    def started(self, job: Job) -> None:
        """Record that the attempt that was laid out starts now, and hand it what a checkpoint vouches for.

        The record comes first: it says whose the partials are that are renamed then.
        """
        assert job.opening is not None
        checkpoint, opening = self.partials.checkpoint(job), job.opening
        if checkpoint:
            opening = opening._replace(resumed_from=checkpoint.progress.as_record())
        self.log.append(ATTEMPT_STARTED, opening)
        self.partials.hand_over(job, checkpoint)

    @staticmethod
    def _opening(job: Job) -> AttemptStarted:
        stage, job.shown = job.stage, [reason.as_json() for reason in job.reasons[:REASONS_KEPT]]
        return AttemptStarted(
            stage=stage.name, attempt=job.number, key=job.fingerprint.key, tag=job.tag,
            program=job.program, outputs=stage.outputs, delay_micros=round(job.delay * 1e6),
            reasons=job.shown, enforced=job.limits.as_json(),
        )  # fmt: skip

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
        self._give_back_scratch(job)
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
            job.stage, job.fingerprint, job.tag, job.shown, job.program,
            self._marker_of(job.stage.name),
        )  # fmt: skip

    def put_in_place(self, job: Job) -> None:
        """Publish the outputs of a job whose commit is on record; later stages know their digests."""
        assert job.commit is not None
        outputs = self.publisher.put_in_place(job.commit, job.tag)
        if job.has_checkpoint:
            files.discard(self.partials.progress(job.stage))
        self._published.update((identity.path, identity) for identity in outputs.values())

    def _give_back_scratch(self, job: Job) -> None:
        names = list_inputs(job.stage.command or job.stage.args)
        self._scratch.give_back(job.scratch, lists=[f"{job.scratch}.{name}.list" for name in names])

    def abandon(self, job: Job) -> None:
        """Take back an attempt that was laid out and will not be started."""
        self._give_back_scratch(job)
        if job.log:
            files.discard(job.log)
        self.partials.sweep(job)
        self.release(job)

    def give_up(self) -> None:
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
                files.discard(self._paths.run_temporary(self.run_id))

    def release(self, job: Job) -> None:
        """Give the stage's lock back."""
        if job.lock is not None:
            os.close(job.lock)
            job.lock = None
            del self._held[job.stage.name]

    def record_end(self, result: StageResult) -> None:
        """Record how a stage ended, where no commit or skip says it already."""
        if result.status in (results.FAILED, results.BLOCKED, results.INTERRUPTED):
            what = str(result.fault.what) if result.fault else ""
            self.log.append(FINISHED, StageFinished(result.name, result.status, what))

    def _make_directory(self, path: str) -> None:
        if path not in self._made_directories:
            files.make_directories(path)
            self._made_directories.add(path)
