"""Orphans: outputs that this pipeline made, that are still as it made them, and that no stage declares any more.

The markers in the state directory know them: those of stages that are gone, and the former outputs of the others. No
glob matches an orphan, so no result contains data of a source that was removed. `clean` removes it, unless something in
the spec names it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault
from runner.paths import is_relative, partial_path, upward
from runner.plan.digests import DigestCache, present_digest
from runner.results import listed
from runner.spec.globs import compile_glob, is_glob, parents
from runner.spec.values import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from runner.record.markers import Marker, OutputIdentity
    from runner.spec.model import Spec

PATHS_SHOWN = 3  # in a warning
_MOST_ABSENT = 100  # former outputs that a marker keeps although they are absent
REMOVABLE, ADOPTED, COPY, CHANGED = "an orphan", "adopted", "a copy", "changed"  # the states of a former output
_WORDS = {  # by state: what one is, what several are, and a hint
    REMOVABLE: ("is an orphan", "are orphans", "no glob matches {it}; `offpipe clean --orphans` removes {it}"),
    ADOPTED: (
        "is an orphan that the spec names, so it is used",
        "are orphans that the spec names, so they are used",
        "no glob matches {it}, and `clean` keeps {it}",
    ),
    COPY: (
        "is an orphan that was made again or copied",
        "are orphans that were made again or copied",
        "no glob matches {it}, and `clean` keeps {it}; remove {it} if no other pipeline made {it}",
    ),
    CHANGED: (
        "was changed, so it is your own file",
        "were changed, so they are your own files",
        "globs match {it}, and `clean` keeps {it}",
    ),
}


class FormerOutput(NamedTuple):
    """A former output that is still there: its path as it was declared, who made it, and its state."""

    path: str
    stage: str
    run: str
    state: str

    @property
    def is_orphan(self) -> bool:
        """Whether it is unchanged."""
        return self.state != CHANGED

    def remark(self) -> str:
        """Return what this file is, as text that follows its path."""
        what = f'stage "{self.stage}" made it in run {self.run}, and no stage declares it any more'
        return f"{_WORDS[self.state][0]}: {what}"


class Orphans:
    """All former outputs of a pipeline: `former` are those on disk, in order.

    `absent` are the others: absolute path -> path as it was declared. Absolute paths have no final `/`.
    """

    def __init__(self, found: Mapping[str, FormerOutput], absent: Mapping[str, str]) -> None:
        """`found`: by absolute path."""
        self.former = tuple(found.values())
        self.absent = absent
        self._found = {path: former for path, former in found.items() if former.is_orphan}

    def warnings(self, where: str, states: Collection[str] = _WORDS.keys()) -> Iterator[Fault]:
        """Yield a warning for each of these states in which there are former outputs."""
        for state, (_, are, hint) in _WORDS.items():
            former = [each for each in self.former if each.state == state and state in states]
            if len(former) == 1:
                yield Fault(where, f'"{former[0].path}" {former[0].remark()}', hint.format(it="it"))
            elif former:
                shown = listed([each.path for each in former], PATHS_SHOWN)
                what = f"{len(former):,} outputs that no stage declares any more {are}: {shown}"
                yield Fault(where, what, hint.format(it="them"))

    def removable(self) -> list[str]:
        """Return the absolute paths of the orphans that `clean` may remove."""
        return [path for path, former in self._found.items() if former.state == REMOVABLE]

    def holds(self, path: str) -> bool:
        """Whether an absolute path is an orphan, or in one."""
        return bool(self._found) and any(place in self._found for place in upward(os.path.normpath(path), "/"))

    def below(self, directory: str) -> FormerOutput | None:
        """Return an orphan in a directory, or None."""
        top = f"{directory.rstrip('/')}/"
        return next((former for path, former in self._found.items() if path.startswith(top)), None)

    def former_of(self, marker: Marker) -> tuple[OutputIdentity, ...]:
        """Return the former outputs that this marker knows, for the marker that will replace it, the newest first.

        Absent ones may come back, from a backup for example. The newest of them are kept.
        """
        there, absent = {former.path for former in self.former}, {*self.absent.values()}
        outputs = [*marker.all_outputs()]
        gone = [output for output in outputs if output.path in absent][:_MOST_ABSENT]
        return (*(output for output in outputs if output.path in there), *gone)


NO_ORPHANS = Orphans({}, {})


class Places:
    """Outputs, with all paths in and above them. An output may have become a file in it, or a directory above it.

    A `*` stands for a value of an open template that is not known.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = {path.rstrip("/") for path in paths}
        self._patterns = [compile_glob(path) for path in self._paths if UNKNOWN in path]
        directories = {path.rpartition("/")[0] for path in self._paths}  # many outputs share one
        self._around = {parent for directory in directories for parent in parents(f"{directory}/.")}

    def __contains__(self, path: str) -> bool:
        bare = path.rstrip("/")
        inside = (bare, *parents(bare))
        is_known = bare in self._around or not self._paths.isdisjoint(inside)
        return is_known or any(pattern.match(place) for pattern in self._patterns for place in inside)


