"""The verbs that only look: they write nothing, take no lock, and need read permission only."""

from __future__ import annotations

import os
from contextlib import suppress
from json import loads
from typing import TYPE_CHECKING, NamedTuple

from runner.api.history import Part, events_of, last_failures, last_part
from runner.api.session import Session, untold
from runner.api.strays import undeclared
from runner.errors import Fault, InputError, OfflineError, SpecError, UsageError
from runner.plan.planner import Run, Skip
from runner.record.audit import last_record, read_records, tail
from runner.record.events import CLOSED, ENDINGS, NOOP, AttemptStarted
from runner.record.locks import is_current, read_holder
from runner.record.others import is_held
from runner.record.state import read_metrics
from runner.spec.graph import select
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.api.history import Failure
    from runner.api.options import Options
    from runner.levels import RefusedError
    from runner.plan.planner import Decision, Plan
    from runner.record.checkpoints import Progress
    from runner.record.markers import Marker
    from runner.spec.graph import Graph
    from runner.spec.model import Stage

    Warn = Callable[[Fault], None]  # hears of state files that count as missing, and of what may be meant otherwise

_LOOKED_AT = 1 << 24  # of the ledger's end, for the last success: more than 30,000 runs without one


class Planned(NamedTuple):
    """The graph, the selected stages in order, a decision for each, and how those that are pending failed last.

    `fits` says of those that have a checkpoint whether it is of their key, where that can be told by now: a run goes on
    from it, or else throws it away.
    """

    graph: Graph
    stages: tuple[Stage, ...]
    plan: Plan
    failures: dict[str, Failure]
    checkpoints: dict[str, Progress]
    fits: dict[str, bool]


class Incomplete(Value):
    """A stage that stopped at a checkpoint: its program's own offsets, or None; whether it fits, or None."""

    stage: str
    line_offset: int | None
    byte_offset: int | None
    fits: bool | None


class Status(Value):
    """What `status` tells; `last_run` is the newest in the ledger, `last_success` (run, time), `open_runs` go on.

    `part` is what the last run told of itself, in its newest part.
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
    incomplete: tuple[Incomplete, ...]
    undeclared: tuple[str, ...]

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


def validate(spec_path: str, options: Options, warn: Warn = untold) -> Planned:
    """Load and plan, and raise for everything that would keep a run from starting, all at once."""
    from runner.api.programs import program_faults
    from runner.api.refusals import refuse_faults

    session = Session(spec_path, options, warn=warn)
    session.remark()
    programs = program_faults(session.spec, session.stages, os.environ.get("PATH", ""))
    try:
        planned = _planned(session)
        refuse_faults(planned.plan)
    except (OfflineError, InputError) as error:
        if programs:
            raise SpecError(*programs, *error.faults) from error
        raise
    if programs:
        raise SpecError(*programs)
    return planned


def plan(spec_path: str, options: Options, warn: Warn = untold) -> Planned:
    """Decide every selected stage; faults of inputs are in the plan, not raised."""
    session = Session(spec_path, options, warn=warn)
    session.remark()
    return _planned(session)


def explain(spec_path: str, options: Options, stage: str, warn: Warn = untold) -> Explained:
    """Decide one stage and everything that it needs."""
    session = Session(spec_path, options, warn=warn)
    chosen = select(session.graph, (stage,))
    planned = _planned(session)
    found = next(one for one in chosen if one.name == stage)
    return Explained(found, planned.plan.decisions[stage], session.marker(stage), planned)


def status(spec_path: str, options: Options, warn: Warn = untold) -> Status:
    """Tell what a run would find, who is running, and what earlier runs left undone."""
    session = Session(spec_path, options, warn=warn)
    paths = session.spec.paths
    last = last_record(paths.ledger, session.seal)
    run = last["run"] if last else None
    planned = _planned(session)
    incomplete = [
        Incomplete(stage.name, one.line_offset, one.byte_offset, planned.fits.get(stage.name))
        for stage in session.graph.order
        if (one := planned.checkpoints.get(stage.name))
    ]
    return Status(
        planned,
        run,
        last["ev"] if last else None,
        last["ts"] if last else None,
        _last_success(paths.ledger),
        session.head.open_runs,
        last_part(session, run) if run else Part(),
        read_metrics(paths, run) if run and _has_stopped(session, run) else {},
        read_holder(paths.pipeline_lock) if is_held(paths.pipeline_lock, paths.state_dir) else None,
        tuple(incomplete),
        tuple(undeclared(session)),
    )


def doctor() -> dict[str, dict[str, str] | RefusedError]:
    """Try the offline guard's levels on this machine: the layers of each, or what could not be had."""
    from runner.sandbox.guard import survey

    return survey()


def _planned(session: Session) -> Planned:
    decided = session.plan()
    pending = [name for name, decision in decided.decisions.items() if not isinstance(decision, Skip)]
    failures = last_failures(session, pending) if pending else {}
    return Planned(session.graph, session.stages, decided, failures, session.checkpoints, _fitting(session, decided))


def _fitting(session: Session, decided: Plan) -> dict[str, bool]:
    """Return which checkpoints are of the key that their stage has now, of stages whose inputs are all made."""
    found: dict[str, bool] = {}
    examiner = session.examiner
    assert examiner is not None  # of the plan that is decided
    for stage in session.stages if session.checkpoints else ():
        progress, upstream = session.checkpoints.get(stage.name), session.graph.upstream[stage.name]
        if progress is None or not isinstance(decided.decisions[stage.name], Run):
            continue
        if all(isinstance(decided.decisions[name], Skip) for name in upstream):
            with suppress(InputError, OfflineError):  # something has gone since it was decided
                found[stage.name] = examiner.examine(stage).key == progress.key
    return found


def _has_stopped(session: Session, run: str) -> bool:
    """Whether a run came to its end, of whatever kind: after a kill its metrics are those of an earlier part."""
    record = last_record(session.spec.paths.audit(run), session.seal)
    return record is not None and record["ev"] in ENDINGS


def find_log(spec_path: str, options: Options, stage: str, run: str | None, attempt: int | None) -> str:
    """Return the path of the log of a stage's attempt in `run`; default: the last attempt, of the last run that has it.

    UsageError for a stage that is not there, that was not started, or that has no such attempt on record.
    """
    session = Session(spec_path, options)
    paths = session.spec.paths
    marker = session.marker(stage)
    runs = [run] if run else [*reversed(session.head.open_runs), *([marker.run] if marker else [])]
    for one in runs:
        number = 0
        for _, event in events_of(read_records(paths.audit(one), session.seal)):
            if isinstance(event, AttemptStarted) and event.stage == stage and attempt in (None, event.attempt):
                number = event.attempt
        if number:
            return paths.log(one, stage, number)
    select(session.graph, (stage,))  # raises for an unknown name, and says which is meant
    what = f"has no attempt {attempt} on record" if attempt else "was not started" if run else "was never started"
    raise UsageError(Fault(f"stage {stage}", f"{what} in the run {run}" if run else what))


def _last_success(ledger: str) -> tuple[str, str] | None:
    """Return the last run that succeeded and when it ended.

    Looked for from the ledger's end on, and its hashes are left alone, so that it takes no longer the more runs came
    before; a record that is damaged is passed over.
    """
    for line in tail(ledger, _LOOKED_AT):
        if any(b'"ev":"%b"' % event.encode() in line for event in (CLOSED, NOOP)):
            try:
                record = loads(line)
                return str(record["run"]), str(record["ts"])
            except (ValueError, KeyError, TypeError):
                continue
    return None
