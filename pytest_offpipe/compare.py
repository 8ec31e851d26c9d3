"""The difference between two outputs, and the changes in a directory while a stage ran."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from runner.paths import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    OfFiles = Callable[[str, list[str], "Sides"], str | None]

LARGEST_TEXT = 4 << 20  # bytes of a file that is compared, or damaged, as text
BYTECODE = "__pycache__"  # Python writes it beside any module that a stage imports
_SHOWN = 120  # bytes of a line
_BEFORE = 40  # bytes of a long line that are shown before the first that differs
_BLOCK = 1 << 20

Sides = tuple[str, str]
"""The names of the two sides."""


def difference(
    name: str,
    one: str,
    other: str,
    sides: Sides,
    of_files: OfFiles | None = None,
    modes: int = 0o7777,
) -> str | None:
    """Return as text how the files or directories at two paths differ; None if they are the same.

    `of_files` compares two files. Only these bits of the `modes` of files count. If there are none, directories without
    files do not count either, as in git.
    """
    for relative in sorted({os.path.relpath(entry, top) for top in (one, other) for entry in entries_of(top)}):
        shown, *paths = (os.path.normpath(os.path.join(top, relative)) for top in (name, one, other))
        if not modes and all(os.path.isdir(path) or not os.path.lexists(path) for path in paths):
            continue
        if text := _of_entry(shown, paths, sides, of_files or of_bytes, modes):
            return text
    return None


def entries_of(path: str, leave_out: Collection[str] = ()) -> Iterator[str]:
    """Yield a path and all paths below it, except the paths and names in `leave_out` and everything below these."""
    yield path
    if os.path.isdir(path) and not os.path.islink(path):
        with contextlib.suppress(PermissionError):  # then its mode has changed
            for name in os.listdir(path):
                entry = f"{path}/{name}"
                if entry not in leave_out and name not in leave_out:
                    yield from entries_of(entry, leave_out)


def files_below(path: str) -> list[str]:
    """Return the files below a directory, without links to directories; for a file, return its own path."""
    return [entry for entry in entries_of(path) if not os.path.isdir(entry)]


def bytes_below(path: str) -> int:
    """Return how many bytes these files hold; a link counts with the length of its text."""
    return sum(os.lstat(file).st_size for file in files_below(path))


def _of_entry(name: str, paths: list[str], sides: Sides, of_files: OfFiles, modes: int) -> str | None:
    """Compare kinds, then the text of links, or the bytes and modes of files."""
    kinds = [kind_of(os.lstat(path).st_mode) if os.path.lexists(path) else "missing" for path in paths]
    if kinds[0] == kinds[1] == "a file":
        if text := of_files(name, paths, sides):
            return text
        name, kinds = f"the mode of {name}", [f"{os.lstat(path).st_mode & modes:04o}" for path in paths]
    elif kinds[0] == kinds[1] == "a symbolic link":
        kinds = [os.readlink(path) for path in paths]
    return None if kinds[0] == kinds[1] else f"{name} is {kinds[0]} {sides[0]}, and {kinds[1]} {sides[1]}"


def first_difference(paths: list[str]) -> tuple[int, int, int] | None:
    """Return the offset of the first byte that differs in two files, the number of its line, and where that begins.

    None if they are the same. Compares block by block, since outputs may be larger than memory. Of a line that begins
    in an earlier block, only the part in this one counts.
    """
    with open(paths[0], "rb") as first, open(paths[1], "rb") as second:
        start, line = 0, 1
        while (blocks := (first.read(_BLOCK), second.read(_BLOCK)))[0] == blocks[1]:
            if not blocks[0]:
                return None
            start, line = start + len(blocks[0]), line + blocks[0].count(b"\n")
    at = len(os.path.commonprefix(blocks))  # noqa: RUF071 - of bytes, not of paths
    begin = blocks[0].rfind(b"\n", 0, at) + 1
    return start + at, line + blocks[0].count(b"\n", 0, at), start + begin


def of_bytes(name: str, paths: list[str], sides: Sides) -> str | None:
    """Show the first line that differs in two files; None if they are the same."""
    if (found := first_difference(paths)) is None:
        return None
    at, line, begin = found
    shown = max(begin, at - _BEFORE) if at - begin >= _SHOWN // 2 else begin
    with open(paths[0], "rb") as first, open(paths[1], "rb") as second:
        texts = [_line_at(file, shown, is_cut=shown > begin) for file in (first, second)]
        sizes = [os.fstat(file.fileno()).st_size for file in (first, second)]
    width = max(map(len, sides)) + 1
    rows = [f"{f'{side}:':<{width}} {text}" for side, text in zip(sides, texts, strict=True)]
    return "\n".join([f"{name} differs at line {line:,} ({sizes[0]:,} and {sizes[1]:,} bytes)", *rows])


def _line_at(file: BinaryIO, begin: int, *, is_cut: bool) -> str:
    """Return the rest of a line from `begin` on; `is_cut`: the line begins before that."""
    file.seek(begin)
    text = file.readline(_SHOWN + 1)
    if not text:
        return "(the end)"
    return ("..." if is_cut else "") + repr(text[:_SHOWN])[1:] + ("..." if len(text) > _SHOWN else "")


def text_of(path: str) -> str | None:
    """Return the text of a file; None if it is binary, not UTF-8, or larger than LARGEST_TEXT."""
    if os.path.getsize(path) > LARGEST_TEXT:
        return None
    try:
        text = Path(path).read_bytes().decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


class Signature(NamedTuple):
    """What tells versions of a path apart: mode, inode, size in bytes, times in nanoseconds, and the bytes of a file.

    A directory has only a mode here, because its times change too often. `touched` (ctime) changes with every write,
    but also with a hard link to the file, so a file with a new ctime is read.
    """

    mode: int
    inode: int = 0
    size: int = 0
    written: int = 0
    touched: int = 0
    sha256: str = ""


Snapshot = dict[str, Signature]
_NONE: Snapshot = {}


def signature(path: str, known: Signature | None = None) -> Signature:
    """Return the signature of a path. A file is read, unless it is as in the `known` signature."""
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode):
        return Signature(status.st_mode)
    made = Signature(status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if known and made == known._replace(sha256=""):
        return known
    if stat.S_ISREG(status.st_mode):
        with contextlib.suppress(PermissionError), open(path, "rb") as file:
            return made._replace(sha256=hashlib.file_digest(file, "sha256").hexdigest())
    return made


def snapshot(top: str, leave_out: Collection[str] = (), known: Snapshot = _NONE) -> Snapshot:
    """Return the signature of `top` and of every path below it, except those in `leave_out`, and bytecode.

    `known` is an earlier snapshot.
    """
    return {path: signature(path, known.get(path)) for path in entries_of(top, {*leave_out, BYTECODE})}


def changes(before: Snapshot, after: Snapshot, declared: Collection[str] = ()) -> list[tuple[str, str]]:
    """Return how each path changed, sorted by path, without the `declared` outputs and the directories made for them.

    "Re-moded" is a file or a directory whose mode alone has changed.
    """
    found = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        is_new_directory = old is None and new is not None and stat.S_ISDIR(new.mode)
        is_declared = any(
            f"{path}/".startswith(f"{output}/") or (is_new_directory and output.startswith(f"{path}/"))
            for output in declared
        )
        if old == new or is_declared:
            continue
        what = "written" if old is None else "removed" if new is None else "changed"
        if old and new:
            if new == old._replace(touched=new.touched):
                continue
            if new[1:4] == old[1:4] and new.mode != old.mode:
                what = f"re-moded from {stat.S_IMODE(old.mode):04o} to {stat.S_IMODE(new.mode):04o}"
        found.append((what, path))
    return found
