"""What a plan looked at, and the no-op record that is made of it (see decide.noop, which reads it)."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from runner.decide.noop import ABSENT, ENTRIES, FILES, PART, WAYS, Record, part, seen
from runner.settled import is_settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.decide.noop import Conditions, Told


class Looked:
    """Absolute paths that a plan depends on.

    files: followed through links. entries: themselves, such as outputs. directories: what was listed. ways: directories
    of which only the kind counts. absent: where nothing was, or a link to nothing, and something would change the plan.
    """

    __slots__ = ("absent", "directories", "entries", "files", "ways")

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.entries: set[str] = set()
        self.directories: set[str] = set()
        self.ways: set[str] = set()
        self.absent: set[str] = set()

    def add(self, path: str) -> None:
        """Take in a file that may be there or not."""
        (self.files if os.path.exists(path) else self.absent).add(path)

    def listed(self, path: str) -> None:
        """Take in a directory that was listed, or is not there."""
        (self.directories if os.path.isdir(path) else self.absent).add(path)

    def tree(self, top: str) -> None:
        """Take in a directory with all that lies below it."""
        self.listed(top)
        pending = [top]
        while pending:
            with suppress(OSError), os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self.directories.add(entry.path)
                        pending.append(entry.path)
                    else:
                        self.entries.add(entry.path)


def record(looked: Looked, conditions: Conditions, told: Told, *, base: str, began: int) -> Record | None:
    """Return the record of a plan that began at `began` (time.time_ns), all of it looked at again.

    `base` is the directory below which most of it lies. None when something changed since, or so shortly before that a
    change after the plan might not show (as git has it: racily clean), or is gone.
    """
    parts: list[bytes] = []
    paths = 0
    try:
        for way, chosen in _by_way(looked):
            ordered = sorted(chosen)
            signatures = [] if way == ABSENT else seen(way, ordered)
            if way in (FILES, ENTRIES) and not _are_settled(signatures, began):
                return None
            names = [_name(path, base) for path in ordered]
            parts += [part(way, names[at : at + PART], signatures[at : at + PART]) for at in range(0, len(names), PART)]
            paths += len(names)
    except (OSError, ValueError):
        return None
    if any(map(os.path.exists, looked.absent)):
        return None
    return Record(conditions, base, parts, paths, told)


def _by_way(looked: Looked) -> Iterable[tuple[int, set[str]]]:
    """Yield the paths by how they are looked at, each once: an entry that is no link is what a link would lead to."""
    plain = {path for path in looked.entries & looked.files if not stat.S_ISLNK(os.lstat(path).st_mode)}
    yield FILES, (looked.files - plain) | looked.directories
    yield ENTRIES, looked.entries
    yield WAYS, looked.ways
    yield ABSENT, looked.absent


def _are_settled(signatures: Sequence[tuple[int, ...]], began: int) -> bool:
    return all(is_settled(modified, changed, began) for changed, modified, *_ in signatures)


def _name(path: str, base: str) -> bytes:
    """Return how a record has a path: from `base` where it lies below it."""
    below = path.startswith(f"{base}/") and path[len(base) + 1 :].lstrip("/")
    return os.fsencode(below or path)
