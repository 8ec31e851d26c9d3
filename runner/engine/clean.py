"""The verb `clean`: remove what the pipeline made, and nothing else."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from runner.engine.open_runs import held_lock
from runner.engine.session import Session
from runner.record import files
from runner.record.checkpoints import find_partials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.engine import Options


_OURS = re.compile(r"(stage|progress|metrics)_.*\.json|audit_.*\.jsonl|files\.json|logs|tmp|tmp\.dead")
"""What a run writes into a state directory; it may hold another pipeline's, and the locks, which are held."""


def clean(spec_path: str, options: Options, *, dry_run: bool, state: bool) -> list[str]:
    """Remove outputs, markers, partials and checkpoints of all stages; return the paths, relative to the workspace.

    With `state` the whole state directory goes too: audit logs, metrics, logs. Holds the pipeline lock meanwhile.
    """
    session = Session(spec_path, options)
    if dry_run:
        paths = _removable(session, state=state)
    else:
        with held_lock(session.spec, options.wait, lambda _: None, lambda: None):
            paths = _removable(session, state=state)
            for path in paths:
                files.discard(path)
    return [os.path.relpath(path, session.spec.workspace) for path in paths]


def _removable(session: Session, *, state: bool) -> list[str]:
    paths = list(_made(session))
    directory, locks = session.spec.paths.state_dir, session.spec.paths.locks_dir
    if state and os.path.isdir(directory):
        entries = (f"{directory}/{name}" for name in sorted(os.listdir(directory)) if _OURS.fullmatch(name))
        paths += [path for path in entries if path not in paths and path != locks]
    return paths


def _made(session: Session) -> Iterator[str]:
    """Yield what is there of what the stages made, a marker first: a killed `clean` then claims nothing complete."""
    paths = session.spec.paths
    for stage in session.stages:
        outputs = {name: session.spec.output_path(path) for name, path in stage.outputs.items()}
        partials = [path for found in find_partials(outputs).values() for path in found]
        for path in (paths.marker(stage.name), paths.progress(stage.name), *outputs.values(), *partials):
            if os.path.lexists(path):
                yield path
