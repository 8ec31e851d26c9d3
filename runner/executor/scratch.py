"""The scratch directories of a run's attempts, used again while they are empty."""

from __future__ import annotations

import os
import stat

from runner.record import files


class ScratchPool:
    """Hands out empty directories. A directory that an attempt left empty serves another attempt.

    On ext4, recent deletions slow down every creation. Thousands of short stages would each delete a directory and a
    file: that took half of the runner's time.
    """

    def __init__(self, directory: str) -> None:
        """`directory` is where they are made, numbered from 1."""
        self._directory = directory
        self._made = 0
        self._empty: list[str] = []

    def take(self) -> str:
        """Return the path of an empty directory for one attempt; the stage file goes to `<path>.json`."""
        while self._empty:
            if _is_empty(path := self._empty.pop()):
                return path
            files.discard(path)
        self._made += 1
        path = f"{self._directory}/{self._made}"
        files.make_directories(path)
        return path

    def give_back(self, path: str, *, lists: list[str]) -> None:
        """Take back the directory of an attempt that ended; `lists` are the files of `{list.NAME}` beside it."""
        for name in (f"{path}.progress", *lists):
            files.discard(name)
        if _is_empty(path):
            self._empty.append(path)
        else:
            files.discard(path)


def _is_empty(path: str) -> bool:
    """Whether this is an empty directory that a stage can use."""
    try:
        mode = os.lstat(path).st_mode
        return stat.S_ISDIR(mode) and mode & 0o700 == 0o700 and not os.listdir(path)
    except OSError:
        return False
