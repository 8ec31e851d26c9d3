"""Trees of inputs that stand in for the source's own: whether there is anything in them that a spec takes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_offpipe.sandbox import Source
from runner.errors import Fault, InputError, OffpipeError, UsageError
from runner.spec.load import load_spec
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.spec.model import Spec


def takes(spec: Spec, tree: str) -> set[str]:
    """Return what of a tree a spec takes: absolute paths of files, and of directories that are inputs as a whole."""
    source, top = Source(spec, tree), os.path.normpath(tree)  # as the places in it are spelled: not `below/../small`
    found: set[str] = set()
    for stage in spec.stages:
        for name in stage.inputs:
            try:
                places = [place for _, place in source.input_files(stage, name)]
            except InputError:  # neither there nor in the source, as a run will tell
                continue
            found.update(place for place in places if f"{place}/".startswith(f"{top}/"))
    return found


def is_taken_by_any(tree: str, specs: Iterable[str]) -> bool:
    """Whether one of `specs` (paths) takes anything of a tree; one that is not valid may, and is told elsewhere."""
    for path in specs:
        try:
            if takes(load_spec(path), tree):
                return True
        except OffpipeError:
            return True
    return False


def require_some(spec: Spec, tree: str, where: str) -> None:
    """Raise UsageError for a tree, given as `where`, of which a spec takes nothing."""
    if not takes(spec, tree):
        raise UsageError(nothing_taken(spec, tree, where))


def nothing_taken(spec: Spec, tree: str, where: str) -> Fault:
    """Return what is to be said of such a tree."""
    paths = [path for _, path in _declared(spec)]
    hint = f"lay it out as below the spec's root: {', '.join(paths[:3])}" if paths else ""
    return Fault(where, f"{tree}: no input of {spec.shown} is in there", hint)


def require_each(spec: Spec, names: Iterable[str], tree: str) -> None:
    """Raise UsageError for each of the paths `names` in a tree that no input takes."""
    taken = takes(spec, tree)
    faults = []
    for name in names:
        place = os.path.normpath(os.path.join(tree, name))
        if not any(f"{place}/".startswith(f"{one}/") for one in taken):
            faults.append(Fault("inputs", f'no input of {spec.shown} is taken from "{name}"', _hint(spec, name)))
    if faults:
        raise UsageError(*faults)


def _hint(spec: Spec, name: str) -> str:
    declared = dict(_declared(spec))
    if name in declared:
        return f'inputs of a pipeline go by their paths: "{declared[name]}"'
    plain = os.path.normpath(name)
    for stage in spec.stages:
        if any(plain == path.rstrip("/") for path in stage.outputs.values()):
            return f"stage {stage.name} makes it; to give it, run the stage that reads it alone (offpipe.stage)"
    return did_you_mean(name, list(declared.values()))


def _declared(spec: Spec) -> Iterator[tuple[str, str]]:
    """Yield name and path of each input that no stage makes."""
    outputs = {path.rstrip("/") for stage in spec.stages for path in stage.outputs.values()}
    for stage in spec.stages:
        yield from ((name, path) for name, path in stage.inputs.items() if path.rstrip("/") not in outputs)
