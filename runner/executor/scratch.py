"""Scratch directories for the attempts of one run, each with its stage file beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.record import files

if TYPE_CHECKING:
    from runner.paths import StatePaths


class ScratchPool:
    """Hands out empty directories. One that its attempt left empty serves another attempt, and is not made anew.

    On ext4 what was deleted in the last seconds makes each creation slower, and thousands of short stages would delete
    a directory and a file each: that was half of the runner's time.
    """

    def __init__(self, paths: StatePaths, run: str) -> None:
        self._paths = paths
        self._run = run
        self._made = 0
        self._empty: list[tuple[str, os.stat_result]] = []

    def take(self) -> str:
        """Return the path of an empty directory that nobody else has; the stage file goes to `<path>.json`."""
        while self._empty:
            path, before = self._empty.pop()
            if _is_as_made(path, before):
                return path
            files.discard(path)
        self._made += 1
        path = self._paths.scratch(self._run, self._made)
        files.make_directories(path)
        return path

    def give_back(self, path: str, *, lists: list[str]) -> None:
        """Take back a directory with what its attempt left in it; `lists` are the files of `{list.NAME}` beside it."""
        for name in (f"{path}.progress", *lists):
            files.discard(name)
        try:
            status = os.lstat(path)
            is_usable = status.st_mode & 0o700 == 0o700 and not os.listdir(path)
        except OSError:
            files.discard(path)
            return
        if is_usable:
            self._empty.append((path, status))
        else:
            files.discard(path)


def _is_as_made(path: str, before: os.stat_result) -> bool:
    """Whether the directory is the very one that was given back, and nobody put anything in it since."""
    try:
        now = os.lstat(path)
    except OSError:
        return False
    return (now.st_ino, now.st_mtime_ns, now.st_mode) == (before.st_ino, before.st_mtime_ns, before.st_mode)
