"""What to warn of before a run: likely mistakes in the spec, and files that a run would leave or replace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.record.markers import read_marker
from runner.spec.globs import parents
from runner.spec.kinds import did_you_mean
from runner.spec.placeholders import remarks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.engine.session import Session

_SHOWN = 3  # paths in a warning


def remark(session: Session) -> None:
    """Warn of likely mistakes in the spec, and of files that a run would leave or replace."""
    warned = *remarks(session.spec, session.stages), *_useless_allowances(session), *_left_behind(session)
    for fault in (*warned, *_replaced(session)):
        session.warn(fault)


def undeclared(session: Session) -> list[str]:
    """Return what earlier specs left behind: outputs of markers whose stage, or output, is not declared any more."""
    declared = _Places(session.graph.producers)
    return sorted(path for path in _made(session) if path not in declared and _is_there(session, path))


def _useless_allowances(session: Session) -> Iterator[Fault]:
    for index, name in enumerate(session.spec.allow_imports):
        if not session.bans.is_of_use(name):
            hint = did_you_mean(name, session.bans.names)
            yield Fault(f"{session.spec.shown}#/offline/allowImports/{index}", f'nothing bans "{name}"', hint)


def _left_behind(session: Session) -> Iterator[Fault]:
    """Yield what a run would leave where a glob still finds it."""
    declared = _Places(session.graph.producers)
    for stage in session.stages:
        for path in _outputs(session, stage.name):
            if path not in declared and _is_there(session, path):
                what = f'"{path}" is no output of stage "{stage.name}" any more, and stays where it is'
                hint = "remove it unless it is needed: a glob that matches it still finds it"
                yield Fault(f"{session.spec.shown}#/stages/{stage.index}/outputs", what, hint)


def _replaced(session: Session) -> Iterator[Fault]:
    """Yield what a run would replace although no stage is known to have made it."""
    made = _Places(_made(session))
    paths = [
        path
        for stage in session.stages
        if session.spec.paths.marker(stage.name) not in session.damage  # which is warned of, and a run has made it
        for path in stage.outputs.values()
        if path not in made and _is_there(session, path)
    ]
    if paths:
        shown = ", ".join(paths[:_SHOWN]) + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")
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
    try:
        names = os.listdir(session.spec.paths.state_dir)
    except OSError:
        return set()
    stages = [
        name[len("stage_") : -len(".json")] for name in names if name.startswith("stage_") and name.endswith(".json")
    ]
    return {path for stage in stages for path in _outputs(session, stage)}


def _outputs(session: Session, stage: str) -> list[str]:
    """Return the outputs in a stage's marker."""
    is_declared = stage in session.graph.upstream
    marker = session.marker(stage) if is_declared else read_marker(session.spec.paths, stage)
    return [output.path for output in marker.outputs.values()] if marker else []


def _is_there(session: Session, path: str) -> bool:
    return os.path.lexists(session.spec.output_path(path))
