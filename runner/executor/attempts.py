"""One attempt of one stage: everything it needs is laid out, and what it leaves is taken up or removed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner import results
from runner.contain.environment import DEFAULT_PATH, argument_fault, contract_variables, find_program, stage_environment
from runner.contain.launch import Launch
from runner.decide.fingerprint import Fingerprint
from runner.errors import Fault, OffpipeError, SpecError
from runner.executor.enforcement import enforced
from runner.executor.publishing import real_identities
from runner.paths import partial_path, partial_tag
from runner.record import files
from runner.record.checkpoints import adopt, keep_or_discard, read_progress
from runner.record.locks import KernelLock
from runner.record.state import write_stage_file
from runner.results import AttemptResult, StageResult
from runner.spec.placeholders import expand, list_inputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.contain.client import Exit
    from runner.decide.fingerprint import Examiner
    from runner.decide.plan import Planner, Reason
    from runner.executor.publishing import Publisher
    from runner.marker import Marker, OutputIdentity
    from runner.record.audit import AuditLog
    from runner.spec.model import Spec, Stage

GRACE = 5.0


@dataclass(slots=True)
class Job:
    """A stage that is being run: its key, why it runs, and how far it has come. Times are of the monotonic clock."""

    stage: Stage
    fingerprint: Fingerprint
    reasons: tuple[Reason, ...] = ()
    number: int = 0
    tag: str = ""
    log: str | None = None
    program: str = ""
    delay: float = 0.0
    began: float = 0.0
    redecided: int = 0
    attempts: list[AttemptResult] = field(default_factory=list)
    lock: KernelLock | None = None
    before: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the world outside gets into a stage's environment."""

    outer_path: str
    outer_home: str | None
    sdk_path: str | None
    isolation: str
    durable: bool


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
    ) -> None:
        """`earlier`: how many attempts each stage had in this run before it was resumed; numbers go on from there."""
        self.run_id = run_id
        self._spec = spec
        self._paths = spec.paths
        self._log = log
        self._planner = planner
        self._new_examiner = new_examiner
        self._marker_of = marker_of
        self._published = published
        self._publisher = publisher
        self._around = surroundings
        self._numbers = dict(earlier)
        self._keys: dict[str, str] = {}
        self._made_directories: set[str] = set()
        self._launched = 0

    # ---- deciding ----

    def decide(self, stage: Stage) -> Job | None:
        """Return a job for a stage that must run as everything is now, or None when it is up to date."""
        job = Job(stage, self._new_examiner().examine(stage))
        self._keys[stage.name] = job.fingerprint.key
        marker = self._marker_of(stage.name)
        job.reasons = self._planner.reasons(stage, job.fingerprint, marker)
        if not job.reasons:
            assert marker is not None
            self._published.update((identity.path, identity) for identity in marker.outputs.values())
            self.record_skip(stage, job.fingerprint.key)
            return None
        return job

    def redecide(self, job: Job) -> bool:
        """Take a changed input into account; False when the stage is up to date after all."""
        job.redecided += 1
        fresh = self.decide(job.stage)
        if fresh is None:
            return False
        job.fingerprint, job.reasons = fresh.fingerprint, fresh.reasons
        return True

    def job_of(self, stage: Stage) -> Job:
        """Return a job for a stage that could not even be decided."""
        return Job(stage, Fingerprint(self._keys.get(stage.name, ""), {}, {}))

    def key_of(self, stage: str) -> str:
        return self._keys[stage]

    def record_skip(self, stage: Stage, key: str) -> None:
        """Record that a stage is up to date."""
        self._log.append("stage.skipped", {"stage": stage.name, "key": key})

    # ---- before ----

    def lock(self, job: Job) -> bool:
        """Take the stage's lock; False when another process holds it."""
        lock = KernelLock(self._paths.stage_lock(job.stage.name))
        if not lock.acquire():
            return False
        job.lock = lock
        return True

    def prepare(self, job: Job) -> Launch:
        """Lay out the next attempt: number, partials, scratch, stage file, log, environment; record that it starts.

        Raises SpecError when the command line cannot be made, or its program is not there.
        """
        stage, run = job.stage, self.run_id
        job.number = self._numbers[stage.name] = self._numbers.get(stage.name, 0) + 1
        job.tag = partial_tag(run, job.number)
        job.log = self._paths.log(run, stage.name, job.number)
        job.before = real_identities(self._spec, stage)
        real = self._real_outputs(stage)
        for directory in (*(os.path.dirname(path) for path in real.values()), os.path.dirname(job.log)):
            self._make_directory(directory)
        if os.path.lexists(self.progress_path(stage)):
            adopt(self.progress_path(stage), job.fingerprint.key, real, job.tag)
        scratch = self._paths.scratch(run, stage.name, job.number)
        files.make_directories(scratch)
        files.create(job.log)
        environment = self._environment(job, scratch)
        argv, program = self._command(job, scratch, environment)
        job.program = program
        partials = self.partials(job)
        stdout = partials[stage.stdout] if stage.stdout else None
        if stdout:
            files.touch(stdout)
        record: dict[str, object] = {
            "stage": stage.name, "attempt": job.number, "key": job.fingerprint.key, "tag": job.tag, "program": program,
            "outputs": stage.outputs, "delayMicros": round(job.delay * 1e6), "reasons": shown_reasons(job.reasons),
        }  # fmt: skip
        self._log.append("attempt.started", record)
        self._launched += 1
        limits = enforced(stage.resources)
        return Launch(
            self._launched, argv, environment, self._spec.root,
            job.fingerprint.inputs[stage.stdin][0].absolute if stage.stdin else None, stdout, job.log,
            timeout=stage.timeout_seconds, grace=GRACE, program=program, affinity=limits.affinity,
            address_space=limits.address_space, nice=limits.nice,
        )  # fmt: skip

    def _command(self, job: Job, scratch: str, environment: dict[str, str]) -> tuple[list[str], str]:
        stage = job.stage
        inputs = {name: [file.absolute for file in found] for name, found in job.fingerprint.inputs.items()}
        words = list(stage.command or stage.args)
        lists = {}
        for name in list_inputs(words):
            lists[name] = f"{scratch}.{name}.list"
            files.create(lists[name], "".join(f"{path}\n" for path in inputs[name]).encode())
        where = f"{self._spec.shown}#/stages/{stage.index}"
        try:
            argv = expand(
                words, inputs=inputs, lists=lists, outputs=self.partials(job), params=stage.params, python=sys.executable
            )
        except ValueError as error:
            raise SpecError(Fault(where, str(error), "let the placeholder be a word of its own, or use {list.NAME}")) from error
        processor = self._spec.processor_path(stage)
        if processor is not None:
            argv = [sys.executable, processor, *argv] if processor.endswith(".py") else [processor, *argv]
        path = environment.get("PATH", DEFAULT_PATH)
        program = find_program(argv[0], path, self._spec.root)
        if program is None:
            raise SpecError(self._missing_program(argv[0], path, where))
        fault = argument_fault(argv, environment, arg_max=os.sysconf("SC_ARG_MAX"), where=where)
        if fault is not None:
            raise SpecError(fault)
        return argv, program

    def _missing_program(self, word: str, path: str, where: str) -> Fault:
        elsewhere = find_program(word, self._around.outer_path, self._spec.root)
        if elsewhere is None:
            return Fault(where, f'no program "{word}" on the stage\'s PATH', f"PATH is {path}")
        directory = os.path.dirname(elsewhere)
        hint = f'stages do not see your shell\'s PATH; add to the stage: "env": {{"PATH": "{directory}:{path}"}}'
        return Fault(where, f'program "{word}" is only on the PATH of your shell, as {elsewhere}', hint)

    def _environment(self, job: Job, scratch: str) -> dict[str, str]:
        stage, partials = job.stage, self.partials(job)
        resources = stage.resources
        stage_file = self._paths.stage_file(self.run_id, stage.name, job.number)
        inputs = {name: [file.absolute for file in found] for name, found in job.fingerprint.inputs.items()}
        write_stage_file(
            stage_file,
            {
                "name": stage.name, "pipeline": self._spec.name, "runId": self.run_id, "attempt": job.number,
                "key": job.fingerprint.key, "params": stage.params,
                "checkpoint": {"everyLines": stage.checkpoint.every_lines, "everySeconds": stage.checkpoint.every_seconds},
                "durability": "full" if self._around.durable else "process",
                "inputs": inputs, "outputs": partials, "realOutputs": self._real_outputs(stage),
                "progress": self.progress_path(stage), "scratch": scratch,
                "resources": {
                    "cpus": resources.cpus, "memoryMiB": resources.memory_mib, "ioConcurrency": resources.io_concurrency,
                },
            },
        )  # fmt: skip
        contract = contract_variables(
            stage_file=stage_file, pipeline=self._spec.name, run_id=self.run_id, stage=stage.name, attempt=job.number,
            key=job.fingerprint.key, params=stage.params, inputs=inputs, outputs=partials,
            progress=self.progress_path(stage), offline=self._around.isolation, cpus=resources.cpus,
            memory_mib=resources.memory_mib, io_concurrency=resources.io_concurrency,
        )  # fmt: skip
        return stage_environment(
            interpreter=sys.executable, outer_home=self._around.outer_home, scratch=scratch,
            package_parent=self._around.sdk_path, spec_env=stage.env, cpus=resources.cpus, contract=contract,
        )  # fmt: skip

    # ---- after ----

    def finish(self, job: Job, ended: Exit) -> AttemptResult:
        """Record how an attempt ended, remove its scratch, and keep its partials only if a checkpoint vouches for them."""
        progress = read_progress(self.progress_path(job.stage))
        attempt = AttemptResult(
            job.number, ended.code, ended.signal, ended.timed_out, ended.seconds, ended.cpu_seconds, ended.max_rss_bytes,
            job.delay, progress.line_offset if progress and progress.key == job.fingerprint.key else None,
            ended.left_behind, ended.failed_to_start,
        )  # fmt: skip
        self._log.append("attempt.finished", {"stage": job.stage.name, **attempt.as_record()})
        scratch = self._paths.scratch(self.run_id, job.stage.name, job.number)
        files.discard(scratch)
        files.discard(f"{scratch}.json")
        files.discard(f"{scratch}.progress")
        for name in list_inputs(job.stage.command or job.stage.args):
            files.discard(f"{scratch}.{name}.list")
        if attempt.code != 0 or attempt.timed_out:
            keep_or_discard(self.progress_path(job.stage), job.fingerprint.key, self._real_outputs(job.stage))
        return attempt

    def changed_input(self, job: Job) -> str | None:
        """Return the path of what the stage read that is no longer what its key was computed from, or None."""
        changed = self._new_examiner().changed_since(job.fingerprint)
        return os.path.relpath(changed, self._spec.root) if changed else None

    def output_fault(self, job: Job) -> Fault | None:
        return self._publisher.fault_of(job.stage, job.tag, job.before)

    def publish(self, job: Job) -> dict[str, OutputIdentity]:
        """Publish the outputs of a job that succeeded; later stages know their digests."""
        outputs = self._publisher.publish(
            job.stage, job.fingerprint, job.tag, shown_reasons(job.reasons), job.program
        )
        files.discard(self.progress_path(job.stage))
        self._published.update((identity.path, identity) for identity in outputs.values())
        return outputs

    def discard(self, job: Job) -> None:
        """Remove the partials and the checkpoint of an attempt whose outputs nobody may have."""
        files.discard(self.progress_path(job.stage))
        for partial in self.partials(job).values():
            files.discard(partial)

    def release(self, job: Job) -> None:
        """Give the stage's lock back."""
        if job.lock is not None:
            job.lock.release()
            job.lock = None

    def record_end(self, result: StageResult) -> None:
        """Record how a stage ended, where no commit or skip says it already."""
        if result.status in (results.FAILED, results.BLOCKED, results.INTERRUPTED):
            what = str(result.fault.what) if result.fault else ""
            self._log.append("stage.finished", {"stage": result.name, "status": result.status, "why": what})

    def fault_of(self, job: Job, attempt: AttemptResult) -> Fault:
        """Return what a stage that failed is told to the user as."""
        tried = f" after {len(job.attempts)} attempts" if len(job.attempts) > 1 else ""
        where = f"stage {job.stage.name}"
        if attempt.failed_to_start:
            return Fault(where, f"could not start {job.program}: {attempt.failed_to_start}")
        if attempt.timed_out:
            return Fault(where, f"ended at its time limit of {job.stage.timeout_seconds:g} s{tried}")
        return Fault(where, f"failed with {attempt.describe()}{tried}")

    # ---- places ----

    def progress_path(self, stage: Stage) -> str:
        return self._paths.progress(stage.name)

    def partials(self, job: Job) -> dict[str, str]:
        """Return, per output, the partial of the job's present attempt."""
        return {name: partial_path(path, job.tag) for name, path in self._real_outputs(job.stage).items()}

    def _real_outputs(self, stage: Stage) -> dict[str, str]:
        return {name: self._spec.output_path(path) for name, path in stage.outputs.items()}

    def _make_directory(self, path: str) -> None:
        if path not in self._made_directories:
            files.make_directories(path)
            self._made_directories.add(path)


def shown_reasons(reasons: tuple[Reason, ...]) -> list[list[object]]:
    """Return reasons as JSON values that hold no floats: what is no text is spelled as its JSON."""
    from json import dumps

    def spelled(value: object) -> object:
        return value if value is None or isinstance(value, str) else dumps(value, sort_keys=True)

    return [[one.component, one.what, spelled(one.old), spelled(one.new)] for one in reasons[:100]]


