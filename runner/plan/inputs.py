"""Finds the files that the declared inputs of a stage stand for.

What a stage of the pipeline produces is looked for below the workspace, everything else below root.
"""

from __future__ import annotations

import os
import re
import stat
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, InputError, raise_if_system_error
from runner.paths import kind_of
from runner.spec.globs import compile_glob, is_glob, literal_directory, parents

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self._entries = cache(self._listed)
        self.paths: set[str] = set()  # all that were searched, present or absent, but not the files that were found
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
                hint = f'make it, or declare the stage whose output is "{pattern}"'
                raise InputError(Fault(where, f'"{pattern}": no such file', hint)) from error
            self.paths.add(plain)
        except OSError as error:
            raise_if_system_error(error, plain)
            raise InputError(Fault(where, f'"{pattern}": {error.strerror}')) from error
        try:
            found = {found.path: found for found in self._matches(pattern, where)}
        except OSError as error:
            raise_if_system_error(error, error.filename)
            raise InputError(Fault(where, f'"{error.filename}": {error.strerror}')) from error
        if not found:
            raise InputError(Fault(where, f'no file matches "{pattern}"', self._unmatched_hint(pattern)))
        if name == stage.stdin and len(found) > 1:
            where = f"{self._spec.shown}#/stages/{stage.index}/stdin"
            what = f'input "{name}" is {len(found)} files, and standard input can be only one'
            raise InputError(Fault(where, what, "join them in a stage before this one"))
        return [found[path] for path in sorted(found)]

    def _unmatched_hint(self, pattern: str) -> str:
        directory = literal_directory(pattern)
        if any(os.path.isdir(os.path.join(base, directory)) for base in (self._spec.root, self._spec.workspace)):
            return "hidden files are never matched"
        return f'there is no directory "{directory}"'

    def _matches(self, pattern: str, where: str) -> Iterator[InputFile]:
        bases = {self._spec.root: False, self._spec.workspace: True}  # and whether stages produce what counts there
        for base, is_workspace in bases.items():
            for path in self._glob(base, pattern):
                if len(bases) == 1 or self._is_produced(path) == is_workspace:
                    full = f"{base}/{path}"
                    yield _checked(path, full, _status(path, full, where), where)

    def _is_produced(self, path: str) -> bool:
        producers = self._graph.producers
        return path in producers or any(f"{parent}/" in producers for parent in parents(path))

    def _glob(self, base: str, pattern: str) -> Iterator[str]:
        """Yield what matches, relative to `base`; a directory's path ends in `/`."""
        *directories, last = pattern.split("/")  # the last is "" for directories
        if last == "**":
            directories, last = [*directories, last], "*"
        prefixes = [""]
        for segment in directories:
            prefixes = [below for prefix in prefixes for below in self._below(base, prefix, segment)]
        for prefix in prefixes:
            if is_glob(last):
                entries = self._visible(base, prefix, last)
                yield from (f"{prefix}{entry.name}" for entry in entries if not entry.is_dir())
            elif last or not is_glob(directories[-1]):
                path = f"{base}/{prefix}{last}".removesuffix("/")
                self.paths.add(path)
                if os.path.isfile(path) if last else os.path.isdir(path):
                    yield f"{prefix}{last}"
            elif prefix:
                yield prefix

    def _below(self, base: str, prefix: str, segment: str) -> Iterator[str]:
        """Yield the directories that a segment of a pattern leads to.

        `**` goes into no hidden ones, and no links, which may lead in a circle.
        """
        if segment == "**":
            pending = [prefix]
            while pending:
                outer = pending.pop()
                yield outer
                inner = (entry for entry in self._visible(base, outer, "*") if entry.is_dir(follow_symlinks=False))
                pending += [f"{outer}{entry.name}/" for entry in inner]
        elif is_glob(segment):
            yield from (f"{prefix}{entry.name}/" for entry in self._visible(base, prefix, segment) if entry.is_dir())
        else:
            yield f"{prefix}{segment}/"

    def _visible(self, base: str, prefix: str, segment: str) -> Iterator[os.DirEntry[str]]:
        """Yield the entries of a directory that a segment with wildcards matches, none of which is hidden."""
        matches = compile_glob(segment).match
        return (entry for entry in self._entries(f"{base}/{prefix}") if matches(entry.name))

    def _listed(self, directory: str) -> list[os.DirEntry[str]]:
        self.paths.add(directory)
        try:
            with os.scandir(directory) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise_if_system_error(error, directory)
            raise InputError(Fault(directory, f"cannot list it: {error.strerror}")) from error
        listed = [entry for entry in found if directory + entry.name not in self._ours]
        # A directory does not change when what its links lead to does.
        self.paths.update(entry.path for entry in listed if entry.is_symlink())
        return listed


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
        raise_if_system_error(error, absolute)
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
