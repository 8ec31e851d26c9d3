"""The verbs that only read: they write nothing, take no lock, and need read permission only."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from runner.engine.history import Part, last_failures, last_part, last_success
from runner.engine.preflight import program_faults, remark, undeclared
from runner.engine.session import Session, unwarned
from runner.errors import InputError, OfflineError, SpecError
from runner.plan.planner import Run, Skip
from runner.record.audit import last_record
from runner.record.locks import is_current, is_held, read_holder
from runner.record.state import read_metrics
from runner.spec.graph import select

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.engine import Options
    from runner.engine.history import Failure
    from runner.errors import Fault
    from runner.plan.planner import Decision, Plan
    from runner.record.checkpoints import Progress
    from runner.record.markers import Marker
    from runner.spec.graph import Graph
    from runner.spec.model import Stage

    Warn = Callable[[Fault], None]  # gets state files that count as missing, and likely mistakes in the spec


class Planned(NamedTuple):
    """The graph, the selected stages in order, a decision for each, and how those that are pending failed last.

    `fits` says of stages with a checkpoint whether it is of their key, where that is known before the run: a run goes
    on from it, or else removes it.
    """

    graph: Graph
    stages: tuple[Stage, ...]
    plan: Plan
    failures: dict[str, Failure]
    checkpoints: dict[str, Progress]
    fits: dict[str, bool]


class Status(NamedTuple):
    """What `status` shows; `last_run` is the newest in the ledger, `last_success` (run, time), `open_runs` go on.

    `part` is the newest part of the last run. `metrics` are empty unless that has ended.
    """

    planned: Planned
    last_run: str | None
    last_event: str | None
    last_time: str | None
    last_success: tuple[str, str] | None
    open_runs: tuple[str, ...]
    part: Part
    metrics: dict[str, object]
    holder: dict[str, object] | None
    undeclared: tuple[str, ...]

    @property
    def incomplete(self) -> dict[str, Progress]:
        """The checkpoints at which stages have stopped, in the order of stages."""
        checkpoints = self.planned.checkpoints
        return {stage.name: checkpoints[stage.name] for stage in self.planned.stages if stage.name in checkpoints}

    @property
    def working(self) -> dict[str, tuple[object, str]]:
        """The stages at which the last run is: the number of the attempt that has not ended, and since when."""
        return self.part.working if self.is_running else {}

    @property
    def is_running(self) -> bool:
        """Whether it is the last run that holds the lock."""
        return self.holder is not None and is_current(self.holder) and self.holder.get("run") == self.last_run

    @property
    def is_pending(self) -> bool:
        """Whether a run would have work to do."""
        return bool(self.open_runs) or not self.planned.plan.is_noop


class Explained(NamedTuple):
    """A stage, its decision, what it was found complete with (or None), and the plan around it."""

    stage: Stage
    decision: Decision
    marker: Marker | None
    planned: Planned


def validate(spec_path: str, options: Options, warn: Warn = unwarned) -> Planned:
    """Load and plan, and raise for everything that would keep a run from starting, all at once."""
    session = Session(spec_path, options, warn=warn)
    remark(session)
    programs = program_faults(session.spec, session.stages)
    try:
        planned = _planned(session)
        if planned.plan.faults:
            raise InputError(*planned.plan.faults)
    except (OfflineError, InputError) as error:
        if programs:
            raise SpecError(*programs, *error.faults) from error
        raise
    if programs:
        raise SpecError(*programs)
    return planned


def plan(spec_path: str, options: Options, warn: Warn = unwarned) -> Planned:
    """Decide every selected stage; faults of inputs are in the plan, not raised."""
    session = Session(spec_path, options, warn=warn)
    remark(session)
    return _planned(session)


def explain(spec_path: str, options: Options, stage: str, warn: Warn = unwarned) -> Explained:
    """Decide one stage and everything that it needs."""
    session = Session(spec_path, options, warn=warn)
    chosen = select(session.graph, (stage,))
    planned = _planned(session)
    explained = next(candidate for candidate in chosen if candidate.name == stage)
    return Explained(explained, planned.plan.decisions[stage], session.marker(stage), planned)


def status(spec_path: str, options: Options, warn: Warn = unwarned) -> Status:
    """Return what a run would do, who is running, and what earlier runs left undone."""
    session = Session(spec_path, options, warn=warn)
    paths = session.spec.paths
    last = last_record(paths.ledger, session.seal)
    run = last["run"] if last else None
    planned = _planned(session)
    part = last_part(session, run) if run else Part()
    return Status(
        planned,
        run,
        last["ev"] if last else None,
        last["ts"] if last else None,
        last_success(paths.ledger),
        session.head.open_runs,
        part,
        read_metrics(paths, run) if run and part.ended else {},  # after a kill they are those of an earlier part
        read_holder(paths.pipeline_lock) if is_held(paths) else None,
        tuple(undeclared(session)),
    )


def _planned(session: Session) -> Planned:
    decided = session.plan()
    pending = [name for name, decision in decided.decisions.items() if not isinstance(decision, Skip)]
    failures = last_failures(session, pending) if pending else {}
    return Planned(session.graph, session.stages, decided, failures, session.checkpoints, _fitting(session, decided))


def _fitting(session: Session, decided: Plan) -> dict[str, bool]:
    """Return which checkpoints are of the key that their stage has now, of stages whose inputs are all made."""
    fits: dict[str, bool] = {}
    for stage in session.stages if session.checkpoints else ():
        progress, upstream = session.checkpoints.get(stage.name), session.graph.upstream[stage.name]
        if progress is None or not isinstance(decided.decisions[stage.name], Run):
            continue
        if all(isinstance(decided.decisions[name], Skip) for name in upstream):
            with suppress(InputError, OfflineError):  # something was removed since the plan was made
                fits[stage.name] = session.examiner.examine(stage).key == progress.key
    return fits
