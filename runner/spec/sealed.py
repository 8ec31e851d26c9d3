"""Sealed stages in a spec: at which paths they may have their inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.spec.checks import names_flaw, path_finding, taken_by_runs
from runner.spec.globs import bare, is_below, is_glob, literal_prefix, may_match
from runner.spec.kinds import Finding, did_you_mean, show
from runner.spec.model import READY_MADE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from runner.spec.checks import Flaw
    from runner.spec.model import Spec, Stage


def check_sealed(spec: Spec, faulty: Mapping[int, Collection[str]]) -> Iterator[Finding]:
    """Refuse `seenAs` of a stage that is not sealed, and labels and paths in it. `faulty` as for check_commands."""
    known = {stage.name for stage in spec.stages if not stage.is_unexpanded}
    own = taken_by_runs(spec, spec.workspace)
    for stage in (stage for stage in spec.declared if stage.seen_as):
        lost = faulty.get(stage.index, ())
        if not (stage.sealed or "sealed" in lost):
            yield Finding(("stages", stage.index, "seenAs"), "the stage is not sealed", 'add "sealed": true')
        elif "inputs" not in lost and "outputs" not in lost:
            taken = dict(own)
            for label, path in stage.seen_as.items():
                flaw = _label_flaw(stage, label)
                if not flaw and stage.name in known:
                    flaw = _path_flaw(stage, label, path) or _overlap(stage, label, path, taken)
                    taken[path] = _noun(stage, label)
                if flaw:
                    yield path_finding(stage, ("seenAs", label), *flaw)


def _label_flaw(stage: Stage, label: str) -> Flaw:
    if label in stage.inputs and label in stage.outputs:
        return f'"{label}" is an input and an output', "give one of them another name"
    if label in stage.inputs or label in stage.outputs:
        return None
    return f"no input or output named {show(label)}", did_you_mean(label, [*stage.inputs, *stage.outputs])


def _path_flaw(stage: Stage, label: str, path: str) -> Flaw:
    """Return the flaw of a path that is not below root, or not of the kind of the one that it stands for."""
    if not is_below(path):
        return f'"{path}" is {"root itself" if path == "./" else "outside root"}', "write a path below root"
    declared = {pattern for _, _, pattern in stage.entries(label)} if label in stage.inputs else {stage.outputs[label]}
    if len(declared) > 1:
        return f'"{label}" is a list of {len(declared)} paths', "name an input of one file or directory"
    for other in declared:
        if other.endswith("/") != path.endswith("/"):
            kind, end = ("directory", "/") if other.endswith("/") else ("file", "")
            return f'"{other}" is a {kind}', f'write "{bare(path)}{end}"'
    return names_flaw(path)


def _overlap(stage: Stage, label: str, path: str, taken: Mapping[str, str]) -> Flaw:
    """Return the flaw of a path that is, holds or lies in a place that is `taken`, or another path of the stage."""
    places = {**taken, **{output: _noun(stage, name) for name, output in stage.outputs.items() if name != label}}
    if stage.processor is not None and not stage.processor.startswith(READY_MADE):
        places[stage.processor] = "the processor"
    places |= dict.fromkeys(stage.tools or (), "the tools")
    whole = f"{bare(path)}/"
    overlapped = []
    for name, _, pattern in stage.entries():
        if name == label:
            continue
        if not is_glob(pattern):
            places[pattern] = _noun(stage, name)
        elif may_match(pattern, path) or literal_prefix(pattern).startswith(whole):
            overlapped.append(_noun(stage, name))
    for place, noun in places.items():
        other = f"{bare(place)}/"
        if other.startswith(whole) or whole.startswith(other):
            overlapped.append(noun)
    if not overlapped:
        return None
    return f'"{path}" overlaps with {overlapped[0]}', "choose a path that is, holds and lies in no other of the stage"


def _noun(stage: Stage, label: str) -> str:
    return f'{"input" if label in stage.inputs else "output"} "{label}"'