def find_orphans(spec: Spec, markers: Iterable[Marker], cache: DigestCache) -> Orphans:
    """Return the former outputs that `markers` know."""
    declared = Places(path for stage in spec.stages for path in stage.outputs.values())
    unknown = unknown_templates(spec)
    claims = [
        (marker, output)
        for marker in markers
        if marker.stage.partition("@")[0] not in unknown
        for output in marker.all_outputs()
        if is_relative(output.path) and output.path not in declared  # an edited marker may have any path
    ]
    made: dict[str, list[tuple[Marker, OutputIdentity]]] = {}
    for marker, output in sorted(claims, key=lambda claim: claim[1].mtime_ns, reverse=True):  # the newest first
        made.setdefault(spec.output_path(output.path), []).append((marker, output))
    absent = {place: claims[0][1].path for place, claims in made.items() if not os.path.lexists(place)}
    there = sorted(made.keys() - absent.keys())
    named = frozenset(_named(spec)) if there else frozenset()
    found: dict[str, FormerOutput] = {}
    for place in there:
        is_ours = not any(map(os.path.islink, upward(os.path.dirname(place), spec.workspace)[:-1]))
        unchanged = (
            (marker, output)
            for marker, output in made[place]
            if is_ours and present_digest(place, output, cache, former=True) == (output.content or output.sha256)
        )
        claim = next(unchanged, None)
        marker, output = claim or made[place][0]
        of_orphan = ADOPTED if place in named else REMOVABLE if output.is_itself(place) else COPY
        state = of_orphan if claim else CHANGED
        found[place] = FormerOutput(output.path, marker.stage, output.run, state)
    for place, [(marker, output), *_] in made.items():
        if output.path.endswith("/") and os.path.lexists(aside := aside_of(place)):  # `clean` was killed
            found[aside] = FormerOutput(output.path, marker.stage, output.run, REMOVABLE)
    return Orphans(found, absent)


def unknown_templates(spec: Spec) -> set[str]:
    """Return the templates whose instances are not known: those of earlier runs are not gone for good."""
    return {stage.template for stage in spec.stages if stage.is_unexpanded}


def aside_of(directory: str) -> str:
    """Return the path to which `clean` moves a directory before it removes it."""
    return partial_path(directory, "000000")  # no stage writes to its path any more


def _named(spec: Spec) -> Iterator[str]:
    """Yield the absolute paths that the spec names without a wildcard, and the directories above them."""
    yield spec.path
    for stage in spec.stages:
        for _, _, path in stage.entries():
            yield spec.source_path(path)
            if not is_glob(path):
                yield from upward(spec.source_path(path), spec.root)
        program = spec.processor_path(stage) or spec.source_path((stage.command or ("",))[0])
        yield from upward(program, spec.root)
