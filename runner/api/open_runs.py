"""Runs that have not succeeded yet: what the killed ones had decided on is finished, and one of them goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.api.journal import Journal, new_run_id
from runner.errors import StateError
from runner.record.audit import last_record, position_of
from runner.record.ledger import OpenRun
from runner.results import SKIPPED, SUCCEEDED, StageResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.api.options import Options
    from runner.api.session import Session
    from runner.errors import Fault
    from runner.paths import StatePaths


def recovered_runs(session: Session, options: Options, warn: Callable[[Fault], None]) -> list[OpenRun]:
    """Finish what killed runs had decided on; return the runs that are open, the one asked for among them."""
    from runner.record.recovery import recover

    spec, open_runs = session.spec, session.head.open_runs
    wanted = (options.run_id,) if options.run_id and options.run_id not in open_runs else ()
    outputs = {stage.name: stage.outputs for stage in spec.stages}
    durable = options.durability == "full"
    return recover(
        spec.paths, spec.workspace, (*open_runs, *wanted), outputs, durable=durable, seal=session.seal, warn=warn
    )


def run_to_go_on(recovered: list[OpenRun], options: Options) -> OpenRun | None:
    """Return the run that this one is a part of: the one asked for, or the newest of those it covers."""
    if options.run_id:
        return next(one for one in recovered if one.run == options.run_id)
    fitting = covered(recovered, options)
    return fitting[-1] if fitting else None


def covered(recovered: list[OpenRun], options: Options) -> list[OpenRun]:
    """Return the runs of no other stages, oldest first: when this one has succeeded, all of their work is done too.

    A run of named stages must not end, and so close, a run in which others failed.
    """
    named = set(options.stages)
    return [one for one in recovered if not named or (one.selected and named.issuperset(one.selected))]


def end_others(
    session: Session, options: Options, others: list[OpenRun], layers: dict[str, str], stages: Mapping[str, StageResult]
) -> None:
    """End runs that are `covered` by one in which these stages, all that it has, are up to date now.

    To be called before that one ends, which is the last in the ledger then. Of a run whose log is not what it was when
    it was recovered nothing is written: it stays open, for the next run to look into.
    """
    for other in others:
        if not _is_as_recovered(session, other):
            continue
        mine = [one for one in stages.values() if not other.selected or one.name in other.selected]
        journal = Journal.begin(session, options.replace(stages=other.selected), other, layers)
        journal.end(SUCCEEDED, {one.name: StageResult(one.name, SKIPPED, key=one.key) for one in mine}, 0.0)
        session.head = session.read_head()


def _is_as_recovered(session: Session, run: OpenRun) -> bool:
    """Whether a run's log ends with the record that it ended with then, whole, and of that run."""
    path = session.spec.paths.audit(run.run)
    try:
        record = last_record(path, session.seal, torn=False)
    except StateError:
        return False
    return record is not None and record["run"] == run.run and position_of(record) == run.last


def new_run(paths: StatePaths, recovered: list[OpenRun]) -> OpenRun:
    """Return a run of a default id; it knows of the attempts of those that stay open, and may go on from theirs."""
    return OpenRun(new_run_id(paths), None, {}, 0, tags=recovered[0].tags if recovered else {})
