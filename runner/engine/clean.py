"""The verb `clean`: remove what the pipeline made."""

from __future__ import annotations

import os
import re
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from runner.engine.journal import Invocation
from runner.engine.open_runs import held_lock
from runner.engine.preflight import replaced
from runner.engine.session import Session
from runner.errors import Fault, InputError
from runner.paths import partial_path
from runner.plan.digests import DigestCache
from runner.plan.inputs import InputResolver
from runner.plan.orphans import REMOVABLE, find_orphans
from runner.record import files
from runner.record.checkpoints import find_partials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.engine import Options

OURS = re.compile(r"(stage|progress|metrics)_.*\.json|audit_.*\.jsonl|files\.json|logs|tmp|tmp\.dead")
"""What runs write into a state directory, which may also hold the locks, and the state of other pipelines."""
_TAG = "000000"  # in the name of an orphan that is being removed: no stage writes to its path any more


def clean(
    spec_path: str, options: Options, warn: Callable[[Fault], None], *, dry_run: bool, state: bool, orphans: bool
) -> list[str]:
    """Remove outputs, orphans, markers, partials and checkpoints; return the paths, relative to the workspace.

    With `state`, also remove everything else that runs wrote into the state directory: audit logs, metrics, logs. With
    `orphans`, remove these only; InputError if a source is missing. Holds the pipeline lock, unless it is a `dry_run`,
    which only returns the paths.
    """
    spec = options.load(spec_path)
    with Invocation(spec, options, warn, time.time_ns(), verb="clean") as invocation:
        invocation.is_recorded = dry_run or state or not os.path.exists(spec.paths.ledger)  # then it leaves no line
        session = Session(spec_path, options, spec=spec, warn=invocation.warn)
        with nullcontext() if dry_run else held_lock(spec, options.wait):
            left = find_orphans(spec, session.markers(), DigestCache(trust=False))  # reads each of them
            kept = (former.warning(spec.shown) for former in left.former if former.state != REMOVABLE)
            for fault in (*kept, *(() if orphans else replaced(session, "`clean` removes"))):
                session.warn(fault)
            sources = InputResolver(session.graph, left)
            if orphans and (missing := list(sources.missing_sources(spec.stages))):  # their disk may not be mounted
                raise InputError(Fault("--orphans", "nothing is removed while a source is missing"), *missing)
            asides = {place: partial_path(place, _TAG) for place in (*left.removable(), *left.absent)}
            first = [path for path in (*left.removable(), *asides.values()) if os.path.lexists(path)]
            others = [] if orphans else [*dict.fromkeys((*_made(session), *(_state(session) if state else ())))]
            if not dry_run:  # orphans first: a kill between them and the markers would leave some that nothing knows
                for place in left.removable():
                    _set_aside(place, asides[place])
                for path in (*filter(os.path.lexists, asides.values()), *others):
                    files.discard(path)
    return [os.path.relpath(path, spec.workspace) for path in (*first, *others)]


def _set_aside(orphan: str, aside: str) -> None:
    """Take an orphan out of sight in one step: globs would match the rest of a directory after a kill.

    Then the next `clean` removes it.
    """
    files.discard(aside)
    if os.path.lexists(orphan):  # else it was in another orphan
        files.set_aside(orphan, aside)


def _state(session: Session) -> Iterator[str]:
    """Yield what is in the state directory, but for the locks."""
    paths = session.spec.paths
    for name in sorted(os.listdir(paths.state_dir)) if os.path.isdir(paths.state_dir) else ():
        path = f"{paths.state_dir}/{name}"
        if OURS.fullmatch(name) and path != paths.locks_dir:
            yield path


def _made(session: Session) -> Iterator[str]:
    """Yield what the stages made and is there. Markers come first, so that a killed `clean` leaves no false marker."""
    paths = session.spec.paths
    for stage in session.stages:
        outputs = {name: session.spec.output_path(path) for name, path in stage.outputs.items()}
        partials = [path for found in find_partials(outputs).values() for path in found]
        for path in (paths.marker(stage.name), paths.progress(stage.name), *outputs.values(), *partials):
            if os.path.lexists(path):
                yield path
