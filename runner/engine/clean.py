"""The verb `clean`: remove what the pipeline made."""

from __future__ import annotations

import os
import re
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from runner.engine.journal import Invocation
from runner.engine.open_runs import held_lock
from runner.engine.preflight import made_by_stages, replaced
from runner.engine.session import Session
from runner.record import files
from runner.record.checkpoints import find_partials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.engine import Options
    from runner.errors import Fault

OURS = re.compile(r"(stage|progress|metrics)_.*\.json|audit_.*\.jsonl|files\.json|logs|tmp|tmp\.dead")
"""What runs write into a state directory, which may also hold the locks, and the state of other pipelines."""


def clean(spec_path: str, options: Options, warn: Callable[[Fault], None], *, dry_run: bool, state: bool) -> list[str]:
    """Remove outputs, markers, partials and checkpoints of all stages; return the paths, relative to the workspace.

    With `state`, also remove everything else that runs wrote into the state directory: audit logs, metrics, logs. Holds
    the pipeline lock, unless it is a `dry_run`, which only returns the paths.
    """
    spec = options.load(spec_path)
    with Invocation(spec, options, warn, time.time_ns(), verb="clean") as invocation:
        invocation.is_recorded = dry_run or state or not os.path.exists(spec.paths.ledger)  # then it leaves no line
        session = Session(spec_path, options, spec=spec, warn=invocation.warn)
        for fault in replaced(session, made_by_stages(session), "`clean` removes"):
            session.warn(fault)
        with nullcontext() if dry_run else held_lock(spec, options.wait, lambda _: None, lambda: None):
            paths = list(dict.fromkeys((*_made(session), *(_state(session) if state else ()))))
            for path in () if dry_run else paths:
                files.discard(path)
    return [os.path.relpath(path, spec.workspace) for path in paths]


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
