"""What a path is to the pipeline: an output, an input, code, or a file of offpipe itself.

A file may have several names, through symbolic and hard links. So paths, and the directories above them, are compared
by device and inode; names count only where no file is yet.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, InputError, OfflineError, UsageError
from runner.paths import is_partial, is_view, output_of, upward
from runner.plan.code.component import CodeReader, declared_paths
from runner.plan.digests import DigestCache
from runner.plan.inputs import InputResolver
from runner.spec.checks import own_directories
from runner.spec.globs import is_glob, literal_directory, matches
from runner.spec.graph import Graph, build_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.spec.kinds import Place
    from runner.spec.model import Spec, Stage

    Identity = tuple[int, int]  # device and inode

OUTPUT, PARTIAL, INPUT, CODE, EACH, SPEC = "output", "partial", "input", "code", "each", "spec"


class Role(NamedTuple):
    """What a path is to the pipeline: one of the words above, or the kind of one of offpipe's `own_directories`.

    `stage` makes or reads it; for EACH, it is the template. `path` is the output, input or source of an `each` as it
    was declared. `run` made a former output.
    """

    kind: str
    stage: str = ""
    path: str = ""
    run: str = ""

    @property
    def template(self) -> str:
        """The template of which the stage is an instance; "" for other stages."""
        return self.stage.partition("@")[0] if "@" in self.stage else ""


class Location:
    """A path that may lead to a file, and all places that it is, or is in.

    With `contents`, a path that is not a file also stands for everything in it.
    """

    def __init__(self, path: str, *, contents: bool = False) -> None:
        parent, name = os.path.split(path.rstrip("/"))
        real = os.path.realpath(path)
        self._names = {real, real if name in ("", ".", "..") else os.path.join(os.path.realpath(parent), name)}
        self._rests: dict[Identity | None, set[str]] = {_identity(path): {"."}}  # by place: the path relative to it
        for name in self._names:
            for place in upward(name, "/"):
                self._rests.setdefault(_identity(place), set()).add(os.path.relpath(name, place))
        self._is_linked = os.path.isfile(path) and os.stat(path).st_nlink > 1  # the file has several names
        self._contents = contents and not os.path.isfile(path)
        self.touches = cache(self._touches)
        partials = (place for place in upward(real, "/") if is_partial(os.path.basename(place)))
        self.partial_of = next((_output_of(place, real) for place in partials), None)

    def below(self, place: str) -> set[str]:
        """Return its paths relative to a file or directory that it is, or is in: `.` for the place itself."""
        if identity := _identity(place):
            return self._rests.get(identity, set())
        tops = (place, os.path.realpath(place))
        return {os.path.relpath(name, top) for name in self._names for top in tops if f"{name}/".startswith(f"{top}/")}

    def is_in(self, place: str) -> bool:
        """Whether it is the file or directory `place`, or is in it, also through a hard link."""
        if self.below(place) or not self._is_linked:
            return bool(self.below(place))
        files = (os.path.join(top, name) for top, _, names in os.walk(place) for name in names)
        return any("." in self.below(file) for file in files if not os.path.islink(file))

    def _touches(self, place: str) -> bool:
        tops = tuple(f"{name.rstrip('/')}/" for name in self._names) if self._contents else ()
        return self.is_in(place) or (bool(tops) and os.path.realpath(place).startswith(tops))


def _identity(path: str) -> Identity | None:
    """Return the device and inode of the file or directory at a path; None if nothing is there."""
    with suppress(OSError):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    return None


def find_roles(graph: Graph, location: Location, resolver: InputResolver, code: CodeReader | None = None) -> list[Role]:
    """Return all that a path is to the pipeline. Files of offpipe itself, and partials, have no other role.

    Without `code`, only processors are known as code.
    """
    spec = graph.spec
    if location.partial_of:
        output = Location(location.partial_of)
        declared = ((stage.name, path) for stage in spec.stages for path in stage.outputs.values())
        if made := [each for each in declared if "." in output.below(spec.output_path(each[1]))]:
            return [Role(PARTIAL, *each) for each in made]
    if location.is_in(spec.path):
        return [Role(SPEC)]
    if own := [kind for kind, directory in own_directories(spec) if location.is_in(directory)]:
        return [Role(own[-1])]  # locks may be in the state directory
    roles = [
        Role(OUTPUT, stage.name, path)
        for stage in spec.stages
        for path in stage.outputs.values()
        if location.touches(spec.output_path(path))
        or (stage.is_unexpanded and _matched(location, path, spec.workspace))  # its instances are unknown
    ]
    for stage in spec.stages:
        roles += [
            Role(INPUT, stage.name, path)
            for _, at, path in stage.entries()
            if _is_read(location, stage, at, path, resolver)
        ]
        roles += [Role(CODE, stage.name) for path in _code_of(graph, stage, code) if location.touches(path)][:1]
    roles += [
        Role(EACH, template, path)
        for template, path in spec.each_globs
        if location.touches(spec.source_path(path)) or _matched(location, path, spec.root)
    ]
    return roles


def _matched(location: Location, pattern: str, base: str) -> list[str]:
    """Return the paths of a location, relative to `base`, that a glob matches, or would match if a file were there."""
    directory = literal_directory(pattern)
    paths = (os.path.normpath(os.path.join(directory, rest)) for rest in location.below(os.path.join(base, directory)))
    return [path for path in paths if matches(pattern, path)]


def _is_read(location: Location, stage: Stage, at: Place, pattern: str, resolver: InputResolver) -> bool:
    """Whether a path of an input means the location, or a directory above it."""
    if location.touches(resolver.plain(pattern)):
        return True
    if not is_glob(pattern):
        return False
    for base in resolver.bases:
        if any(resolver.counts(base, path) for path in _matched(location, pattern, base)):
            return True
    with suppress(InputError):  # no file matches yet
        return any(location.touches(file.absolute.rstrip("/")) for file in resolver.find(stage, at, pattern))
    return False


def _code_of(graph: Graph, stage: Stage, code: CodeReader | None) -> Iterator[str]:
    if (processor := graph.spec.processor_path(stage)) is not None:
        yield processor
    if code and not stage.missing:
        with suppress(InputError, OfflineError):  # which a run reports
            yield from code.read(stage).watched


def refuse_own_events(path: str, spec: Spec, others: Iterable[str]) -> None:
    """Raise UsageError if `--events` names a file of the pipeline, or one of `others`: records are appended to it."""
    location = Location(path)
    if any(map(location.is_in, others)):
        raise UsageError(Fault(f"--events {path}", "is a file that this run reads", "name a file of its own"))
    code = CodeReader(spec, DigestCache(None), declared_paths(spec))
    refuse_own_file("--events", path, spec.paths.state_dir, build_graph(spec), code)


def refuse_own_file(
    option: str, path: str, state_dir: str, graph: Graph | None, code: CodeReader | None = None
) -> None:
    """Raise UsageError if an option names a file of the pipeline, which must not be written over."""
    location = Location(path)
    if location.is_in(state_dir) or (graph and find_roles(graph, location, InputResolver(graph), code)):
        raise UsageError(Fault(f"{option} {path}", "belongs to the pipeline", "name a file of its own"))


def _output_of(partial: str, path: str) -> str:
    """Return the output to which a path in a partial belongs, or the path that it has in a view."""
    is_in_view = is_view(os.path.basename(partial))
    return os.path.join(os.path.dirname(partial), os.path.relpath(path, partial)) if is_in_view else output_of(partial)
