"""What differs between two outputs, and what changed in a directory while a stage ran."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import BinaryIO

BYTECODE = "__pycache__"  # nobody's output
_SHOWN = 120  # bytes of a line
_BEFORE = 40  # of these before the first that differs, in a line that is long
_BLOCK = 1 << 20


class Sides(NamedTuple):
    """What the two sides are called."""

    one: str
    other: str


def difference(name: str, one: str, other: str, sides: Sides) -> str | None:
    """Return how the files or directories at two paths differ, as a person reads it; None when they hold the same."""
    for relative in sorted({*_tree(one), *_tree(other)}):
        paths = [os.path.join(top, relative).rstrip("/") for top in (one, other)]
        if text := _of_entry(f"{name}/{relative}" if relative else name, paths, sides):
            return text
    return None


def _tree(path: str) -> Iterator[str]:
    """Yield "" for the entry itself, and the relative path of all that lies below it."""
    yield ""
    if os.path.isdir(path) and not os.path.islink(path):
        for directory, directories, files in os.walk(path):
            for entry in (*directories, *files):
                yield os.path.relpath(os.path.join(directory, entry), path)


def _of_entry(name: str, paths: list[str], sides: Sides) -> str | None:
    """Compare kinds, then what a link says, or the bytes and modes of files."""
    kinds = [_kind(path) for path in paths]
    if kinds[0] == kinds[1] == "a file":
        if text := _of_bytes(name, paths, sides):
            return text
        name, kinds = f"the mode of {name}", [f"{stat.S_IMODE(os.lstat(path).st_mode):04o}" for path in paths]
    elif kinds[0] == kinds[1] == "a link":
        kinds = [os.readlink(path) for path in paths]
    one, other = kinds
    return None if one == other else f"{name} is {one} {sides.one}, and {other} {sides.other}"


def _kind(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "missing"
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a directory", stat.S_IFREG: "a file"}
    return kinds.get(stat.S_IFMT(mode), "something else")


def _of_bytes(name: str, paths: list[str], sides: Sides) -> str | None:
    """Compare block by block, since outputs may be larger than memory; show the first line that is not the same."""
    with open(paths[0], "rb") as first, open(paths[1], "rb") as second:
        start, line = 0, 1
        while (blocks := (first.read(_BLOCK), second.read(_BLOCK)))[0] == blocks[1]:
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
    width = max(map(len, sides)) + 1
    rows = [f"{f'{side}:':<{width}} {text}" for side, text in zip(sides, texts, strict=True)]
    return "\n".join([f"{name} differs at line {line:,} ({sizes[0]:,} and {sizes[1]:,} bytes)", *rows])


def _line_at(file: BinaryIO, begin: int, *, is_cut: bool) -> str:
    """Return what of a line stands from `begin` on; `is_cut`: that is not its own beginning."""
    file.seek(begin)
    text = file.readline(_SHOWN + 1)
    if not text:
        return "(the end)"
    return ("..." if is_cut else "") + repr(text[:_SHOWN])[1:] + ("..." if len(text) > _SHOWN else "")


class Entry(NamedTuple):
    """What no write leaves alone, so that nothing is read. Of a directory only its mode: its times change too often."""

    mode: int
    size: int = 0
    modified: int = 0
    changed: int = 0
    inode: int = 0


Snapshot = dict[str, Entry]


def snapshot(tops: Collection[str], leave_out: Collection[str]) -> Snapshot:
    """Return `tops` and every entry below by its path, but for the directories `leave_out` and all below them."""
    entries: Snapshot = {top: Entry(os.lstat(top).st_mode) for top in tops}
    pending = list(tops)
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    if entry.path in leave_out or entry.name == BYTECODE:
                        continue
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        entries[entry.path] = Entry(status.st_mode)
                        pending.append(entry.path)
                    else:
                        times = status.st_mtime_ns, status.st_ctime_ns
                        entries[entry.path] = Entry(status.st_mode, status.st_size, *times, status.st_ino)
        except OSError:
            continue  # not to be listed, by which it was changed already
    return entries


def changes(before: Snapshot, after: Snapshot, declared: Collection[str]) -> list[tuple[str, str]]:
    """Return what became of which path, in the paths' order, but of `declared` outputs and their new directories."""
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
        if old is None or new is None:
            found.append(("written" if old is None else "removed", path))
        elif old._replace(mode=0, changed=0) == new._replace(mode=0, changed=0) and old.mode != new.mode:
            found.append((f"re-moded from {stat.S_IMODE(old.mode):04o} to {stat.S_IMODE(new.mode):04o}", path))
        else:
            found.append(("changed", path))
    return found
