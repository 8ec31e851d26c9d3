"""Which outputs are refused, as far as the spec alone tells: outside, doubled, nested, or where something else lives.

Pure: what only the disk knows is asked in `runner.spec.disk`.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

from runner.paths import OWN_DIRECTORY, is_partial
from runner.spec.index import OutputIndex, parents, starting_with
from runner.spec.kinds import Finding
from runner.spec.locations import bare, is_below
from runner.spec.references import step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.spec.model import Spec, Stage

    Json = Mapping[str, object]

LONGEST_NAME = 255  # NAME_MAX of every file system in use
LONGEST_OUTPUT_NAME = 235  # so that `.partial-<6 hex>.NAME` fits as well, with room for a temporary's own mark


def check_outputs(spec: Spec, given: Sequence[Json]) -> Iterator[Finding]:
    """Check all outputs of all stages; `given` are the stages as written, for pointers into lists."""
    taken = _Taken(spec)
    first: dict[str, Stage] = {}  # bare path -> the stage that declares it first
    for stage in spec.stages:
        for path in stage.outputs.values():
            first.setdefault(bare(path), stage)
    seen: set[str] = set()
    for stage in spec.stages:
        for name, path in stage.outputs.items():
            plain = bare(path)
            if found := _fault_of(path, plain) or taken.fault_of(path, plain) or _meeting(path, stage, first, seen):
                at = ("stages", stage.index, "outputs", step(given[stage.index], "outputs", stage.outputs, name))
                yield Finding(at, *found)
            seen.add(plain)


def check_own_inputs(stages: Sequence[Stage], given: Sequence[Json]) -> Iterator[Finding]:
    """Refuse outputs that the same stage also reads, and inputs that mean an output but say so with a wrong `/`."""
    index = OutputIndex(stages)
    producers = index.producers
    for stage in stages:
        for name, pattern in stage.inputs.items():
            for path in index.matches(pattern):
                if path in stage.outputs.values():
                    own = next(output for output, other in stage.outputs.items() if other == path)
                    at = ("stages", stage.index, "outputs", step(given[stage.index], "outputs", stage.outputs, own))
                    yield Finding(at, f'"{path}" is also read by this stage, as input "{name}"', "write elsewhere")
            other = bare(pattern) if pattern.endswith("/") else f"{pattern}/"
            if other in producers and pattern not in producers:
                at = ("stages", stage.index, "inputs", step(given[stage.index], "inputs", stage.inputs, name))
                kind = "directory" if other.endswith("/") else "file"
                what = f'"{pattern}" is a {kind} that stage "{producers[other][0]}" writes'
                yield Finding(at, what, f'write "{other}"')


def _fault_of(path: str, plain: str) -> tuple[str, str] | None:
    """Return what is wrong with an output's path in itself, and a hint."""
    if not is_below(path):
        what = "is the workspace itself" if path == "./" else "is outside the workspace"
        return f'"{path}" {what}', "outputs are paths below root, or below --workspace DIR"
    if len(path) > LONGEST_OUTPUT_NAME // 4:  # a character takes at most 4 bytes
        names = plain.split("/")
        if (size := len(names[-1].encode())) > LONGEST_OUTPUT_NAME:
            return f"a file name of {size} bytes", f"at most {LONGEST_OUTPUT_NAME}, so that its partial has a name too"
        if any(len(name.encode()) > LONGEST_NAME for name in names):
            return "a directory name that is too long", f"at most {LONGEST_NAME} bytes"
    if is_partial(plain.rpartition("/")[2]):
        return f'"{path}" is named like the partial of an output', "choose another name"
    return None


def _meeting(path: str, stage: Stage, first: Mapping[str, Stage], seen: set[str]) -> tuple[str, str] | None:
    """Return the fault of an output that an earlier one equals, or that lies inside any other."""
    plain = bare(path)
    if plain in seen:
        owner = first[plain]
        whose = "this stage" if owner is stage else f'stage "{owner.name}"'
        return f'"{path}" is already an output of {whose}', "every output has one stage that writes it"
    for parent in parents(path):
        if parent in first:
            owner = first[parent]
            whose = "this stage" if owner is stage else f'stage "{owner.name}"'
            return f'"{path}" is inside "{parent}", an output of {whose}', "outputs do not contain each other"
    return None


class _Taken:
    """The places that are taken: state, locks, the spec, processors; all relative to the workspace."""

    def __init__(self, spec: Spec) -> None:
        beside = os.path.join(os.path.dirname(spec.path), OWN_DIRECTORY)
        self._directories = {
            os.path.relpath(spec.paths.state_dir, spec.workspace): "the state directory",
            os.path.relpath(spec.paths.locks_dir, spec.workspace): "the locks directory",
            **dict.fromkeys((OWN_DIRECTORY, os.path.relpath(beside, spec.workspace)), "offpipe's own directory"),
        }
        self._starts = tuple(self._directories)
        files = {spec.path: "the spec"}
        for stage in spec.stages:
            if (path := spec.processor_path(stage)) is not None:
                files.setdefault(path, f'the processor of stage "{stage.name}"')
        self._files: dict[str, str] = {}
        for base in {spec.root, spec.workspace}:
            start = base.rstrip("/") + "/"
            for path, what in files.items():
                if path.startswith(start):
                    self._files.setdefault(path[len(start) :], what)
        self._ordered = sorted([*self._files, *self._directories])

    def fault_of(self, path: str, plain: str) -> tuple[str, str] | None:
        hint = "write elsewhere"
        if plain in self._files:
            return f'"{path}" is {self._files[plain]}', hint
        if plain.startswith(self._starts):
            for directory, what in self._directories.items():
                if f"{plain}/".startswith(f"{directory}/"):
                    return f'"{path}" is in {what}', hint
        if path.endswith("/"):
            for inner in starting_with(self._ordered, path):
                return f'"{path}" contains {self._files.get(inner) or self._directories[inner]}', hint
        return None
