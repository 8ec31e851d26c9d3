"""Inputs that tests give: contents for one stage, and trees of files in place of a pipeline's own."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_offpipe.sandbox import Files, Source, copy, load
from pytest_offpipe.usage import AnyPath, require, require_known
from runner.errors import Fault, InputError, OffpipeError, UsageError
from runner.spec.globs import compile_glob, is_glob, literal_directory, normal
from runner.spec.graph import build_graph
from runner.spec.kinds import did_you_mean

if TYPE_CHECKING:
    from runner.spec.model import Spec, Stage

Content = bytes | AnyPath
"""Bytes, text (as UTF-8), or the path (a Path, never a str) of a file or directory to copy."""
Given = Content | Mapping[str, Content]
"""The value of a path: for a directory or a glob also a mapping, name below it -> content."""
AnyGiven = Given | Mapping[str, Given]
"""The value of an input: for a list of paths a mapping, path as declared -> value."""

_WILDCARD = re.compile(r"\*\*/|\*+|\?|\[(?!!)([^]/])[^]/]*\]")
_FILLINGS = {"**/": "", "?": "x"}


def lay_input(spec: Spec, stage: Stage, name: str, given: AnyGiven, scratch: Path) -> Files:
    """Return where the files of a given input belong (absolute paths, as in the source) -> where they are now.

    Bytes and text are written below `scratch`. Raises UsageError for a value that the input cannot have.
    """
    require_known([name], stage.inputs, spec.shown, f"stage {stage.name} has no input")
    where = f"{spec.shown}#/stages/{stage.index}/inputs/{name}"
    declared = stage.inputs[name]
    if given == {} and name in stage.optional:
        return {}
    if isinstance(declared, str):
        return _lay_path(spec, declared, cast("Given", given), scratch, where)
    if not isinstance(given, Mapping) or given.keys() != {*declared}:
        paths = ", ".join(f'"{path}": ...' for path in declared)
        raise UsageError(Fault(where, f"the input is a list, and takes {{{paths}}}"))
    files: Files = {}
    for number, path in enumerate(dict.fromkeys(declared)):
        files.update(_lay_path(spec, path, given[path], scratch / str(number), where))
    return files


def _lay_path(spec: Spec, declared: str, given: Given, scratch: Path, where: str) -> Files:
    if isinstance(given, Mapping) and declared.endswith("/"):
        return {spec.source_path(declared): str(lay_tree(given, scratch, where))}
    pieces = enumerate(_pieces(declared, given, where).items())
    return {spec.source_path(path): _placed(piece, scratch / str(number), where) for number, (path, piece) in pieces}


def lay_tree(given: Mapping[str, Content], directory: Path, where: str = "inputs") -> Path:
    """Put contents by their relative paths into a new directory, as for `--offpipe-inputs`."""
    directory.mkdir(parents=True)
    for path, content in given.items():
        to = directory / _relative(path, where)
        source = _placed(content, to, where)
        if source != str(to):
            copy(source, str(to))
    return directory


def _pieces(declared: str, given: Given, where: str) -> dict[str, Content]:
    """Return the paths of files, or of a directory given as a whole, each with its content."""
    expected = 'bytes, text, the Path of a file; of a glob or a directory also {"name": content}'
    require(where, given, Content | Mapping, expected)
    if is_glob(declared):
        return _matching(declared, given, where)
    if isinstance(given, Mapping):
        raise UsageError(Fault(where, f"{declared} is one file, and takes one content"))
    if (not isinstance(given, bytes | str) and os.path.isdir(given)) == declared.endswith("/"):
        return {declared: given}
    if declared.endswith("/"):
        raise UsageError(Fault(where, f"{declared} is a directory", 'give it as {"name": content}, or as its Path'))
    raise UsageError(Fault(where, f"{declared} is a file, and {str(given)!r} a directory"))


def _matching(pattern: str, given: Given, where: str) -> dict[str, Content]:
    """Return the paths that a glob will match, each with its content."""
    top, matches = literal_directory(pattern), compile_glob(pattern).match
    found: Mapping[str, Content]
    if isinstance(given, Mapping):
        found = {os.path.join(top, _relative(name, where)): content for name, content in given.items()}
    elif not isinstance(given, bytes | str) and os.path.isdir(given):
        below = {os.path.join(top, path.relative_to(given)): path for path in sorted(Path(given).rglob("*"))}
        found = {name: path for name, path in below.items() if matches(name) and path.is_file()}
    else:
        path = "" if isinstance(given, bytes | str) else os.path.join(top, os.path.basename(given))
        if not matches(path):  # then a path that does, if replacing the wildcards makes one
            path = _WILDCARD.sub(lambda match: match[1] or _FILLINGS.get(match[0], "input"), pattern)
        found = {path: given}
    for path in found:
        if not matches(path):
            hint = f'give it as {{"name": content}}, below {top or "root"}'
            raise UsageError(Fault(where, f"{path} does not match {pattern}", hint))
    if not found:
        raise UsageError(Fault(where, f"no given file matches {pattern}"))
    return found


def _placed(content: Content, scratch: Path, where: str) -> str:
    """Return the path of a content; bytes and text are written to `scratch`."""
    require(where, content, Content, "bytes, text, or the Path of a file")
    if not isinstance(content, bytes | str):
        if not os.path.exists(content):
            raise UsageError(Fault(where, f"{os.fspath(content)}: no such file"))
        return str(Path(content).absolute())
    scratch.parent.mkdir(parents=True, exist_ok=True)
    scratch.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(scratch)


def _relative(name: str, where: str) -> str:
    require(where, name, str, "the path of a file")
    plain = os.path.normpath(name)
    if os.path.isabs(plain) or plain.startswith("..") or plain == ".":
        raise UsageError(Fault(where, f'"{name}" is not a path below it'))
    return plain


def taken_from(spec: Spec, tree: str) -> set[str]:
    """Return the absolute paths in a tree that a spec uses: of files, and of directories that are whole inputs."""
    source, top = Source(spec, tree), os.path.normpath(tree)  # the paths in it have no `..`
    places: set[str] = set()
    for stage in spec.stages:
        for name in stage.inputs:
            with contextlib.suppress(InputError):  # the file is missing, which a run will report
                places.update(place for _, place in source.input_files(stage, name))
    places.update(filter(os.path.isfile, spec.expanded_from))  # tables
    return {place for place in places if f"{place}/".startswith(f"{top}/")}


def is_taken_by_any(tree: str, specs: Iterable[str]) -> bool:
    """Whether one of `specs` (paths) uses a file of a tree. An invalid spec might; its error is reported elsewhere."""
    try:
        return any(taken_from(load(path, tree), tree) for path in specs)
    except OffpipeError:
        return True


def require_some(spec: Spec, tree: str, where: str) -> None:
    """Raise UsageError if a spec takes no file from a tree, which was given as `where`."""
    if not taken_from(spec, tree):
        paths = [path for _, path in _declared(spec)]
        hint = f"lay it out as below the spec's root: {', '.join(paths[:3])}" if paths else ""
        raise UsageError(Fault(where, f"{tree}: it holds no input of {spec.shown}", hint))


def require_each(spec: Spec, names: Iterable[str], tree: str) -> None:
    """Raise UsageError for each of the paths `names` in a tree that is part of no input."""
    taken = taken_from(spec, tree)
    places = {name: f"{os.path.normpath(os.path.join(tree, name))}/" for name in names}
    unused = [name for name, place in places.items() if not any(place.startswith(f"{path}/") for path in taken)]
    if unused:
        what = f"no input of {spec.shown} is taken from"
        raise UsageError(*(Fault("inputs", f'{what} "{name}"', _hint(spec, name)) for name in unused))


def _hint(spec: Spec, name: str) -> str:
    declared = dict(_declared(spec))
    if name in declared:
        return f'name inputs of a pipeline by their paths: "{declared[name]}"'
    if made := build_graph(spec).outputs.matches(normal(name)):
        return f"stage {made[0][0]} makes it; to give it, run the stage that reads it alone (offpipe.stage)"
    return did_you_mean(name, list(declared.values()))


def _declared(spec: Spec) -> list[tuple[str, str]]:
    """Return name and path of each input that no stage makes."""
    outputs = build_graph(spec).outputs
    return [(name, path) for stage in spec.stages for name, _, path in stage.entries() if not outputs.matches(path)]
