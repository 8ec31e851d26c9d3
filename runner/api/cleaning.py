"""The verb `clean`: remove what the pipeline made, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.api.session import Session
from runner.record import files
from runner.record.checkpoints import find_partials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.api.options import Options


def clean(spec_path: str, options: Options, *, dry_run: bool, state: bool) -> list[str]:
    """Remove the outputs, markers, partials and checkpoints of the selected stages; return the paths, relative to root.

    With `state` the whole state directory goes too: audit logs, metrics, logs. Holds the pipeline lock meanwhile.
    """
    session = Session(spec_path, options)
    found = list(_made(session))
    if state and os.path.isdir(session.spec.paths.state_dir):
        found.append(session.spec.paths.state_dir)
    if not dry_run and found:
        from runner.record.locks import PipelineLock

        lock = PipelineLock(session.spec.paths.pipeline_lock)
        lock.take(options.wait, lambda _: None)
        try:
            for path in found:
                files.discard(path)
        finally:
            lock.release()
    return [os.path.relpath(path, session.spec.workspace) for path in found]


def _made(session: Session) -> Iterator[str]:
    """Yield what is there of what the stages made, a marker first: a killed `clean` then claims nothing complete."""
    paths = session.spec.paths
    for stage in session.stages:
        outputs = {name: session.spec.output_path(path) for name, path in stage.outputs.items()}
        partials = [path for found in find_partials(outputs).values() for path in found]
        for path in (paths.marker(stage.name), paths.progress(stage.name), *outputs.values(), *partials):
            if os.path.lexists(path):
                yield path
