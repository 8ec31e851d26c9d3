"""A stage on its way through a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.executor.schedule import UNLIMITED
from runner.results import SUCCEEDED, StageResult

if TYPE_CHECKING:
    from runner.errors import OffpipeError
    from runner.plan.fingerprint import Fingerprint
    from runner.plan.planner import Reason
    from runner.record.markers import Marker
    from runner.results import AttemptResult, NetworkCalls
    from runner.spec.model import Stage

REASONS_KEPT = 100  # in records and markers


class Job:
    """A stage that is being run: its key, why it runs, and how far it has come. Times are of the monotonic clock."""

    def __init__(self, stage: Stage, fingerprint: Fingerprint) -> None:
        self.stage = stage
        self.fingerprint = fingerprint
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
        self.before: dict[str, object] = {}  # what is in the outputs' places
        self.limits = UNLIMITED
        self.delay = 0.0
        self.started = 0.0
        self.network: list[NetworkCalls] = []  # that it asked for so far
        # The attempt that ended last.
        self.ended = 0.0
        self.has_checkpoint = False
        self.written: dict[str, str] = {}  # outputs, and their paths, if it failed and wrote there
        self.commit: Marker | None = None  # if it succeeded

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
