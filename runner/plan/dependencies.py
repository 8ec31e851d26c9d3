"""The set of paths that a plan depends on, for the no-op record (see `runner.noop`)."""

from __future__ import annotations

import os
import stat
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Dependencies:
    """Absolute paths that a plan depends on.

    files: read through links. entries: not followed, such as outputs. directories: those that were listed. ways:
    directories of which only the kind counts. absent: paths where there was nothing, or a link to nothing.
    """

    __slots__ = ("absent", "directories", "entries", "files", "ways")

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.entries: set[str] = set()
        self.directories: set[str] = set()
        self.ways: set[str] = set()
        self.absent: set[str] = set()

    def add(self, path: str) -> None:
        """Add a file that may be there or absent."""
        (self.files if os.path.exists(path) else self.absent).add(path)

    def listed(self, path: str) -> None:
        """Add a directory that was listed, or is absent."""
        (self.directories if os.path.isdir(path) else self.absent).add(path)

    def tree(self, top: str) -> None:
        """Add a directory with all that lies below it."""
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

    def by_look(self) -> Iterator[set[str]]:
        """Yield the paths by how their state is read: with stat, with lstat, lstat's kind only, and those absent.

        Each path comes once: an entry that is no link is the file that a link would lead to. Raises OSError.
        """
        plain = {path for path in self.entries & self.files if not stat.S_ISLNK(os.lstat(path).st_mode)}
        yield (self.files - plain) | self.directories
        yield self.entries
        yield self.ways
        yield self.absent
