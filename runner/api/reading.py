"""The verbs that only look: they write nothing, take no lock, and need read permission only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from runner.api.session import Session
from runner.errors import Fault, UsageError
from runner.record.audit import read_records
from runner.record.checkpoints import read_progress
from runner.record.locks import is_held, read_holder
from runner.record.state import read_metrics

if TYPE_CHECKING:
    from runner.api.options import Options
    from runner.decide.plan import Decision, Plan
    from runner.marker import Marker
    from runner.spec.graph import Graph
    from runner.spec.model import Stage


class Planned(NamedTuple):
    """The graph, the selected stages in order, and a decision for each."""

    graph: Graph
    stages: tuple[Stage, ...]
    plan: Plan


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A stage that stopped at a checkpoint: its program's own offsets, or None."""

    stage: str
    line_offset: int | None
    byte_offset: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` tells; `last_run` is the newest in the ledger, `open_runs` have not succeeded yet."""

    planned: Planned
    last_run: str | None
    last_event: str | None
    last_time: str | None
    open_runs: tuple[str, ...]
    metrics: dict[str, object]
    holder: dict[str, object] | None
    incomplete: tuple[Incomplete, ...]
    undeclared: tuple[str, ...]

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


def validate(spec_path: str, options: Options) -> Planned:
    """Load and plan, and raise for everything that would keep a run from starting."""
    planned = plan(spec_path, options)
    from runner.api.running import refuse_faults

    refuse_faults(planned.plan)
    return planned


def plan(spec_path: str, options: Options) -> Planned:
    """Decide every selected stage; faults of inputs are in the plan, not raised."""
    session = Session(spec_path, options)
    return Planned(session.graph, session.stages, session.plan())


def explain(spec_path: str, options: Options, stage: str) -> Explained:
    """Decide one stage and everything that it needs."""
    session = Session(spec_path, options)
    from runner.spec.graph import select

    chosen = select(session.graph, (stage,))
    decided = session.plan()
    found = next(one for one in chosen if one.name == stage)
    planned = Planned(session.graph, session.stages, decided)
    return Explained(found, decided.decisions[stage], session.marker(stage), planned)


def status(spec_path: str, options: Options) -> Status:
    """Tell what a run would find, who is running, and what earlier runs left undone."""
    session = Session(spec_path, options)
    paths = session.spec.paths
    from runner.record.audit import last_record

    last = last_record(paths.ledger)
    run = str(last["run"]) if last else None
    incomplete = []
    for stage in session.graph.order:
        progress = read_progress(paths.progress(stage.name))
        if progress is not None:
            incomplete.append(Incomplete(stage.name, progress.line_offset, progress.byte_offset))
    return Status(
        Planned(session.graph, session.stages, session.plan()),
        run,
        str(last["ev"]) if last else None,
        str(last["ts"]) if last else None,
        session.head.open_runs,
        read_metrics(paths, run) if run else {},
        read_holder(paths.pipeline_lock) if is_held(paths.pipeline_lock) else None,
        tuple(incomplete),
        tuple(undeclared(session)),
    )


def undeclared(session: Session) -> list[str]:
    """Return what earlier specs left behind: outputs of markers whose stage, or output, is not declared any more."""
    from runner.record.state import read_marker

    paths = session.spec.paths
    declared = set(session.graph.producers)
    found = []
    try:
        names = sorted(os.listdir(paths.state_dir))
    except OSError:
        return []
    for name in names:
        if not name.startswith("stage_") or not name.endswith(".json"):
            continue
        marker = read_marker(paths, name.removeprefix("stage_").removesuffix(".json"))
        paths_made = [identity.path for identity in marker.outputs.values()] if marker else []
        found += [path for path in paths_made if path not in declared and os.path.lexists(session.spec.output_path(path))]
    return sorted(set(found))


def read_log(spec_path: str, options: Options, stage: str | None, run: str | None) -> tuple[str, str]:
    """Return the path and the text of the newest log of a stage in a run (default: the last one that started it).

    Without a stage: the run's audit log, a line an event. UsageError when there is none.
    """
    session = Session(spec_path, options)
    paths = session.spec.paths
    from runner.record.audit import last_record

    last = last_record(paths.ledger)
    chosen = run or (_run_of(session, stage) if stage else None) or (str(last["run"]) if last else None)
    if chosen is None:
        raise UsageError(Fault("log", "no run yet"))
    if stage is None:
        lines = [f"{one['ts']} {one['ev']} {_subject(one)}".rstrip() for one in read_records(paths.audit(chosen))]
        return paths.audit(chosen), "\n".join(lines) + "\n"
    number = 0
    for record in read_records(paths.audit(chosen)):
        data = record["data"]
        if record["ev"] == "attempt.started" and isinstance(data, dict) and data["stage"] == stage:
            number = data["attempt"]
    if not number:
        raise UsageError(Fault("log", f'the run {chosen} did not start a stage "{stage}"'))
    path = paths.log(chosen, stage, number)
    with open(path, "rb") as log:
        return path, log.read().decode("utf-8", "backslashreplace")


def _run_of(session: Session, stage: str) -> str | None:
    if session.head.open_runs:
        return session.head.open_runs[-1]
    marker = session.marker(stage)
    return marker.run if marker else None


def _subject(record: dict[str, object]) -> str:
    data = record["data"]
    if not isinstance(data, dict):
        return ""
    shown = [str(data[name]) for name in ("stage", "attempt", "exit", "signal", "status") if data.get(name) is not None]
    return " ".join(shown)
