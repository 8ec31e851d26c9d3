"""Inputs as tests give them: bytes, text, files, directories, and names with contents for globs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_offpipe.asked import refuse, require_text
from pytest_offpipe.copying import copy
from runner.errors import Fault, UsageError
from runner.spec.globs import compile_glob, is_glob, literal_directory
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from runner.spec.model import Spec, Stage

Content = bytes | str | os.PathLike[str]
"""Bytes, text (as UTF-8), or a path (a Path, never a str) of what is to be copied."""
Inputs = Mapping[str, Content | Mapping[str, Content]]
"""Input -> content. Of a directory or a glob a mapping too: name below it -> content."""

_WILDCARDS = (("**/", ""), ("**", "input"), ("*", "input"), ("?", "x"))
_CHOICE = re.compile(r"\[(?!!)([^]/])[^]/]*\]")


def lay_inputs(spec: Spec, stage: Stage, given: Inputs, scratch: Path) -> dict[str, str]:
    """Return where the given inputs belong (absolute paths, as in the source) -> where they are now.

    What is no file yet is written below `scratch`. Raises UsageError for what no input of the stage can take.
    """
    found: dict[str, str] = {}
    for name, content in given.items():
        if name not in stage.inputs:
            what = f'stage {stage.name} has no input "{name}"'
            raise UsageError(Fault(spec.shown, what, did_you_mean(str(name), stage.inputs)))
        where = f"{spec.shown}#/stages/{stage.index}/inputs/{name}"
        declared = stage.inputs[name]
        if isinstance(content, Mapping) and declared.endswith("/"):
            found[spec.source_path(declared)] = str(lay_tree(content, scratch / name, where))
            continue
        pieces = _pieces(declared, content, where)
        for number, (path, piece) in enumerate(pieces.items()):
            found[spec.source_path(path)] = _placed(piece, scratch / f"{name}.{number}", where)
    return found


def lay_tree(given: Mapping[str, Content], directory: Path, where: str = "inputs") -> Path:
    """Put contents by their relative paths into a new directory, as for `--offpipe-inputs`."""
    directory.mkdir(parents=True)
    for path, content in given.items():
        to = directory / _relative(path, where)
        source = _placed(content, to, where)
        if source != str(to):
            copy(source, str(to))
    return directory


def _pieces(declared: str, given: Content | Mapping[str, Content], where: str) -> dict[str, Content]:
    """Return the declared paths of files (or of a directory that is given whole), and what each is to hold."""
    if not isinstance(given, bytes | str | os.PathLike | Mapping):
        refuse(where, given, 'bytes, text, the Path of a file; of a glob or a directory also {"name": content}')
    if is_glob(declared):
        return _matching(declared, given, where)
    if isinstance(given, Mapping):
        raise _refused(where, f"{declared} is one file, and takes one content")
    is_directory = not isinstance(given, bytes | str) and os.path.isdir(given)
    if declared.endswith("/") and not is_directory:
        raise _refused(where, f"{declared} is a directory", 'give it as {"name": content}, or as the Path of one')
    if is_directory and not declared.endswith("/"):
        raise _refused(where, f"{declared} is a file, and {os.fspath(given)!r} a directory")
    return {declared: given}


def _matching(pattern: str, given: Content | Mapping[str, Content], where: str) -> dict[str, Content]:
    """Return what a glob is to match."""
    top = literal_directory(pattern)
    if isinstance(given, Mapping):
        named = {_relative(name, where): content for name, content in given.items()}
    elif not isinstance(given, bytes | str) and os.path.isdir(given):
        files = (path for path in sorted(Path(given).rglob("*")) if path.is_file())
        named = {str(path.relative_to(given)): path for path in files}
        named = {name: path for name, path in named.items() if compile_glob(pattern).match(os.path.join(top, name))}
    else:
        own = "" if isinstance(given, bytes | str) else os.path.basename(given)
        fits = own and compile_glob(pattern).match(os.path.join(top, own))
        named = {own if fits else os.path.relpath(_filled(pattern), top or "."): given}
    found = {os.path.join(top, name): content for name, content in named.items()}
    odd = next((path for path in found if not compile_glob(pattern).match(path)), None)
    if odd is not None:
        raise _refused(
            where, f"{odd} does not match {pattern}", f'give it as {{"name": content}}, below {top or "root"}'
        )
    if not found:
        raise _refused(where, f"nothing that is given matches {pattern}")
    return found


def _filled(pattern: str) -> str:
    """Return a path that a glob matches, if one is to be had so simply."""
    for wildcard, filling in _WILDCARDS:
        pattern = pattern.replace(wildcard, filling)
    return _CHOICE.sub(r"\1", pattern)


def _placed(content: Content, scratch: Path, where: str) -> str:
    """Return where a content is: in a file of its own, if it was in none."""
    if not isinstance(content, bytes | str | os.PathLike):
        refuse(where, content, "bytes, text, or the Path of a file")
    if not isinstance(content, bytes | str):
        if not os.path.exists(content):
            raise _refused(where, f"{os.fspath(content)}: no such file")
        return os.path.abspath(content)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    scratch.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(scratch)


def _relative(name: str, where: str) -> str:
    require_text(where, name, "the path of a file")
    plain = os.path.normpath(name)
    if os.path.isabs(plain) or plain.startswith("..") or plain == ".":
        raise _refused(where, f'"{name}" is no path below it')
    return plain


def _refused(where: str, what: str, hint: str = "") -> UsageError:
    return UsageError(Fault(where, what, hint))
