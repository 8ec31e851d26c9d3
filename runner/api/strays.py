"""Files where outputs are, or were, that no stage makes any more, or that no run is known to have made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.record.state import read_marker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.api.session import Session
    from runner.marker import Marker
    from runner.spec.model import Stage

_SHOWN = 3  # paths in a warning


def undeclared(session: Session) -> list[str]:
    """Return what earlier specs left behind: outputs of markers whose stage, or output, is not declared any more."""
    paths = session.spec.paths
    try:
        names = sorted(os.listdir(paths.state_dir))
    except OSError:
        return []
    stages = (
        name[len("stage_") : -len(".json")] for name in names if name.startswith("stage_") and name.endswith(".json")
    )
    return sorted({path for stage in stages for path in _left_by(session, read_marker(paths, stage))})


def warnings(session: Session) -> Iterator[Fault]:
    """Yield what a run would leave where a glob still finds it, and what it would replace: both may be somebody's."""
    for stage in session.stages:
        for path in _left_by(session, session.marker(stage.name)):
            what = f'"{path}" is no output of it any more, and stays where it is'
            hint = "remove it unless it is needed: a glob that matches it still finds it"
            yield Fault(f"{session.spec.shown}#/stages/{stage.index}/outputs", what, hint)
    if found := [path for stage in session.stages for path in _not_made(session, stage)]:
        shown = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        what = f"a run replaces what is there already, and was made by no run that is on record: {shown}"
        yield Fault(session.spec.shown, what, "move it away if it is needed")


def _left_by(session: Session, marker: Marker | None) -> Iterator[str]:
    """What a stage made that is there, and that no stage makes now."""
    made = marker.outputs.values() if marker else ()
    return (one.path for one in made if one.path not in session.graph.producers and _is_there(session, one.path))


def _not_made(session: Session, stage: Stage) -> Iterator[str]:
    """What lies where the outputs of a stage go that no run has made; a marker that is damaged told of one."""
    if session.marker(stage.name) is None and session.spec.paths.marker(stage.name) not in session.damage:
        yield from (path for path in stage.outputs.values() if _is_there(session, path))


def _is_there(session: Session, path: str) -> bool:
    return os.path.lexists(session.spec.output_path(path))
