"""What a run works with, and a stage on its way through it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault
from runner.executor.schedule import UNLIMITED
from runner.plan.digests import Signature
from runner.plan.fingerprint import Fingerprint
from runner.results import SUCCEEDED, StageResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.errors import OffpipeError
    from runner.plan.digests import DigestCache
    from runner.plan.fingerprint import Examiner
    from runner.plan.planner import Planner, Reason
    from runner.record.audit import AuditLog
    from runner.record.markers import Marker, OutputIdentity
    from runner.results import AttemptResult, NetworkCalls
    from runner.spec.graph import Graph
    from runner.spec.model import Spec, Stage

REASONS_KEPT = 100  # in records and markers


class RunContext(NamedTuple):
    """What the executor of one run works with: the pipeline, and the run's log.

    `published`: what is known of outputs, by path, for the stages that read them. `earlier`: how many attempts each
    stage had in this run before it was resumed. `tags`: of all attempts that open runs tell of, stage -> tag -> key.
    `level` is the one at which its stages are kept offline; with `durable` what it writes is fsynced.
    """

    graph: Graph
    spec: Spec
    log: AuditLog
    planner: Planner
    new_examiner: Callable[[], Examiner]
    cache: DigestCache
    marker_of: Callable[[str], Marker | None]
    published: dict[str, OutputIdentity]
    earlier: Mapping[str, int]
    tags: Mapping[str, Mapping[str, str]]
    level: str
    durable: bool


class Job:
    """A stage that is being run: its key, why it runs, and how far it has come. Times are of the monotonic clock."""

    def __init__(self, spec: Spec, stage: Stage) -> None:
        self.stage = stage
        self.real = {name: spec.output_path(path) for name, path in stage.outputs.items()}  # where outputs will be
        self.progress = spec.paths.progress(stage.name)  # its progress file
        self.fingerprint = Fingerprint()  # without a key until the stage is decided
        self.reasons: tuple[Reason, ...] = ()
        self.lock: int | None = None  # the descriptor that holds the stage's lock
        self.began = 0.0  # the first attempt
        self.attempts: list[AttemptResult] = []
        self.redecided = 0  # because an input changed while the stage ran
        self.tries_before = 0  # attempts before the last time
        self.changed: str | None = None  # which input changed while the attempt before ran
        # The present attempt.
        self.number = 0
        self.tag = ""
        self.log: str | None = None
        self.program = ""
        self.scratch = ""
        self.partials: dict[str, str] = {}  # by output
        self.before: dict[str, Signature | None] = {}  # what is in the outputs' places
        self.limits = UNLIMITED
        self.delay = 0.0
        self.started = 0.0
        self.network: list[NetworkCalls] = []  # that it asked for so far
        # The attempt that ended last.
        self.ended = 0.0
        self.written: dict[str, str] = {}  # outputs, and their paths, if it failed and wrote there
        self.commit: Marker | None = None  # if it succeeded

    def has_checkpoint(self) -> bool:
        """Whether there is a progress file, good or not."""
        return os.path.lexists(self.progress)

    def signatures(self) -> dict[str, Signature | None]:
        """Return that of whatever is at each output's real path now, to tell later whether the stage wrote there."""
        found: dict[str, Signature | None] = {}
        for name, path in self.real.items():
            try:
                found[name] = Signature.of(os.lstat(path))
            except OSError:
                found[name] = None
        return found

    def reasons_as_json(self) -> list[list[object]]:
        """Return the reasons as records have them."""
        return [reason.as_json() for reason in self.reasons[:REASONS_KEPT]]

    def fails_by(self, calls: NetworkCalls) -> bool:
        """Whether it fails the stage that one of its programs asked for this."""
        return self.stage.on_attempt == "fail" and not calls.is_probe

    def asked_for_network(self, attempt: AttemptResult) -> bool:
        """Whether an attempt at the stage failed by asking for a network."""
        return any(self.fails_by(calls) for calls in attempt.network)

    def result(self, status: str, fault: Fault | None = None, exit_code: int = 0) -> StageResult:
        """Return how the stage ended."""
        return StageResult(
            self.stage.name, status, key=self.fingerprint.key, reasons=tuple(map(tuple, self.reasons)),
            attempts=self.attempts, log=self.log, input_bytes=self.fingerprint.input_bytes,
            seconds=max(0.0, self.ended - self.began), enforced=self.limits.as_json(),
            outputs=self.commit.outputs if self.commit and status == SUCCEEDED else {},
            fault=fault, exit_code=exit_code,
        )  # fmt: skip


def stage_fault(name: str, error: OffpipeError) -> Fault:
    """Return what went wrong with a stage as one fault that names the stage; one that does already stays as it is."""
    where, first = f"stage {name}", error.faults[0]
    if len(error.faults) == 1 and first.where.startswith(where):
        return first
    return Fault(where, "; ".join(f"{fault.where}: {fault.what}" for fault in error.faults), first.hint)
