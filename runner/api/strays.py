"""Files where outputs are, or were, that no stage makes any more, or that no run is known to have made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.record.markers import read_marker
from runner.spec.locations import parents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.api.session import Session
    from runner.record.markers import Marker

_SHOWN = 3  # paths in a warning


def undeclared(session: Session) -> list[str]:
    """Return what earlier specs left behind: outputs of markers whose stage, or output, is not declared any more."""
    declared = _Places(session.graph.producers)
    return sorted(path for path in _made(session) if path not in declared and _is_there(session, path))


def warnings(session: Session) -> Iterator[Fault]:
    """Yield what a run would leave where a glob still finds it, and what it would replace: both may be somebody's."""
    made, declared = _Places(_made(session)), _Places(session.graph.producers)
    for stage in session.stages:
        for path in _outputs_of(session.marker(stage.name)):
            if path not in declared and _is_there(session, path):
                what = f'"{path}" is no output of stage "{stage.name}" any more, and stays where it is'
                hint = "remove it unless it is needed: a glob that matches it still finds it"
                yield Fault(f"{session.spec.shown}#/stages/{stage.index}/outputs", what, hint)
    found = [
        path
        for stage in session.stages
        if session.spec.paths.marker(stage.name) not in session.damage  # which is told, and a run has made it
        for path in stage.outputs.values()
        if path not in made and _is_there(session, path)
    ]
    if found:
        shown = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        what = f"a run replaces what is there already, and is not known to be what a stage has made: {shown}"
        yield Fault(session.spec.shown, what, "move it away if it is needed")


class _Places:
    """Outputs, and what is in one of them or around one: a directory may become a file in it, or the reverse."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = {path.rstrip("/") for path in paths}
        self._around = {parent for path in self._paths for parent in parents(path)}

    def __contains__(self, path: str) -> bool:
        bare = path.rstrip("/")
        return bare in self._paths or bare in self._around or not self._paths.isdisjoint(parents(bare))


def _made(session: Session) -> set[str]:
    """Return the outputs of all markers, those of stages that are declared no more too."""
    paths = session.spec.paths
    try:
        names = [name for name in os.listdir(paths.state_dir) if name.startswith("stage_") and name.endswith(".json")]
    except OSError:
        return set()
    declared = {stage.name for stage in session.spec.stages}
    found: set[str] = set()
    for name in names:
        stage = name[len("stage_") : -len(".json")]
        found.update(_outputs_of(session.marker(stage) if stage in declared else read_marker(paths, stage)))
    return found


def _outputs_of(marker: Marker | None) -> list[str]:
    return [one.path for one in marker.outputs.values()] if marker else []


def _is_there(session: Session, path: str) -> bool:
    return os.path.lexists(session.spec.output_path(path))
