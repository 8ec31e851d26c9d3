"""Temporary outputs in a spec: which outputs may be temporary, and those that no stage reads."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.spec.globs import compile_glob, may_meet
from runner.spec.graph import OutputIndex
from runner.spec.kinds import Finding, Place, did_you_mean, show

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from runner.spec.model import Spec, Stage


def check_temporary(spec: Spec, outputs: OutputIndex, faulty: Mapping[int, Collection[str]]) -> Iterator[Finding]:
    """Refuse unknown labels, and temporary outputs that something needs in its place for good.

    That is an `each`, a directory that is read as a whole, and an input inside a temporary directory: its marker knows
    only the digest of the whole. `faulty` as for check_names.
    """
    places: dict[str, Place] = {}  # by path
    for stage in spec.declared:
        for number, label in enumerate(stage.temporary):
            at: Place = ("stages", stage.index, "temporary", number)
            if label in stage.outputs:
                places[stage.outputs[label]] = at
            elif "outputs" not in faulty.get(stage.index, ()):
                yield Finding(at, f"no output named {show(label)}", did_you_mean(label, stage.outputs))
    for template, glob in spec.each_globs if places else ():
        for _, path in outputs.matches(glob):
            if path in places:
                what = f'"{path}" gives values to stage "{template}"'
                yield Finding(places[path], what, "what an each reads must stay: take it out of temporary")
    for stage in (stage for stage in spec.stages if places and not stage.missing):
        for _, at, pattern in stage.entries():
            flawed = (path for _, path in outputs.matches(pattern) if path in places and not _means(pattern, path))
            for path in islice(flawed, 1):
                yield Finding(("stages", stage.index, "inputs", *at), *_overlap(pattern, path))


def _means(pattern: str, path: str) -> bool:
    """Whether an input means the output itself, and not something in it or around it."""
    is_same_kind = pattern.endswith("/") == path.endswith("/")
    return path == pattern or (is_same_kind and compile_glob(pattern).match(path) is not None)


def _overlap(pattern: str, path: str) -> tuple[str, str]:
    """Return the flaw of an input that holds a temporary output, or lies in one."""
    if pattern.endswith("/"):
        return f'"{pattern}" holds "{path}", which is temporary', "write that output elsewhere"
    return f'"{pattern}" lies in "{path}", which is temporary', f'read the whole directory: "{path}"'


def unread(spec: Spec, stages: Iterable[Stage]) -> Iterator[Fault]:
    """Yield a warning for each temporary output of `stages` that no stage reads; instances of a template share one."""
    if not any(stage.temporary for stage in spec.stages):
        return
    outputs = OutputIndex(spec.stages)
    read = {path for stage in spec.stages for name in stage.inputs for _, path in outputs.feeding(stage, name)}
    paths: dict[tuple[int, int], list[str]] = {}  # by the place of a label as written
    for stage in stages:
        for number, label in enumerate(stage.temporary):
            paths.setdefault((stage.index, number), []).append(stage.outputs[label])
    unknown = (*(stage for stage in spec.stages if stage.missing), *(empty.stage for empty in spec.empty))
    may_read = [path for stage in unknown for _, _, path in stage.entries()]
    for (index, number), made in paths.items():
        if read.isdisjoint(made) and not any(may_meet(path, made[0]) for path in may_read):
            what = f'no stage reads "{made[0]}", so it is removed as soon as it is made'
            hint = "name it in the inputs of a stage, or take it out of temporary"
            yield Fault(f"{spec.shown}#/stages/{index}/temporary/{number}", what, hint)
