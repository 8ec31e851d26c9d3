"""The verbs that plan: they write nothing, take no lock, and need read permission only.

They show the plan, and why stages are pending: failures of earlier runs, refused networks, runs that were refused.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from runner import results
from runner.audit.archive import RUNNING, Archive, Past, last_run, last_success, open_archive, past_invocations
from runner.engine.preflight import remark
from runner.engine.programs import program_faults
from runner.engine.session import Session, no_warning
from runner.errors import Fault, InputError, OfflineError, SpecError, StateError
from runner.executor.retry import next_delay
from runner.plan.code.component import CodeReader, declared_paths
from runner.plan.decisions import Run, Skip
from runner.plan.inputs import InputResolver
from runner.record import events
from runner.record.ledger import read_head
from runner.record.locks import is_current, is_held, read_holder
from runner.record.state import read_metrics
from runner.spec.graph import refuse_unknown, select, select_empty, stage_finder
from runner.verbs.roles import Location, Role, find_roles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from runner.engine import Options
    from runner.plan.planner import Planning
    from runner.record.checkpoints import Progress
    from runner.spec.model import Empty, Spec, Stage

    Warn = Callable[[Fault], None]  # called for state files that count as missing, and likely mistakes in the spec

_RUNS_READ = 8  # the newest of the open runs, whose logs are read from their beginning
_REFUSALS = 1000  # that `status` counts
_FAILED = "failed with "  # begins the text in `why`


class Failure(NamedTuple):
    """How a stage failed: in which run, when (as in the record), and why."""

    run: str
    time: str
    why: str


class Part:
    """The part of a run since it began or was last resumed: when it began and ended, and what went wrong.

    `failed`: stage -> why. `unstarted` and `interrupted` are stages. `working`: stage -> number and start of an attempt
    without an end on record, either at work or killed. `tried`: stage -> how many attempts failed in a row, as its
    retries count them, and the number and end of the last one. `refused`: requests for a network.
    """

    def __init__(self, began: str | None = None) -> None:
        self.began = began
        self.ended: str | None = None
        self.failed: dict[str, str] = {}
        self.unstarted: list[str] = []
        self.interrupted: list[str] = []
        self.working: dict[str, tuple[int, str]] = {}
        self.tried = defaultdict[str, tuple[int, int, str]](lambda: (0, 0, ""))
        self.refused: list[events.NetworkAttempt] = []
        self.warnings: list[events.RunWarning] = []


class Planned(NamedTuple):
    """A planning, and the last failure of each pending stage.

    `fits`: whether a stage's checkpoint has the stage's key, if the key is known before the run. A run resumes from a
    checkpoint that fits, and removes any other. `empty`: the selected stages that have no instances.
    """

    planning: Planning
    failures: dict[str, Failure]
    fits: dict[str, bool]
    empty: list[Empty]


class Status(NamedTuple):
    """What `status` shows. `last` is the ledger's line of the newest run with a log, `last_success` a run and its time.

    `planned` is None for a state directory without its spec. `part` is the newest part of the last run. `metrics` are
    those of the last run, empty unless that part has ended. `invocation` is the newest that worked on the last run.
    `refusals` came after it, the newest first.
    """

    pipeline: str
    planned: Planned | None
    last: Mapping[str, Any]
    last_success: tuple[str, str] | None
    open_runs: tuple[str, ...]
    part: Part
    metrics: dict[str, object]
    holder: dict[str, object] | None
    undeclared: tuple[str, ...]
    invocation: Past | None
    refusals: tuple[Past, ...]

    @property
    def incomplete(self) -> dict[str, Progress]:
        """The checkpoints of stages, in the order of stages."""
        stages, found = (self.planned.planning.stages, self.planned.planning.checkpoints) if self.planned else ((), {})
        return {stage.name: found[stage.name] for stage in stages if stage.name in found}

    @property
    def working(self) -> dict[str, tuple[int, str]]:
        """The stages at work in the last run: the number of the attempt, and its start."""
        return self.part.working if self.is_running else {}

    @property
    def waiting(self) -> dict[str, tuple[int, str]]:
        """The stages that wait for their next attempt in the last run: its number, and the time when it can start."""
        others = {*self.part.working, *self.part.failed, *self.part.interrupted}
        waiting: dict[str, tuple[int, str]] = {}
        for stage in self.planned.planning.stages if self.planned and self.is_running else ():
            tries, attempt, ended = self.part.tried[stage.name]
            if 0 < tries < stage.retry.attempts and stage.name not in others:
                delay = next_delay(stage, tries, self.last["run"], attempt)
                waiting[stage.name] = (attempt + 1, _later(ended, delay))
        return waiting

    @property
    def is_running(self) -> bool:
        """Whether the last run holds the lock. Without the spec, which says where locks are, the ledger decides."""
        if self.planned is None:
            return self.invocation is not None and self.invocation.outcome == RUNNING
        return self.holder is not None and is_current(self.holder) and self.holder.get("run") == self.last.get("run")

    @property
    def is_pending(self) -> bool:
        """Whether a run would have work to do."""
        return bool(self.open_runs) or bool(self.planned and not self.planned.planning.plan.is_noop)


def validate(spec_path: str, options: Options, warn: Warn = no_warning, *, spec: Spec | None = None) -> Planning:
    """Load and plan. Raises one error with every fault that would keep a run from starting.

    `spec` is one that is loaded already.
    """
    session = Session(spec_path, options, spec=spec, warn=warn)
    spec, stages = session.spec, session.stages
    try:
        planning = _planned(session).planning
        spec, stages = planning.spec, planning.stages
        if planning.plan.faults:
            raise InputError(*planning.plan.faults)
    except (OfflineError, InputError) as error:
        if programs := program_faults(spec, stages):
            raise SpecError(*programs, *error.faults) from error
        raise
    if programs := program_faults(spec, stages):
        raise SpecError(*programs)
    return planning


def plan(spec_path: str, options: Options, warn: Warn = no_warning) -> Planned:
    """Decide every selected stage. Faults of inputs are in the plan, and not raised."""
    return _planned(Session(spec_path, options, warn=warn))


def explain(spec_path: str, options: Options, selector: str, warn: Warn = no_warning) -> tuple[Planned, list[Stage]]:
    """Decide the selected stages, and everything that they need. Return the plan and the selected stages."""
    session = Session(spec_path, options, warn=warn)
    select(session.graph, (selector,))  # raises for an unknown name, before anything is read
    planned = _planned(session, remarks=False)
    graph = planned.planning.graph
    refuse_unknown(graph.spec, (selector,))
    planned = planned._replace(empty=select_empty(graph.spec, (selector,)))
    names = {*stage_finder(graph.spec)(selector)}
    return planned, [stage for stage in select(graph, (selector,)) if stage.name in names]


def who(spec_path: str, options: Options, path: str, warn: Warn = no_warning) -> list[Role]:
    """Return what a path is to the pipeline; nothing if no stage makes or reads it. Plans nothing."""
    session, location = Session(spec_path, options, warn=warn), Location(path, contents=True)
    graph, orphans = session.find_orphans(session.markers(), session.cache)
    former = [
        Role("orphan" if former.is_orphan else "former", former.stage, former.path, former.run)
        for former in orphans.former
        if location.touches(graph.spec.output_path(former.path))
    ]
    code = CodeReader(graph.spec, session.cache, declared_paths(graph.spec))
    return former + find_roles(graph, location, InputResolver(graph, orphans), code)


def status(target: str, options: Options, warn: Warn = no_warning) -> Status:
    """Return which run is at work, what earlier runs left undone, and what a run would do.

    `target` is a spec or a state directory; without a spec, nothing is planned.
    """
    session = None if os.path.isdir(target) else Session(target, options, warn=warn)
    archive = Archive(session.spec.paths, session.seal) if session else open_archive(target, options)
    paths = archive.paths
    head = session.head if session else read_head(paths.ledger, archive.seal)
    last = last_run(paths.ledger)
    run = last.get("run")
    is_running = is_held(paths)
    part = last_part(archive, run) if run else Part()
    for warning in () if session else part.warnings:
        warn(Fault(*warning))
    planned = _planned(session) if session else None
    former = planned.planning.orphans.former if planned else ()
    past = (past for past in past_invocations(paths.ledger) if past.verb == "run")
    refusals = takewhile(lambda past: past.outcome == results.REFUSED, past)
    return Status(
        session.spec.name if session else head.pipeline,
        planned,
        last,
        last_success(paths.ledger),
        head.open_runs,
        part,
        read_metrics(paths, run) if run and part.ended else {},  # after a kill, those of an earlier part are there
        read_holder(paths.pipeline_lock) if is_running else None,
        tuple(each.path for each in former if each.is_orphan),
        next((past for past in past_invocations(paths.ledger, is_running=is_running) if past.run == run), None),
        tuple(islice(refusals, _REFUSALS)),
    )


def _planned(session: Session, *, remarks: bool = True) -> Planned:
    """Plan, and look for the reasons in earlier runs. With `remarks`, first warn of likely mistakes in the spec."""
    if remarks:
        remark(session, session.spec, session.stages, session.markers())
    planning = session.plan(reads_all=False)
    pending = [name for name, decision in planning.plan.decisions.items() if not isinstance(decision, Skip)]
    failures = last_failures(session, pending) if pending else {}
    empty = select_empty(planning.spec, session.options.stages)
    return Planned(planning, failures, _fitting(planning), empty)


def _fitting(planning: Planning) -> dict[str, bool]:
    """Return whether each checkpoint has its stage's key, for stages whose inputs are all made."""
    fits: dict[str, bool] = {}
    decisions, graph = planning.plan.decisions, planning.graph
    for stage in planning.stages if planning.checkpoints else ():
        progress, upstream = planning.checkpoints.get(stage.name), graph.upstream[stage.name]
        if progress is None or not isinstance(decisions[stage.name], Run):
            continue
        if all(isinstance(decisions[name], Skip) for name in upstream):
            with suppress(InputError, OfflineError):  # a file was removed after the plan was made
                fits[stage.name] = planning.examiner.examine(stage).key == progress.key
    return fits


