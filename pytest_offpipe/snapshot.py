"""What changed in directories while a stage ran: compared by what no write leaves alone, so nothing is read."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

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
