"""Finds the files that the declared inputs of a stage stand for.

What a stage of the pipeline produces is looked for below the workspace, everything else below root.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, InputError, raise_refusal
from runner.paths import kind_of
from runner.spec.globs import compile_glob, is_glob

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.plan.dependencies import Dependencies
    from runner.spec.graph import Graph
    from runner.spec.model import Spec, Stage

_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class InputFile(NamedTuple):
    """One file (or directory, its path then ends in `/`) of an input: as declared, and where it is."""

    path: str
    absolute: str
    status: os.stat_result


class InputResolver:
    """Finds the files of inputs; listings are kept, so that stages which share a directory read it once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._spec = graph.spec
        self._listings: dict[str, list[os.DirEntry[str]]] = {}
        self._probed: set[str] = set()  # paths that were tried by name: a glob taken literally, or its last segment
        self._ours = _written_by_runs(self._spec)

    def resolve(self, stage: Stage, name: str) -> list[InputFile]:
        """Return the files of one input in order of their paths.

        Raises InputError (exit 5) for one that is missing, empty, or nothing that a stage could read, and for several
        files that are to be standard input.
        """
        pattern = stage.inputs[name]
        produced = bool(self._graph.feeds.get(stage.name, {}).get(name))
        where = f"{self._spec.shown}#/stages/{stage.index}/inputs/{name}"
        plain = self._spec.output_path(pattern) if produced else self._spec.source_path(pattern)
        try:
            return [_checked(pattern, plain, os.stat(plain), where)]
        except FileNotFoundError as error:
            if not is_glob(pattern):
                raise InputError(Fault(where, f'"{pattern}": no such file', _made_by_hint(pattern))) from error
            self._probed.add(plain)
        except OSError as error:
            raise_refusal(error, plain)
            raise InputError(Fault(where, f'"{pattern}": {error.strerror}')) from error
        try:
            found = {found.path: found for found in self._matches(pattern, where)}
        except OSError as error:
            raise_refusal(error, error.filename)
            raise InputError(Fault(where, f'"{error.filename}": {error.strerror}')) from error
        if not found:
            raise InputError(Fault(where, f'no file matches "{pattern}"', self._unmatched_hint(pattern)))
        if name == stage.stdin and len(found) > 1:
            where = f"{self._spec.shown}#/stages/{stage.index}/stdin"
            what = f'input "{name}" is {len(found)} files, and standard input can be only one'
            raise InputError(Fault(where, what, "join them in a stage before this one"))
        return [found[path] for path in sorted(found)]

    def _unmatched_hint(self, pattern: str) -> str:
        segments = pattern.split("/")
        directory = "/".join(segments[: next(at for at, segment in enumerate(segments) if is_glob(segment))])
        if any(os.path.isdir(os.path.join(base, directory)) for base in (self._spec.root, self._spec.workspace)):
            return "hidden files are never matched"
        return f'there is no directory "{directory}"'

    def look_back(self, dependencies: Dependencies) -> None:
        """Add every path that was searched to `dependencies`, without the files that were found."""
        for directory, entries in self._listings.items():
            dependencies.listed(directory)
            for entry in entries:
                if entry.is_symlink():  # a directory does not change when what its links lead to does
                    dependencies.add(entry.path)
        for path in self._probed:
            dependencies.add(path)

    def _matches(self, pattern: str, where: str) -> Iterator[InputFile]:
        roots = {self._spec.root: False, self._spec.workspace: True}
        if self._spec.root == self._spec.workspace:
            for path, full in self._glob(self._spec.root, pattern):
                yield _checked(path, full, _status(path, full, where), where)
            return
        for base, in_workspace in roots.items():
            for path, full in self._glob(base, pattern):
                if self._is_produced(path) == in_workspace:
                    yield _checked(path, full, _status(path, full, where), where)

    def _is_produced(self, path: str) -> bool:
        producers = self._graph.producers
        return path in producers or any(path[: at + 1] in producers for at, char in enumerate(path) if char == "/")

    def _glob(self, base: str, pattern: str) -> Iterator[tuple[str, str]]:
        """Yield (relative path, absolute path) of what matches; a directory's path ends in `/`."""
        wants_directory = pattern.endswith("/")
        segments = pattern.rstrip("/").split("/")
        compiled = [compile_glob(segment) if is_glob(segment) and segment != "**" else None for segment in segments]
        pending = [("", 0)]
        while pending:
            prefix, index = pending.pop()
            last = index == len(segments) - 1
            segment, regex = segments[index], compiled[index]
            if segment == "**":
                if not last:
                    pending.append((prefix, index + 1))
                pending.extend((f"{prefix}{entry.name}/", index) for entry in self._directories(base, prefix))
                if last and wants_directory and prefix:
                    yield prefix, f"{base}/{prefix}"
                elif last and not wants_directory:
                    yield from self._last(base, prefix, segment, None, wants_directory)
            elif regex is None and not last:
                pending.append((f"{prefix}{segment}/", index + 1))
            elif not last:
                pending.extend(
                    (f"{prefix}{entry.name}/", index + 1)
                    for entry in self._visible(base, prefix, regex)
                    if entry.is_dir()
                )
            else:
                yield from self._last(base, prefix, segment, regex, wants_directory)

    def _last(
        self, base: str, prefix: str, segment: str, regex: re.Pattern[str] | None, wants_directory: bool
    ) -> Iterator[tuple[str, str]]:
        """Yield what the last segment of a pattern matches: directories or anything else."""
        if regex is not None or segment == "**":
            names = [entry.name for entry in self._visible(base, prefix, regex) if entry.is_dir() == wants_directory]
        else:
            path = f"{base}/{prefix}{segment}"
            self._probed.add(path)
            names = [segment] if (os.path.isdir(path) if wants_directory else os.path.isfile(path)) else []
        slash = "/" if wants_directory else ""
        yield from ((f"{prefix}{name}{slash}", f"{base}/{prefix}{name}{slash}") for name in names)

    def _directories(self, base: str, prefix: str) -> Iterator[os.DirEntry[str]]:
        """Yield the directories that `**` goes down into: no hidden ones, and no links, which may lead in a circle."""
        return (entry for entry in self._visible(base, prefix, None) if entry.is_dir(follow_symlinks=False))

    def _visible(self, base: str, prefix: str, regex: re.Pattern[str] | None) -> Iterator[os.DirEntry[str]]:
        directory = f"{base}/{prefix}"
        if directory not in self._listings:
            try:
                with os.scandir(directory) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
                self._listings[directory] = [entry for entry in found if directory + entry.name not in self._ours]
            except (FileNotFoundError, NotADirectoryError):
                self._listings[directory] = []
            except OSError as error:
                raise_refusal(error, directory)
                raise InputError(Fault(directory, f"cannot list it: {error.strerror}")) from error
        for entry in self._listings[directory]:
            if not entry.name.startswith(".") and (regex is None or regex.fullmatch(entry.name)):
                yield entry


