"""The attempts of a run: decides, prepares and records them, and keeps or removes their partials."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from runner.errors import InputError, OffpipeError, StateError
from runner.executor.launches import lists_of, make_launch
from runner.executor.schedule import Needs, enforced, needs_at
from runner.executor.scratch import ScratchPool
from runner.executor.views import undeclared
from runner.paths import is_partial, is_view, output_of, partial_path, partial_tag, stdout_path, tag_of
from runner.plan.decisions import AGAIN, Reason
from runner.reading import open_regular
from runner.record import events, files
from runner.record.checkpoints import Checkpoint, adopt, collect, keep_checkpoint, read_progress
from runner.record.locks import lock
from runner.record.views import View
from runner.results import GOOD, AttemptResult, NetworkCalls, StageResult, added_up

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.executor.job import Job, RunContext
    from runner.record.recovery import Place
    from runner.sandbox.launcher import Launch

_LEAST_KEPT = 1 << 16  # bytes, from the end of a failed attempt's standard output


class Attempts:
    """Decides, prepares, records and settles the attempts of one run. Its context cleans up after an OffpipeError.

    The numbers of attempts go on from those before the run was resumed.
    """

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._log = run.log
        self._numbers = dict(run.earlier)  # of the last attempt of each stage
        self._scratch = ScratchPool(run.spec.paths.run_temporary(run.log.run))
        self._launched = 0
        self._locked: dict[str, Job] = {}  # jobs that hold their stage's lock, by stage
        self._listings: dict[str, list[str]] = {}  # of directories of outputs, as this run first saw them

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Remove as many partials as the disk allows, after an error that ended the run and its stages.

        The next run would do it, but the error may be a full disk. If the log is gone, the partials may belong to
        another run, and stay.
        """
        if not isinstance(error, OffpipeError):
            return
        is_ours = False
        with suppress(OffpipeError):
            is_ours = self._log.is_in_place()
        for job in [*self._locked.values()]:
            with suppress(OffpipeError):
                if is_ours and job.commit is None:
                    self.sweep(job)
            self.release(job)
        with suppress(OffpipeError):
            if is_ours:
                files.discard(self._run.spec.paths.run_temporary(self._log.run))

    # ---- before ----

    def decide(self, job: Job) -> None:
        """Compute the key and the reasons to run from the disk as it is now."""
        job.fingerprint, job.reasons = self._run.planning.planner.decide(job.stage, self._run.planning.new_examiner())

    def redecide(self, job: Job, changed: str) -> None:
        """Decide again after the input `changed` changed while the stage ran; it may be up to date after all."""
        job.redecided += 1
        job.changed, job.tries_before, job.delay = changed, len(job.attempts), 0.0
        self.decide(job)
        if job.reasons:
            job.reasons = (Reason(AGAIN, f'"{changed}" changed while attempt {job.number} ran'), *job.reasons)

    def record_skip(self, job: Job) -> None:
        """Record that a stage is up to date, unless it adopts. Remove a checkpoint, which has an outdated key."""
        if job.has_checkpoint():
            self.discard(job)
        if not job.fingerprint.adopts:
            self._log.append(events.SKIPPED, events.StageSkipped(job.stage.name, job.fingerprint.key))

    def lock(self, job: Job) -> bool:
        """Take the stage's lock; False when another process holds it."""
        job.lock = lock(self._run.spec.paths.stage_lock(job.stage.name))
        if job.lock is None:
            return False
        self._locked[job.stage.name] = job
        return True

    def needs(self, job: Job) -> Needs:
        """Return what the next attempt of a job may use.

        The first one gets the values of the stage's last attempt. If that succeeded, the marker is another one now.
        """
        longest = max(map(len, job.stage.by_attempt.values()), default=1)
        last = self._run.positions.get((job.stage.name, self._replaced(job)), 0)
        return needs_at(job.stage, min(last + job.tries, longest - 1), self._run.most_cpus)

    def _replaced(self, job: Job) -> Place | None:
        """Return the commit whose marker a commit of this job replaces."""
        marker = self._run.planning.planner.markers.of(job.stage.name)
        return (marker.run, marker.audit_seq) if marker else None

    def prepare(self, job: Job) -> Launch:
        """Prepare the files of the next attempt, and return its launch.

        Raises SpecError for a missing program, and OfflineError for a sealed stage that may not run unsealed.
        """
        self._run.refuse_unsealed(job.stage)
        stage, run, paths, before = job.stage, self._log.run, self._run.spec.paths, self._numbers.get(job.stage.name, 0)
        job.network.clear()
        job.shortage = None
        job.number = self._numbers[stage.name] = before + 1
        job.tag = partial_tag(run, job.fingerprint.key, job.number)
        job.reports_to = paths.progress(stage.name, job.tag if self._run.is_remote else "")
        job.log = paths.log(run, stage.name, job.number)
        job.before = job.signatures()
        for path in (*job.real.values(), job.log):
            files.make_directories(os.path.dirname(path))
        if stage.sealed and self._run.has_views:
            job.view = View(self._run.spec.workspace, paths, stage.name, stage.outputs, stage.seen_as, job.tag)
            job.reports_to = job.view.sent_progress if self._run.is_remote else job.view.progress
        if before:
            files.discard(stdout_path(paths.log(run, stage.name, before)))
        job.scratch = self._scratch.take()
        files.create(job.log)
        job.partials = {name: partial_path(path, job.tag) for name, path in job.real.items()}
        self._launched += 1
        job.needs = self.needs(job)
        job.limits = enforced(job.needs, self._launched)
        launch = make_launch(self._run, job, self._launched)
        job.program = launch.program or launch.argv[0]
        with suppress(OSError, InputError):  # a program may be executable and not readable
            job.program_sha256 = self._run.planning.planner.cache.file(job.program).sha256
        return launch

    def started(self, job: Job) -> None:
        """Record the start of the prepared attempt, and give it the partials of a checkpoint; all others go.

        The record comes first, since it says to which attempt the renamed partials belong.
        """
        stage, key = job.stage, job.fingerprint.key
        checkpoint = self._keep(job, key, None if job.has_checkpoint() else self._listings)
        started = events.AttemptStarted(
            stage=stage.name,
            attempt=job.number,
            key=key,
            tag=job.tag,
            program=job.program,
            outputs=stage.outputs,
            delay_micros=round(job.delay * 1e6),
            reasons=job.reasons_as_json(),
            enforced=job.limits.as_json(),
            resumed_from=checkpoint.progress.as_record() if checkpoint else None,
            cpus=job.needs.cpus if job.needs.is_cut else None,
            position=job.needs.position or None,
            replaces=self._replaced(job) if job.needs.position else None,
            sealed=job.view is not None if stage.sealed else None,
            seen_as=(job.view and job.view.seen_as) or None,
        )
        self._log.append(events.ATTEMPT_STARTED, started)
        self._run.tags.setdefault(stage.name, {})[job.tag] = key
        if job.view:
            job.view.make()
        if checkpoint:
            is_in_place = job.view and not self._run.is_remote
            adopt(checkpoint, job.real, job.tag, job.progress, job.progress if is_in_place else job.reports_to)
        if job.view:
            job.view.begin()
        if stage.stdout:
            files.touch(job.written_to[stage.stdout])

    # ---- during and after ----

    def record_network(self, job: Job, calls: Iterable[NetworkCalls]) -> None:
        """Record refused network calls of the running attempt, and whether they fail the stage."""
        for each in calls:
            action = "fail" if job.fails_on(each) else "record"
            event = events.NetworkAttempt(job.stage.name, job.number, each.program, each.family, each.calls, action)
            self._log.append(events.NETWORK, event)
            job.network.append(each)

    def finish(self, job: Job, ended: AttemptResult) -> AttemptResult:
        """Record how an attempt ended, and remove its scratch. If it failed, also remove partials without a checkpoint.

        If it exited 0 and its disk was full, remove everything first: the record needs room, too.
        """
        if ended.code == 0 and job.shortage:
            self.discard(job)
        self.record_network(job, ended.network)
        self._collect(job)
        if ended.node:
            job.program_sha256 = ended.program_sha256
        progress = read_progress(job.progress) if job.has_checkpoint() else None
        lines = progress.line_offset if progress and progress.key == job.fingerprint.key else None
        network = added_up(job.network)
        attempt = ended._replace(number=job.number, delay=job.delay, lines=lines, network=network)
        self._log.append(events.ATTEMPT_FINISHED, {"stage": job.stage.name, **attempt.as_record()})
        if not attempt.lost:  # else the attempt may still use it
            self._scratch.give_back(job.scratch, lists=lists_of(job))
        if job.has_failed(attempt):
            now = job.signatures()
            self.keep_stdout(job)
            job.written = {name: path for name, path in job.stage.outputs.items() if now[name] != job.before[name]}
            job.undeclared = undeclared(self._run.spec, job) if job.view else None
            self.sweep(job)
        return attempt

    def keep_stdout(self, job: Job) -> None:
        """Keep what a failed attempt printed into an output, until the next attempt. It must not keep a disk full.

        Only a copy of its end is kept if it takes more than the disk has left, if a checkpoint may need the partial, or
        if the partial cannot be renamed because the logs are on another file system.
        """
        log, stdout = job.log, job.stage.stdout
        if not (log and stdout):
            return
        partial, kept = job.partials[stdout], stdout_path(log)
        # The stage may have removed it, and the disk may be full.
        with suppress(OSError, OffpipeError), open(open_regular(partial, follow=False), "rb") as printed:
            size, disk = os.fstat(printed.fileno()).st_size, os.statvfs(printed.fileno())
            if size == 0:
                return
            if size < disk.f_bavail * disk.f_frsize and not job.has_checkpoint():
                with suppress(StateError):
                    files.rename(partial, kept)
                    return
            printed.seek(max(0, size - _LEAST_KEPT))
            files.create(kept, printed.read(_LEAST_KEPT))

    def changed_input(self, job: Job) -> str | None:
        """Return the path of an input or code file that differs from the one in the key, or None.

        The first time, a rewritten file with the same content counts too. Later it does not: the stage may do that
        to its inputs every time.
        """
        examiner = self._run.planning.new_examiner()
        changed = examiner.changed_since(job.fingerprint, strict=not job.redecided)
        return os.path.relpath(changed, self._run.spec.root) if changed else None

    def record_end(self, result: StageResult) -> None:
        """Record the end of a stage that has no record of a commit or skip."""
        if result.status not in GOOD:
            what = str(result.fault.what) if result.fault else ""
            self._log.append(events.FINISHED, events.StageFinished(result.name, result.status, what))

    def release(self, job: Job) -> None:
        """Give the stage's lock back."""
        if job.lock is not None:
            os.close(job.lock)
            job.lock = None
            del self._locked[job.stage.name]

    def abandon(self, job: Job) -> None:
        """Undo the preparation of an attempt that will not start."""
        self._scratch.give_back(job.scratch, lists=lists_of(job))
        files.discard(job.log)
        self.sweep(job)
        self.release(job)

    def sweep(self, job: Job) -> None:
        """Remove the partials of a stage, except those of a checkpoint.

        A stage that could not be decided has no key, so the next run decides about its checkpoint.
        """
        self._collect(job)
        self._keep(job, job.fingerprint.key or None)

    def _collect(self, job: Job) -> None:
        """Take the outputs of a sealed attempt from its view, and the checkpoint of an attempt from where it is."""
        if job.view:
            job.view.end()
        collect(job.reports_to, job.progress, job.tag)

    def _keep(self, job: Job, key: str | None, listings: dict[str, list[str]] | None = None) -> Checkpoint | None:
        return keep_checkpoint(job.progress, key, job.real, self._run.tags.get(job.stage.name, {}), listings)

    def remove_leftovers(self) -> None:
        """Remove what tools have left beside the partials of open runs' attempts, once no attempt is left.

        Its name has the tag of an attempt, and is not that of an output's partial.
        """
        spec, outputs = self._run.spec, self._run.planning.graph.outputs
        attempted = [stage for stage in spec.stages if stage.name in self._run.tags]
        paths = (spec.output_path(path) for stage in attempted for path in stage.outputs.values())
        tags = {tag for of_stage in self._run.tags.values() for tag in of_stage}
        for directory in {os.path.dirname(path) for path in paths}:
            with suppress(OSError, StateError):  # hidden files fail no run
                for name in filter(is_partial, os.listdir(directory)):
                    path = f"{directory}/{name}"
                    if tag_of(name) not in tags or is_view(name):  # a view is another pipeline's: ours are gone
                        continue
                    if not outputs.declares(os.path.relpath(output_of(path), spec.workspace)):
                        files.discard(path)

    def discard(self, job: Job) -> None:
        """Remove the partials and the checkpoint of a stage."""
        self._collect(job)
        keep_checkpoint(job.progress, "", job.real, {})
