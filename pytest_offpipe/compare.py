"""What differs between two outputs, and what changed in a directory while a stage ran."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_SHOWN = 120  # bytes of a line
_BEFORE = 40  # of these before the first that differs, in a line that is long
_BLOCK = 1 << 20


class Sides(NamedTuple):
    """What the two sides are called."""

    one: str
    other: str


def difference(name: str, one: str, other: str, sides: Sides) -> str | None:
    """Return how the files or directories at two paths differ, or None when they hold the same."""
    for relative in sorted({*_tree(one), *_tree(other)}):
        first, second = os.path.join(one, relative), os.path.join(other, relative)
        shown = f"{name}/{relative}" if relative else name
        found = _of_entry(shown, first.rstrip("/"), second.rstrip("/"), sides)
        if found:
            return found
    return None


def _tree(path: str) -> Iterator[str]:
    """Yield "" for the entry itself, and the relative path of all that lies below it."""
    yield ""
    if os.path.isdir(path) and not os.path.islink(path):
        for directory, directories, files in os.walk(path):
            for entry in (*directories, *files):
                yield os.path.relpath(os.path.join(directory, entry), path)


def _of_entry(name: str, one: str, other: str, sides: Sides) -> str | None:
    kinds = [_kind(path) for path in (one, other)]
    if kinds[0] != kinds[1]:
        return f"{name} is {kinds[0]} {sides.one}, and {kinds[1]} {sides.other}"
    if kinds[0] == "a link":
        return _of_texts(name, os.readlink(one), os.readlink(other), sides)
    if kinds[0] == "a file":
        modes = [stat.S_IMODE(os.lstat(path).st_mode) for path in (one, other)]
        return _of_bytes(name, one, other, sides) or _of_texts(
            f"the mode of {name}", f"{modes[0]:04o}", f"{modes[1]:04o}", sides
        )
    return None


def _kind(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "missing"
    if stat.S_ISLNK(mode):
        return "a link"
    return "a directory" if stat.S_ISDIR(mode) else "a file" if stat.S_ISREG(mode) else "something else"


def _of_texts(name: str, one: str, other: str, sides: Sides) -> str | None:
    return None if one == other else f"{name} is {one} {sides.one}, and {other} {sides.other}"


def _of_bytes(name: str, one: str, other: str, sides: Sides) -> str | None:
    """Compare block by block: outputs may be larger than memory."""
    with open(one, "rb") as first, open(other, "rb") as second:
        start, line = 0, 1
        while True:
            blocks = first.read(_BLOCK), second.read(_BLOCK)
            if blocks[0] != blocks[1]:
                break
            if not blocks[0]:
                return None
            start, line = start + len(blocks[0]), line + blocks[0].count(b"\n")
        shorter = min(map(len, blocks))
        at = next((i for i in range(shorter) if blocks[0][i] != blocks[1][i]), shorter)
        line += blocks[0].count(b"\n", 0, at)
        begin = start + blocks[0].rfind(b"\n", 0, at) + 1
        shown = max(begin, start + at - _BEFORE) if start + at - begin >= _SHOWN // 2 else begin
        texts = [_line_at(file, shown, is_cut=shown > begin) for file in (first, second)]
        sizes = [os.fstat(file.fileno()).st_size for file in (first, second)]
    width = max(map(len, sides))
    told = "\n".join(f"{side + ':':<{width + 1}} {text}" for side, text in zip(sides, texts, strict=True))
    return f"{name} differs at line {line:,} ({sizes[0]:,} and {sizes[1]:,} bytes)\n{told}"


def _line_at(file: object, begin: int, *, is_cut: bool) -> str:
    """Return what of a line stands from `begin` on; `is_cut`: that is not its own beginning."""
    file.seek(begin)  # type: ignore[attr-defined] # a file
    text: bytes = file.readline(_SHOWN + 1)  # type: ignore[attr-defined] # a file
    if not text:
        return "(the end)"
    return ("..." if is_cut else "") + repr(text[:_SHOWN])[1:] + ("..." if len(text) > _SHOWN else "")


BYTECODE = "__pycache__"  # nobody's output


class Entry(NamedTuple):
    """What tells an entry from a changed one. Of a directory only its mode: its times change with every new file."""

    mode: int
    size: int = 0
    modified: int = 0
    changed: int = 0
    inode: int = 0


Snapshot = dict[str, Entry]


def snapshot(tops: Collection[str], leave_out: Collection[str]) -> Snapshot:
    """Return `tops` and every entry below by its path, but for the directories `leave_out` and all below them."""
    found: Snapshot = {}
    for top in tops:
        found[top] = Entry(os.lstat(top).st_mode)
        for path, status in _walk(top, leave_out):
            if stat.S_ISDIR(status.st_mode):
                found[path] = Entry(status.st_mode)
            else:
                found[path] = Entry(
                    status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
                )
    return found


def _walk(top: str, leave_out: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    pending = [top]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.path in leave_out or entry.name == BYTECODE:
                        continue
                    yield entry.path, entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:
            continue  # not to be listed, by which it was changed already


def changes(before: Snapshot, after: Snapshot, declared: Collection[str]) -> list[tuple[str, str]]:
    """Return what became of which path, in the paths' order, but of `declared` outputs and their new directories."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new or _is_declared(path, declared, is_new_directory=old is None and _is_directory(new)):
            continue
        if old is None or new is None:
            found.append(("written" if old is None else "removed", path))
        elif old._replace(mode=0, changed=0) == new._replace(mode=0, changed=0) and old.mode != new.mode:
            found.append((f"re-moded from {stat.S_IMODE(old.mode):04o} to {stat.S_IMODE(new.mode):04o}", path))
        else:
            found.append(("changed", path))
    return found


def _is_directory(entry: Entry | None) -> bool:
    return entry is not None and stat.S_ISDIR(entry.mode)


def _is_declared(path: str, declared: Collection[str], *, is_new_directory: bool) -> bool:
    return any(
        path == one or path.startswith(f"{one}/") or (is_new_directory and one.startswith(f"{path}/"))
        for one in declared
    )
