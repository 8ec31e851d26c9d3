"""Finds the files of the declared inputs of a stage.

Outputs of stages are below the workspace, everything else is below root.
"""

from __future__ import annotations

import os
import stat
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, InputError, raise_if_system_error
from runner.paths import kind_of
from runner.plan.orphans import NO_ORPHANS, Orphans, Places
from runner.spec.globs import compile_glob, is_glob, literal_directory, may_meet, name_flaw
from runner.spec.kinds import pointer, show
from runner.spec.labels import NEVER_EMPTY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from runner.plan.temporary import Temporary
    from runner.record.markers import OutputIdentity
    from runner.spec.graph import Graph
    from runner.spec.kinds import Place
    from runner.spec.model import Empty, Join, Spec, Stage


class InputFile(NamedTuple):
    """One file or directory of an input: its path as declared (a directory's ends in `/`) and its absolute path.

    `absent`: the temporary output that it is, if it is absent. Then it has no status.
    """

    path: str
    absolute: str
    status: os.stat_result | None
    absent: OutputIdentity | None = None


class AbsentError(InputError):
    """No file has the path of an input, or matches it."""


class InputResolver:
    """Finds the files of inputs. It keeps listings, so that stages which share a directory read it once."""

    def __init__(self, graph: Graph, orphans: Orphans = NO_ORPHANS, temporary: Temporary | None = None) -> None:
        self._graph = graph
        self._orphans = orphans
        self._temporary = temporary
        self._spec = graph.spec
        self.bases = tuple(dict.fromkeys((self._spec.root, self._spec.workspace)))
        self._entries = cache(self._listed)
        self.paths: set[str] = set()  # all that were searched, present or absent, without the files of inputs
        self._ours = _written_by_runs(self._spec)

    def resolve(self, stage: Stage, name: str, unmade: Collection[str] = ()) -> list[InputFile]:
        """Return the files of one input, each once, in the order of the spec and of their paths.

        Leaves out what is `unmade`: outputs of stages that have yet to run, whatever is in their places now. A glob
        may have no file yet if such an output may match it, or contain a match.

        Raises InputError (exit 5) for a path without a file, for a file that no stage could read, for a directory that
        contains an orphan, and for several files where only one can be.
        """
        files: dict[str, InputFile] = {}
        faults: list[Fault] = []
        absent: list[Fault] = []
        is_filled = name in stage.optional
        for _, at, pattern in stage.entries(name):
            try:
                files.update((file.path, file) for file in self.find(stage, at, pattern, unmade))
                is_filled = True
            except AbsentError as error:
                (absent if self.may_be_absent(stage, name, pattern) else faults).extend(error.faults)
            except InputError as error:
                faults.extend(error.faults)
        if name not in stage.optional:
            for join in stage.joins:
                if join.label == name and not join.found:
                    (faults if join.total else absent).append(self._fault_of_join(stage, join))
        if not (is_filled or faults):
            where = pointer(self._spec.shown, ("stages", stage.index, "inputs", name))
            faults = absent or [Fault(where, "names no file", NEVER_EMPTY)]
        if len(files) > 1 and (fault := self._fault_of_several(stage, name, len(files))):
            faults.append(fault)
        if faults:
            raise InputError(*faults)
        return [*files.values()]

    def _fault_of_join(self, stage: Stage, join: Join) -> Fault:
        """Return the fault of a reference to a template of which no instance agrees with the stage."""
        values = [f"{name} {show(stage.values[name])}" for name in join.by]
        what = (
            f'no instance of "{join.template}" has {" and ".join(values)}'
            if values
            else f'"{join.template}" has no instance'
        )
        return Fault(pointer(self._spec.shown, ("stages", stage.index, "inputs", *join.at)), what, NEVER_EMPTY)

    def may_be_absent(self, stage: Stage, name: str, pattern: str) -> bool:
        """Whether one path of an input may be without a file, if the input is optional or another path has one."""
        return (name in stage.optional and is_glob(pattern)) or self._made_by_none(pattern) is not None

    def find(self, stage: Stage, at: Place, pattern: str, unmade: Collection[str] = ()) -> list[InputFile]:
        """Return the files of one path of an input, `at` this place below `inputs`. The rest is as for `resolve`."""
        where = pointer(self._spec.shown, ("stages", stage.index, "inputs", *at))
        files = self.files_of(pattern, where, unmade)
        for file in files:
            if file.path.endswith("/") and (orphan := self._orphans.below(file.absolute)):
                what = f'"{file.path}" contains "{orphan.path}", which {orphan.remark()}'
                raise InputError(Fault(where, what, "`offpipe clean --orphans` removes it; or move it away"))
        return files

    def plain(self, pattern: str) -> str:
        """Return the absolute path of a path of an input, also of a glob, which may be the name of a file."""
        produced = bool(self._graph.outputs.matches(pattern))
        return self._spec.output_path(pattern) if produced else self._spec.source_path(pattern)

    def files_of(self, pattern: str, where: str, unmade: Collection[str] = ()) -> list[InputFile]:
        """Return the files of one path of an input, also a directory that contains an orphan. Errors name `where`."""
        outputs = self._graph.outputs.matches(pattern)
        awaited = [path for _, path in outputs if path in unmade]
        if awaited and (not is_glob(pattern) or pattern in Places(awaited)):
            return []
        absent = {
            path: InputFile(path, self._spec.output_path(path), None, output)
            for _, path in outputs
            if self._temporary and path not in unmade and (output := self._temporary.absent(path))
        }
        if pattern in absent:
            return [absent[pattern]]
        plain = self.plain(pattern)
        try:
            return [_checked(pattern, plain, os.stat(plain), where)]
        except FileNotFoundError as error:
            self.paths.add(plain)
            if not is_glob(pattern):
                hint = f'make it, or declare the stage whose output is "{pattern}"'
                hint = self._hint_of_none(pattern) or hint
                raise AbsentError(Fault(where, f'"{pattern}": no such file', hint)) from error
        except OSError as error:
            raise read_fault(where, pattern, error, plain) from error
        try:
            files = {file.path: file for file in self._matches(pattern, where, Places(awaited))}
        except OSError as error:
            raise read_fault(where, error.filename or pattern, error, error.filename) from error
        files |= absent
        if not (files or awaited):
            directory = literal_directory(pattern)
            is_there = any(os.path.isdir(os.path.join(base, directory)) for base in self.bases)
            hint = "hidden files and orphans are never matched" if is_there else f'there is no directory "{directory}"'
            hint = self._hint_of_none(pattern) or hint
            raise AbsentError(Fault(where, f'no file matches "{pattern}"', hint))
        return [files[path] for path in sorted(files)]

    def _made_by_none(self, pattern: str) -> Empty | None:
        """Return a stage without instances that would make what an input means, if no stage with instances does."""
        for empty in self._spec.empty:
            if any(may_meet(pattern, path) for path in empty.stage.outputs.values()):
                return None if self._graph.outputs.matches(pattern) else empty
        return None

    def _hint_of_none(self, pattern: str) -> str:
        empty = self._made_by_none(pattern)
        return f'stage "{empty.stage.name}" makes it, and is {empty.text}' if empty else ""

    def _fault_of_several(self, stage: Stage, name: str, count: int) -> Fault | None:
        """Return the fault of an input of several files that is used where only one can be."""
        at = f"{self._spec.shown}#/stages/{stage.index}"
        if name == stage.stdin:
            what = f'input "{name}" is {count} files, and standard input can be only one'
            return Fault(f"{at}/stdin", what, "join them in a stage before this one")
        if name in stage.seen_as:
            what = f'input "{name}" is {count} files, and "{stage.seen_as[name]}" can be only one'
            return Fault(f"{at}/seenAs/{name}", what, "read their directory as a whole, or take it out of seenAs")
        placeholder = f"{{inputs.{name}}}"
        for field, words in (("command", stage.command or ()), ("args", stage.args)):
            for position, word in enumerate(words):
                if placeholder in word and word != placeholder:
                    what = f'"{word}" needs one file, but {placeholder} is {count} files'
                    hint = f"make {placeholder} a word of its own, or use {{list.{name}}}, a file that lists them"
                    return Fault(pointer(self._spec.shown, stage.place(field, position)), what, hint)
        return None

    def _matches(self, pattern: str, where: str, awaited: Places) -> Iterator[InputFile]:
        for base in self.bases:
            for path in self._glob(base, pattern):
                if path not in awaited and self.counts(base, path):
                    full = f"{base}/{path}"
                    yield _checked(path, full, _status(path, full, where), where)

    def counts(self, base: str, path: str) -> bool:
        """Whether what a glob matches counts: in the workspace outputs, below root all else, and never an orphan."""
        is_here = len(self.bases) == 1 or self._graph.outputs.holds(path) == (base == self._spec.workspace)
        return is_here and not self._orphans.holds(f"{base}/{path}")

    def _glob(self, base: str, pattern: str) -> Iterator[str]:
        """Yield the matching paths, relative to `base`; a directory's path ends in `/`."""
        *directories, last = pattern.split("/")  # `last` is "" in a pattern for directories
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
        """Yield the directories that match one segment of a pattern.

        `**` does not enter hidden directories, or links, which may lead in a circle.
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
        elif f"{base}/{prefix}{segment}" not in self._ours:
            yield f"{prefix}{segment}/"

    def _visible(self, base: str, prefix: str, segment: str) -> Iterator[os.DirEntry[str]]:
        """Yield the entries of a directory that match a segment with wildcards. Hidden ones never match."""
        matches = compile_glob(segment).match
        return (entry for entry in self._entries(f"{base}/{prefix}") if matches(entry.name))

    def _listed(self, directory: str) -> list[os.DirEntry[str]]:
        self.paths.add(directory)
        try:
            with os.scandir(directory) as entries:
                listed = [entry for entry in entries if directory + entry.name not in self._ours]
        except (FileNotFoundError, NotADirectoryError):
            return []
        # The directory itself does not change when the target of a link in it does.
        self.paths.update(entry.path for entry in listed if entry.is_symlink())
        return sorted(listed, key=lambda entry: entry.name)


def read_fault(where: str, shown: str, error: OSError, path: str) -> InputError:
    """Return the fault of an input at `path` that cannot be read. StateError for an error of the disk or the system."""
    raise_if_system_error(error, path)
    hint = "make it readable for the user who runs the pipeline" if isinstance(error, PermissionError) else ""
    return InputError(Fault(where, f'"{shown}": {error.strerror}', hint))


def _written_by_runs(spec: Spec) -> set[str]:
    """Return the directories that globs never enter, since every run changes them."""
    ours = {spec.paths.state_dir, spec.paths.locks_dir}
    if spec.workspace != spec.root:  # below root: the same directories of runs without --workspace, and the workspace
        ours.update([os.path.join(spec.root, os.path.relpath(path, spec.workspace)) for path in ours])
        ours.add(spec.workspace)
    return ours


def _status(path: str, absolute: str, where: str) -> os.stat_result:
    try:
        return os.stat(absolute)
    except OSError as error:  # most often a dangling link
        raise_if_system_error(error, absolute)
        shown = ascii(path)[1:-1]
        raise InputError(Fault(where, f'"{shown}" matches, but: {error.strerror}', "remove or repair it")) from error


def _checked(path: str, absolute: str, status: os.stat_result, where: str) -> InputFile:
    if flaw := name_flaw(path):
        raise InputError(Fault(where, *flaw))
    is_directory, mode = stat.S_ISDIR(status.st_mode), status.st_mode
    if is_directory and not path.endswith("/"):
        raise InputError(Fault(where, f'"{path}" is a directory', f'write it as "{path}/"'))
    if path.endswith("/") and not is_directory:
        raise InputError(Fault(where, f'"{path}" is not a directory', f'write it as "{path.rstrip("/")}"'))
    if not (is_directory or stat.S_ISREG(mode)):
        raise InputError(Fault(where, f'"{path}" is {kind_of(mode)}', "an input is a regular file or a directory"))
    return InputFile(path, absolute, status)