def _written_by_runs(spec: Spec) -> set[str]:
    """Return the directories that globs never go down into, since every run changes them."""
    ours = {spec.paths.state_dir, spec.paths.locks_dir}
    if spec.workspace != spec.root:  # what runs without --workspace wrote below root, and a workspace in there
        ours.update([os.path.join(spec.root, os.path.relpath(path, spec.workspace)) for path in ours])
        ours.add(spec.workspace)
    return ours


def _status(path: str, absolute: str, where: str) -> os.stat_result:
    try:
        return os.stat(absolute)
    except OSError as error:  # most often a link that leads nowhere
        raise_refusal(error, absolute)
        shown = ascii(path)[1:-1]
        raise InputError(Fault(where, f'"{shown}" matches, but: {error.strerror}', "remove or repair it")) from error


def _checked(path: str, absolute: str, status: os.stat_result, where: str) -> InputFile:
    if _UNSPEAKABLE.search(path):
        shown = ascii(path)[1:-1]
        hint = "rename it: names go to stages one a line, in UTF-8"
        raise InputError(Fault(where, f'"{shown}": the name is not UTF-8 or holds a control character', hint))
    if stat.S_ISDIR(status.st_mode):
        if not path.endswith("/"):
            raise InputError(Fault(where, f'"{path}" is a directory', f'write it as "{path}/"'))
        return InputFile(path, absolute, status)
    if path.endswith("/"):
        raise InputError(Fault(where, f'"{path}" is not a directory', f'write it as "{path.rstrip("/")}"'))
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            Fault(where, f'"{path}" is {kind_of(status.st_mode)}', "an input is a regular file or a directory")
        )
    return InputFile(path, absolute, status)


def _made_by_hint(pattern: str) -> str:
    return f'make it, or declare the stage whose output is "{pattern}"'
