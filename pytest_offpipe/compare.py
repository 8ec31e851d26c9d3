"""What differs between two outputs, and what changed in a directory while a stage ran."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from runner.paths import kind_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

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
    for relative in sorted({os.path.relpath(entry, top) for top in (one, other) for entry in entries_of(top)}):
        paths = [os.path.normpath(os.path.join(top, relative)) for top in (one, other)]
        if text := _of_entry(os.path.normpath(os.path.join(name, relative)), paths, sides):
            return text
    return None


def entries_of(path: str) -> Iterator[str]:
    """Yield a path, and the paths of all that lies below it."""
    yield path
    if not os.path.islink(path):
        for directory, directories, files in os.walk(path):
            yield from (os.path.join(directory, entry) for entry in (*directories, *files))


def _of_entry(name: str, paths: list[str], sides: Sides) -> str | None:
    """Compare kinds, then what a link says, or the bytes and modes of files."""
    kinds = [kind_of(os.lstat(path).st_mode) if os.path.lexists(path) else "missing" for path in paths]
    if kinds[0] == kinds[1] == "a file":
        if text := _of_bytes(name, paths, sides):
            return text
        name, kinds = f"the mode of {name}", [f"{stat.S_IMODE(os.lstat(path).st_mode):04o}" for path in paths]
    elif kinds[0] == kinds[1] == "a symbolic link":
        kinds = [os.readlink(path) for path in paths]
    one, other = kinds
    return None if one == other else f"{name} is {one} {sides.one}, and {other} {sides.other}"


def _of_bytes(name: str, paths: list[str], sides: Sides) -> str | None:
    """Compare block by block, since outputs may be larger than memory; show the first line that is not the same."""
    with open(paths[0], "rb") as first, open(paths[1], "rb") as second:
        start, line = 0, 1
        while (blocks := (first.read(_BLOCK), second.read(_BLOCK)))[0] == blocks[1]:
            if not blocks[0]:
                return None
            start, line = start + len(blocks[0]), line + blocks[0].count(b"\n")
        pairs = enumerate(zip(*blocks, strict=False))
        at = next((i for i, (one, other) in pairs if one != other), min(map(len, blocks)))
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

    @classmethod
    def of(cls, status: os.stat_result) -> Entry:
        """Return it for a file or a directory of this status."""
        if stat.S_ISDIR(status.st_mode):
            return cls(status.st_mode)
        return cls(status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


Snapshot = dict[str, Entry]


def snapshot(tops: Collection[str], leave_out: Collection[str]) -> Snapshot:
    """Return `tops` and every entry below by its path, but for the directories `leave_out` and all below them."""
    entries: Snapshot = {top: Entry.of(os.lstat(top)) for top in tops}
    pending = list(tops)
    while pending:
        try:
            with os.scandir(pending.pop()) as found:
                for entry in found:
                    if entry.path not in leave_out and entry.name != BYTECODE:
                        entries[entry.path] = Entry.of(entry.stat(follow_symlinks=False))
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
        except OSError:
            continue  # a file, or a directory that cannot be listed: its mode has changed
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
        what = "written" if old is None else "removed" if new is None else "changed"
        if old and new and old.mode != new.mode and old[1:3] == new[1:3] and old.inode == new.inode:
            what = f"re-moded from {stat.S_IMODE(old.mode):04o} to {stat.S_IMODE(new.mode):04o}"
        found.append((what, path))
    return found
