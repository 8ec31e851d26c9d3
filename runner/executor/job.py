"""The context of a run, and the state of a stage in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.errors import Fault, OffpipeError
from runner.executor.schedule import Limits, Needs
from runner.plan.digests import Signature
from runner.plan.fingerprint import Fingerprint
from runner.results import SUCCEEDED, AttemptResult, NetworkCalls, StageResult

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from runner.plan.decisions import Reason
    from runner.plan.planner import Planning
    from runner.record.log import AuditLog
    from runner.record.markers import Marker
    from runner.record.recovery import Place
    from runner.record.views import View
    from runner.sandbox.contents import Shown
    from runner.spec.model import Spec, Stage

REASONS_KEPT = 100  # in records and markers


class RunContext:
    """What all parts of the executor share in one run: what the planning found, and the run that goes on record.

    `planning` is replaced once the instances of open templates are known; `replan` plans again, given the stages that
    are up to date by now. `earlier`: how many attempts each stage had in this run before it was resumed. `tags`: those
    of all attempts of open runs, stage -> tag -> key; grows. `positions`: see OpenLogs. `most_cpus`: for one stage.
    `level`: of the offline guard. `durable`: whether files are fsynced. `is_remote`: the stages run on a cluster, where
    an attempt that was given up may go on. `warn` shows a warning, and puts it on record. `keeps_temporary`: no
    temporary output is removed. `has_views`: sealed stages run in views. Else they run unsealed, unless
    `refuse_unsealed` raises OfflineError. `shown`: what views show besides what stages declare.
    """

    def __init__(
        self,
        planning: Planning,
        replan: Callable[[Collection[str]], Planning],
        log: AuditLog,
        earlier: Mapping[str, int],
        tags: dict[str, dict[str, str]],
        positions: Mapping[tuple[str, Place | None], int],
        most_cpus: float,
        level: str,
        warn: Callable[[Fault], None],
        refuse_unsealed: Callable[[Stage], None],
        *,
        durable: bool,
        is_remote: bool,
        keeps_temporary: bool = False,
        has_views: bool = False,
        shown: Shown | None = None,
    ) -> None:
        self.stages: dict[str, Stage] = {}  # all that were planned, also templates while they were open
        self.replace_planning(planning)
        self.replan = replan
        self.log = log
        self.earlier = earlier
        self.tags = tags
        self.positions = positions
        self.most_cpus = most_cpus
        self.level = level
        self.durable = durable
        self.is_remote = is_remote
        self.warn = warn
        self.keeps_temporary = keeps_temporary
        self.has_views = has_views
        self.shown = shown
        self.refuse_unsealed = refuse_unsealed

    def replace_planning(self, planning: Planning) -> None:
        """Take a planning in place of the one before."""
        self.planning = planning
        self.stages.update((stage.name, stage) for stage in planning.stages)

    @property
    def spec(self) -> Spec:
        """The spec of the planning."""
        return self.planning.spec


class Job:
    """The state of a stage that runs, and of its present attempt. Times are of the monotonic clock."""

    def __init__(self, spec: Spec, stage: Stage) -> None:
        self.stage = stage
        self.real = {name: spec.output_path(path) for name, path in stage.outputs.items()}  # final paths of outputs
        self.progress = spec.paths.progress(stage.name)  # the path of its progress file
        self.fingerprint = Fingerprint()  # without a key until the stage is decided
        self.reasons: tuple[Reason, ...] = ()
        self.lock: int | None = None  # the descriptor that holds the stage's lock
        self.began = 0.0  # when the first attempt started
        self.attempts: list[AttemptResult] = []
        self.redecided = 0  # how often, because an input changed while the stage ran
        self.tries_before = 0  # attempts before it was last decided anew
        self.changed: str | None = None  # the input that changed during the previous attempt
        self.program_version: str | None = None  # see `Versions`
        # The present attempt.
        self.number = 0
        self.tag = ""
        self.log = ""
        self.program = ""
        self.program_sha256: str | None = None
        self.scratch = ""
        self.reports_to = self.progress  # the progress file that it writes
        self.partials: dict[str, str] = {}  # by output
        self.view: View | None = None  # of a sealed attempt
        self.before: dict[str, Signature | None] = {}  # of the final paths, when the attempt was prepared
        self.needs = Needs()
        self.limits = Limits()
        self.delay = 0.0
        self.started = 0.0
        self.shortage: Fault | None = None  # its disk was full while it ran, or when it ended
        self.network: list[NetworkCalls] = []  # recorded so far
        # The last attempt that ended.
        self.ended = 0.0
        self.written: dict[str, str] = {}  # outputs whose final path it wrote to, if it failed, and these paths
        self.undeclared: str | None = None  # a file of root that its log names, if it failed and was sealed
        self.commit: Marker | None = None  # if it succeeded and is on record

    @property
    def tries(self) -> int:
        """How many attempts count since it was last decided anew."""
        return len(self.attempts) - self.tries_before

    def seen_as(self, name: str, path: str) -> str:
        """Return the path in the view of an input or output that is declared as `path`."""
        return self.stage.seen_as.get(name, path)

    @property
    def written_to(self) -> dict[str, str]:
        """Where the present attempt's outputs are until it ends, by output."""
        return self.view.outputs if self.view else self.partials

    def has_checkpoint(self) -> bool:
        """Whether there is a progress file, valid or not."""
        return os.path.lexists(self.progress)

    def signatures(self) -> dict[str, Signature | None]:
        """Return the signature at each output's final path now. A later difference shows that the stage wrote there."""
        return {name: Signature.at(path) for name, path in self.real.items()}

    def reasons_as_json(self) -> list[list[object]]:
        """Return the reasons for records and markers."""
        return [reason.as_json() for reason in self.reasons[:REASONS_KEPT]]

    def fails_on(self, calls: NetworkCalls) -> bool:
        """Whether these calls fail the stage."""
        return self.stage.on_attempt == "fail" and not calls.is_probe

    def is_offline_failure(self, attempt: AttemptResult) -> bool:
        """Whether the network calls of an attempt fail the stage."""
        return any(self.fails_on(calls) for calls in attempt.network)

    def has_failed(self, attempt: AttemptResult) -> bool:
        """Whether an attempt failed, by its code, its time or its network calls."""
        return attempt.code != 0 or attempt.timed_out or self.is_offline_failure(attempt)

    def result(self, status: str, fault: Fault | None = None, exit_code: int = 0) -> StageResult:
        """Return how the stage ended."""
        return StageResult(
            self.stage.name,
            status,
            key=self.fingerprint.key,
            reasons=tuple(map(tuple, self.reasons)),
            attempts=self.attempts,
            log=self.log or None,
            input_bytes=self.fingerprint.input_bytes,
            seconds=max(0.0, self.ended - self.began),
            enforced=self.limits.as_json(),
            outputs=self.commit.outputs if self.commit and status == SUCCEEDED else {},
            fault=fault,
            exit_code=exit_code,
        )


def stage_fault(name: str, error: OffpipeError) -> Fault:
    """Return an error as one fault that names the stage. A fault that already does stays as it is."""
    where, first = f"stage {name}", error.faults[0]
    if len(error.faults) == 1 and first.where.startswith(where):
        return first
    return Fault(where, "; ".join(f"{fault.where}: {fault.what}" for fault in error.faults), first.hint)