# ---- the logs of earlier runs ----


def last_part(archive: Archive, run: str) -> Part:
    """Return the newest part of a run from its log, up to the first damaged record (see `verify`)."""
    part = Part()
    with suppress(StateError):
        for record, event in archive.events(run):
            time = record["ts"]
            match event:
                case events.RunOpened():
                    part = Part(time)
                case events.RunEnded():
                    part.ended = time
                case events.AttemptStarted():
                    part.working[event.stage] = (event.attempt, time)
                case events.AttemptFinished():
                    attempt, _ = part.working.pop(event.stage, (0, ""))
                    tries, *_ = part.tried.pop(event.stage, (0,))
                    if record["data"].get("exit") != 0 or record["data"].get("timedOut"):
                        part.tried[event.stage] = (tries + 1, attempt, time)
                case events.NetworkAttempt():
                    part.refused.append(event)
                case events.RunWarning():
                    part.warnings.append(event)
                case events.StageFinished(status=results.FAILED):
                    part.failed[event.stage] = event.why.removeprefix(_FAILED)
                case events.StageFinished(status=results.BLOCKED):
                    part.unstarted.append(event.stage)
                case events.StageFinished(status=results.INTERRUPTED):
                    part.interrupted.append(event.stage)
    return part


def last_failures(session: Session, stages: Iterable[str]) -> dict[str, Failure]:
    """Return the last failure of each of `stages`, which are pending, in the newest open runs.

    Leaves out stages that were complete after they failed: those are pending for another reason.
    """
    failures: dict[str, Failure] = {}
    pending, archive = set(stages), Archive(session.spec.paths, session.seal)
    for run in session.head.open_runs[-_RUNS_READ:]:
        with suppress(StateError):
            for record, event in archive.events(run):
                match event:
                    case events.StageCommit():
                        failures.pop(event.stage, None)
                    case events.StageFinished(status=results.FAILED) if event.stage in pending:
                        failures[event.stage] = Failure(run, record["ts"], event.why.removeprefix(_FAILED))
    return {stage: failure for stage, failure in failures.items() if not _was_complete(session, stage, failure)}


def _was_complete(session: Session, stage: str, failure: Failure) -> bool:
    """Whether any run completed a stage after its failure: then its marker is newer."""
    try:
        completed = os.stat(session.spec.paths.marker(stage)).st_mtime
        return completed > datetime.fromisoformat(failure.time).timestamp()
    except (OSError, ValueError):
        return False


def _later(time: str, seconds: float) -> str:
    """Return the time of a record plus some seconds, in the form that records have."""
    try:
        return f"{datetime.fromisoformat(time) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%fZ}"
    except (ValueError, OverflowError):  # the record is damaged
        return time
