"""Scratch directories for the attempts of one run, each with its stage file beside it."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from runner.reading import is_settled
from runner.record import files

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.paths import StatePaths

State = tuple[int, int, int, int, int]  # mode, size, mtime_ns, ctime_ns, inode


class ScratchPool:
    """Hands out empty directories. One that its attempt left empty serves another attempt, and is not made anew.

    On ext4 what was deleted in the last seconds makes each creation slower, and thousands of short stages would delete
    a directory and a file each: that was half of the runner's time. A directory whose time stamps are still those with
    which it was handed out, and could not be if anything had come into it since, need not be listed.
    """

    def __init__(self, paths: StatePaths, run: str, clock: Callable[[], int] = time.time_ns) -> None:
        self._paths = paths
        self._run = run
        self._clock = clock
        self._made = 0
        self._empty: list[tuple[str, State]] = []
        self._taken: dict[str, State] = {}  # those whose next change will show

    def take(self) -> str:
        """Return the path of an empty directory that nobody else has; the stage file goes to `<path>.json`."""
        while self._empty:
            path, before = self._empty.pop()
            if _state(path) == before:
                if is_settled(before[2], before[3], self._clock()):
                    self._taken[path] = before
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
        state, before = _state(path), self._taken.pop(path, None)
        if state is not None and (state == before or _is_usable(path, state)):
            self._empty.append((path, state))
        else:
            files.discard(path)


def _state(path: str) -> State | None:
    """Return what tells whether a directory is the very one that it was, and as empty."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _is_usable(path: str, state: State) -> bool:
    try:
        return stat.S_ISDIR(state[0]) and state[0] & 0o700 == 0o700 and not os.listdir(path)
    except OSError:
        return False
