"""A stage on its way through a run, and what of the outside world it gets to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from runner.errors import Fault
from runner.resources import UNLIMITED, Limits
from runner.results import SUCCEEDED, StageResult
from runner.values import Record, Value, made

if TYPE_CHECKING:
    from runner.errors import OffpipeError
    from runner.plan.fingerprint import Fingerprint
    from runner.plan.planner import Reason
    from runner.record.events import AttemptStarted
    from runner.record.markers import Marker
    from runner.resources import Capacity
    from runner.results import AttemptResult, NetworkCalls
    from runner.spec.model import Stage


class Job(Record):
    """A stage that is being run: its key, why it runs, and how far it has come. Times are of the monotonic clock."""

    stage: Stage
    fingerprint: Fingerprint
    reasons: tuple[Reason, ...] = ()
    number: int = 0
    tag: str = ""
    log: str | None = None
    program: str = ""
    scratch: str = ""
    delay: float = 0.0
    began: float = 0.0
    started: float = 0.0  # the present attempt
    ended: float = 0.0  # the one before
    redecided: int = 0
    written: dict[str, str] = made(default_factory=dict)  # outputs, and their paths, that a failed attempt wrote
    changed: str | None = None  # what changed while the attempt before ran, so that nothing of it was published
    tries_before: int = 0
    attempts: list[AttemptResult] = made(default_factory=list)
    lock: int | None = None  # the descriptor that holds the stage's lock
    before: dict[str, object] = made(default_factory=dict)
    partials: dict[str, str] = made(default_factory=dict)  # of the present attempt, per output
    limits: Limits = UNLIMITED
    shown: list[list[object]] = made(default_factory=list)  # the reasons, as records have them
    opening: AttemptStarted | None = None  # the record of the attempt that was laid out
    has_checkpoint: bool = False  # as of the end of the present attempt
    commit: Marker | None = None  # of the attempt that succeeded
    network: list[NetworkCalls] = made(default_factory=list)  # asked for by the attempt that is running

    def fails_by(self, calls: NetworkCalls) -> bool:
        """Whether it fails the stage that one of its programs asked for this."""
        return self.stage.on_attempt == "fail" and not calls.is_probe

    def asked_for_network(self, attempt: AttemptResult) -> bool:
        """Whether an attempt at the stage failed by asking for a network."""
        return any(self.fails_by(calls) for calls in attempt.network)

    def result(self, status: str, fault: Fault | None = None, exit_code: int = 0) -> StageResult:
        """Return how the stage ended."""
        return StageResult(
            self.stage.name, status, key=self.fingerprint.key, reasons=tuple(tuple(one) for one in self.reasons),
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


class Surroundings(Value):
    """What of the world outside gets into a stage's environment."""

    outer_path: str
    outer_home: str | None
    sdk_path: str | None
    isolation: str
    durable: bool


class Ticker(Protocol):
    """Something that wants to be called now and then while the loop waits (a live display)."""

    @property
    def interval(self) -> float | None: ...

    def tick(self) -> None: ...


class Policy(Value):
    """How to go about a run: whether a failure ends it, and what fits beside what."""

    keep_going: bool
    capacity: Capacity
