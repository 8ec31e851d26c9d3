"""Checks before a run starts. Each raises an error or gives a warning.

Errors: missing inputs and programs, a run id that is used already, files of a newer release. Warnings: likely mistakes
in the spec, and files that the run would replace.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from runner.engine.open_runs import is_closed
from runner.engine.programs import program_faults
from runner.errors import Fault, InputError, InterruptedRunError, LockHeldError, OfflineError, SpecError, UsageError
from runner.levels import KERNEL, POSSIBLE, STRICT
from runner.plan.decisions import Skip
from runner.plan.orphans import PATHS_SHOWN, Places
from runner.record.ledger import pruned_commits
from runner.record.locks import is_held
from runner.record.log import last_record
from runner.record.markers import Marker, read_marker
from runner.record.state import read_metrics
from runner.results import listed
from runner.spec.kinds import did_you_mean
from runner.spec.placeholders import remarks
from runner.spec.temporary import unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from runner.engine.session import Session
    from runner.interrupts import Interrupts
    from runner.plan.planner import Planning
    from runner.spec.model import Spec, Stage

LONG_HASHING = 0.5  # seconds of hashing; then it matters whether another run holds the lock


def plan_without_lock(
    session: Session, interrupts: Interrupts, on_hashed: Callable[[str, int, int], None]
) -> Planning | None:
    """Return the plan that counts, or None if hashing takes long while another run holds the lock.

    Raises what `refuse` raises. `on_hashed` gets a path, its size, and the bytes just read, also in later plans.
    """
    began = time.monotonic()

    def hashed(size: int) -> None:
        interrupts.check()
        on_hashed(*session.cache.reading, size)

    def hashed_without_lock(size: int) -> None:
        if time.monotonic() - began > LONG_HASHING and is_held(session.spec.paths):
            raise LockHeldError  # it is better to wait for that run than to hash beside it
        hashed(size)

    refuse_newer(session)
    if (run_id := session.options.run_id) and run_id in pruned_commits(session.spec.paths.ledger):
        raise UsageError(Fault(f"run {run_id}", "it has ended, and its records were pruned", "leave out --run-id"))
    session.check = interrupts.check
    session.cache.tick = hashed_without_lock
    try:
        planning = session.plan()
    except LockHeldError:
        return None
    except InterruptedRunError:
        session.save_cache()  # the next run reads the rest
        raise
    finally:
        session.cache.tick = hashed
    return refuse(session, planning)


def refuse(session: Session, planning: Planning) -> Planning:
    """Raise if a run cannot carry out this plan; else return what counts.

    InputError (exit 5) has every declared input that is missing or unusable; with `-k`, it is not raised, and such an
    input only blocks what needs it. SpecError (exit 2) has every stage that may have to run and whose program is
    missing. UsageError: the run id belongs to a run that has succeeded. That run may have succeeded while this one was
    planning; then all is done, as a new plan shows.
    """
    if planning.plan.faults and not session.options.keep_going:
        raise InputError(*planning.plan.faults)
    run_id = session.options.run_id
    if run_id and not planning.plan.is_noop and is_closed(session, run_id):
        planning = session.plan()
        if not planning.plan.is_noop:
            hint = "choose another, or leave --run-id out"
            raise UsageError(Fault("--run-id", f"the run {run_id} has succeeded already", hint))
    pending = [stage for stage in planning.stages if not isinstance(planning.plan.decisions[stage.name], Skip)]
    if faults := program_faults(planning.spec, pending):
        raise SpecError(*faults)
    return planning


def refuse_newer(session: Session) -> None:
    """Raise StateError if a newer release wrote what this run would continue. Nothing has changed on disk by then.

    Reads the last record and the metrics of each run that is open or named by the options. If a run is open, reads the
    markers, too: recovery may write those of stages that are not selected. Planning reads the rest.
    """
    paths, runs, run_id = session.spec.paths, session.head.open_runs, session.options.run_id
    for run in filter(None, (*runs, run_id)):
        last_record(paths.audit(run), session.seal)
        read_metrics(paths, run)
    for stage in session.spec.stages if runs else ():
        read_marker(paths, stage.name)


def refuse_without_views(session: Session, planning: Planning, layers: Mapping[str, str]) -> None:
    """Raise what `refuse_unsealed` raises for any stage that has to run; warn of sealed stages that run unsealed."""
    decisions = planning.plan.decisions
    pending = [stage for stage in planning.stages if not isinstance(decisions[stage.name], Skip)]
    for stage in pending:
        refuse_unsealed(session, layers, stage)
    sealed = [stage.name for stage in pending if stage.sealed]
    if sealed and (why := _without_views(layers)):
        names = listed(sealed, PATHS_SHOWN)
        session.warn(Fault("sealed stages", f"run unsealed, so undeclared reads are not noticed: {names} ({why})"))


def refuse_unsealed(session: Session, layers: Mapping[str, str], stage: Stage) -> None:
    """Raise OfflineError if a stage is sealed, and the launcher with these layers gives it no view.

    With `--sealed best-effort`, only if the stage has paths that only a view has.
    """
    why = _without_views(layers)
    if not (stage.sealed and why):
        return
    if session.options.sealed == STRICT:
        hint = "offpipe doctor says what views need; or run it unsealed: --sealed best-effort"
    elif stage.seen_as:
        hint = 'without a view, its paths cannot be those of "seenAs"; offpipe doctor says what views need'
    else:
        return
    what = f"is sealed, but gets no view here: {why.removeprefix('none: ')}"
    raise OfflineError(Fault(f"stage {stage.name}", what, hint))


def _without_views(layers: Mapping[str, str]) -> str:
    """Return why a launcher with these layers gives no views; "" if it does."""
    if layers.get("views") == POSSIBLE:
        return ""
    return layers.get("views") or layers.get(KERNEL) or f"its launcher is at level {layers['level']}"


# ---- warnings ----


def remark(session: Session, spec: Spec, stages: Sequence[Stage], markers: Iterable[Marker]) -> None:
    """Warn of likely mistakes in the spec, and of files that a run of `stages` would replace."""
    unknown = replaced(session, spec, stages, markers, "a run replaces")
    for fault in (*remarks(spec, stages), *unread(spec, stages), *_useless_allowances(session), *unknown):
        session.warn(fault)


def _useless_allowances(session: Session) -> Iterator[Fault]:
    for index, name in enumerate(session.spec.allow_imports):
        if not session.bans.has_effect(name):
            hint = did_you_mean(name, session.bans.names)
            yield Fault(f"{session.spec.shown}#/offline/allowImports/{index}", f'nothing bans "{name}"', hint)


def replaced(
    session: Session, spec: Spec, stages: Sequence[Stage], markers: Iterable[Marker], verb: str
) -> Iterator[Fault]:
    """Yield a warning of the files in the places of outputs that no marker names. `verb` says what happens to them."""
    known = Places(output.path for marker in markers for output in marker.all_outputs())
    paths = [
        path
        for stage in stages
        if spec.paths.marker(stage.name) not in session.damage  # there is a warning already
        for path in stage.outputs.values()
        if path not in known and os.path.lexists(spec.output_path(path))
    ]
    if paths:
        what = f"{verb} files that no stage is known to have made: {listed(paths, PATHS_SHOWN)}"
        yield Fault(spec.shown, what, "move them away if you need them")
