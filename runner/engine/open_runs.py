"""Runs that have not succeeded yet: take the lock, finish what killed runs had committed, choose the run to resume."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

from runner.canonical import END
from runner.errors import StateError
from runner.plan.orphans import unknown_templates
from runner.record import files
from runner.record.events import CLOSED, SUPERSEDED
from runner.record.invocation import new_run_id
from runner.record.locks import PipelineLock, has_leftovers
from runner.record.log import last_record, position_of
from runner.record.views import views_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runner.engine import Options
    from runner.engine.session import Session
    from runner.paths import StatePaths
    from runner.record.recovery import OpenRun
    from runner.spec.model import Spec


def held_lock(
    spec: Spec,
    wait: float,
    on_wait: Callable[[dict[str, object]], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> PipelineLock:
    """Take the pipeline lock and return it. Raises what `PipelineLock.take` raises."""
    lock = PipelineLock(spec.paths)
    place = ["--workspace", spec.workspace] if spec.workspace != spec.root else []
    status = shlex.join(["offpipe", "status", *place, spec.shown])
    lock.take(wait, on_wait, check, f"see `{status}`" if wait else f"wait for it with --wait, or see `{status}`")
    return lock


def is_closed(session: Session, run_id: str) -> bool:
    """Whether a run of this id has succeeded."""
    record = last_record(session.spec.paths.audit(run_id), session.seal)
    return record is not None and record["ev"] == END


def needs_recovery(session: Session) -> bool:
    """Whether there may be something that only a run with the lock can mend.

    That is an open run, whether at work or killed; a damaged state file; or what a killed run left.
    """
    paths, run_id = session.spec.paths, session.options.run_id
    if session.head.open_runs or session.damage or has_leftovers(paths):
        return True
    return run_id is not None and os.path.exists(paths.audit(run_id)) and not is_closed(session, run_id)


class Recovered(NamedTuple):
    """`mine`: the run to resume, or a new one. `others`: open runs whose work is done once `mine` has succeeded.

    `is_open`: whether `mine` was begun and not closed. `is_any`: whether there was a run to recover.
    """

    mine: OpenRun
    others: list[OpenRun]
    is_open: bool
    is_any: bool


def recover_runs(session: Session, spec: Spec) -> Recovered:
    """Finish what killed runs had committed, and choose the run to resume. Needs the pipeline lock."""
    from runner.record.recovery import recover

    options = session.options
    _close_ended(session)
    session.head = session.read_head()
    open_runs = session.head.open_runs
    named = (options.run_id,) if options.run_id and options.run_id not in open_runs else ()
    session.heal()
    outputs = {stage.name: stage.outputs for stage in spec.stages}
    recovered = recover(
        spec.paths,
        spec.workspace,
        (*open_runs, *named),
        outputs,
        unknown_templates(spec),
        durable=options.is_durable,
        seal=session.seal,
        warn=session.warn,
    )
    for view in views_in(spec.workspace, spec.paths):
        files.discard(view)
    mine = run_to_resume(spec.paths, recovered, options)
    others = [run for run in covered(recovered, options) if run is not mine]
    is_open = mine.run in open_runs or (mine.last is not None and not is_closed(session, mine.run))
    return Recovered(mine, others, is_open, bool(recovered))


def _close_ended(session: Session) -> None:
    """Close runs that ended their log and were killed before they wrote to the ledger: all of their work is done."""
    paths, durable = session.spec.paths, session.options.is_durable
    for run in session.read_head().open_runs:
        record = last_record(paths.audit(run), session.seal)
        if record and record["ev"] == END:
            if durable:
                files.sync_again(paths.audit(run))  # the run may have been killed before it synced
            session.ledger.append(CLOSED, run, position_of(record), sync=durable)


def run_to_resume(paths: StatePaths, recovered: list[OpenRun], options: Options) -> OpenRun:
    """Return the run to resume: that of `--run-id`, else the newest that this one covers, else a new run.

    A new run knows the attempts of the open runs, and may resume from their checkpoints.
    """
    from runner.record.recovery import OpenRun

    if options.run_id:
        return next(run for run in recovered if run.run == options.run_id)
    if fitting := covered(recovered, options):
        return fitting[-1]
    return OpenRun(new_run_id(paths), recovered[0].logs if recovered else None)


def covered(recovered: list[OpenRun], options: Options) -> list[OpenRun]:
    """Return the runs without other stages, oldest first: once this run has succeeded, their work is done, too.

    A run of named stages must not close a run in which other stages failed.
    """
    named = set(options.stages)
    return [run for run in recovered if not named or (run.selected and named.issuperset(run.selected))]


def supersede(session: Session, others: Iterable[OpenRun], by: str) -> None:
    """Put on record that the run `by` has done the work of `others` (see `covered`), so that none goes on with them.

    Call this before the ledger names the end of that run, so that it is the last. If the log of an open run has changed
    since it was recovered, the run stays open for the next one.
    """
    for other in others:
        try:
            record = last_record(session.spec.paths.audit(other.run), session.seal, torn=False)
        except StateError:
            continue
        if record and record["run"] == other.run and position_of(record) == other.last:
            session.ledger.append(SUPERSEDED, other.run, other.last, sync=session.options.is_durable, by=by)
