"""What a path is to the pipeline: an output, an input, code, or a file of offpipe itself.

A file may have several names, by links of both kinds. So paths are compared by device and inode, also those of the
directories above them, and by name only where nothing is yet.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, InputError, OfflineError, UsageError
from runner.paths import upward
from runner.plan.inputs import InputResolver
from runner.spec.checks import own_directories
from runner.spec.globs import is_glob, literal_directory, matches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.plan.code.component import CodeReader
    from runner.spec.graph import Graph
    from runner.spec.kinds import Place
    from runner.spec.model import Stage

OUTPUT, INPUT, CODE, EACH, SPEC = "output", "input", "code", "each", "spec"


class Role(NamedTuple):
    """What a path is to the pipeline: one of the words above, or the kind of one of offpipe's `own_directories`.

    `stage` is the stage that makes or reads it, or the template; `path` is the output or input as it was declared.
    """

    kind: str
    stage: str = ""
    path: str = ""


class Location:
    """A path that may lead to a file, and all places that it is, or is in."""

    def __init__(self, path: str) -> None:
        parent, name = os.path.split(path.rstrip("/"))
        real = os.path.realpath(path)
        self._names = {real, real if name in ("", ".", "..") else os.path.join(os.path.realpath(parent), name)}
        self._rests: dict[tuple[int, int], set[str]] = {}  # device and inode -> the path relative to it
        self._file = None  # the status of a file with several names
        for name in self._names:
            for place in upward(name, "/"):
                with suppress(OSError):
                    self._rests.setdefault(_identity(os.stat(place)), set()).add(os.path.relpath(name, place))
        with suppress(OSError):
            status = os.stat(path)
            self._rests.setdefault(_identity(status), {"."})
            self._file = _identity(status) if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode) else None
        self.is_in = cache(self._is_in)

    def below(self, place: str) -> set[str]:
        """Return its paths relative to a file or directory that it is, or is in: `.` for the place itself."""
        try:
            return self._rests.get(_identity(os.stat(place)), set())
        except OSError:  # nothing is there yet
            tops = (place, os.path.realpath(place))
            return {
                os.path.relpath(name, top) for name in self._names for top in tops if f"{name}/".startswith(f"{top}/")
            }

    def _is_in(self, place: str) -> bool:
        """Whether it is a file or directory, or in it; also by a hard link."""
        below = (os.path.join(top, name) for top, _, names in os.walk(place) for name in names) if self._file else ()
        return bool(self.below(place)) or any(_identity(os.lstat(path)) == self._file for path in below)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def find_roles(graph: Graph, location: Location, resolver: InputResolver, code: CodeReader | None = None) -> list[Role]:
    """Return all that a path is to the pipeline. Files of offpipe itself have no other role.

    Without `code`, only processors are known as code.
    """
    spec = graph.spec
    if location.is_in(spec.path):
        return [Role(SPEC)]
    if own := [kind for kind, directory in own_directories(spec) if location.is_in(directory)]:
        return [Role(own[-1])]  # locks may be in the state directory
    found = [
        Role(OUTPUT, stage.name, path)
        for stage in spec.stages
        for path in stage.outputs.values()
        if location.is_in(spec.output_path(path))
        or (stage.missing and _matched(location, path, spec.workspace))  # the instances are not known
    ]
    for stage in spec.stages:
        found += [
            Role(INPUT, stage.name, path)
            for _, at, path in stage.entries()
            if _is_read(location, stage, at, path, resolver)
        ]
        found += [Role(CODE, stage.name) for path in _code_of(graph, stage, code) if location.is_in(path)][:1]
    found += [
        Role(EACH, template, path)
        for template, path in spec.each_globs
        if location.is_in(spec.source_path(path)) or _matched(location, path, spec.root)
    ]
    return found


def _matched(location: Location, pattern: str, base: str) -> list[str]:
    """Return the paths of a location, relative to `base`, that a glob matches, or would match if a file were there."""
    directory = literal_directory(pattern)
    paths = (os.path.normpath(os.path.join(directory, rest)) for rest in location.below(os.path.join(base, directory)))
    return [path for path in paths if matches(pattern, path)]


def _is_read(location: Location, stage: Stage, at: Place, pattern: str, resolver: InputResolver) -> bool:
    """Whether a path of an input means the location, or a directory above it."""
    if location.is_in(resolver.plain(pattern)):
        return True
    if not is_glob(pattern):
        return False
    for base in resolver.bases:
        if any(resolver.counts(base, path) for path in _matched(location, pattern, base)):
            return True
    with suppress(InputError):  # no file matches yet
        return any(location.is_in(file.absolute.rstrip("/")) for file in resolver.find(stage, at, pattern))
    return False


def _code_of(graph: Graph, stage: Stage, code: CodeReader | None) -> Iterator[str]:
    if (processor := graph.spec.processor_path(stage)) is not None:
        yield processor
    if code and not stage.missing:
        with suppress(InputError, OfflineError):  # which a run reports
            yield from code.read(stage).watched


def refuse_own_file(
    option: str, path: str, state_dir: str, graph: Graph | None, code: CodeReader | None = None
) -> None:
    """Raise UsageError if an option names a file of the pipeline, which must not be written over."""
    location = Location(path)
    if location.is_in(state_dir) or (graph and find_roles(graph, location, InputResolver(graph), code)):
        raise UsageError(Fault(f"{option} {path}", "belongs to the pipeline", "name a file of its own"))
