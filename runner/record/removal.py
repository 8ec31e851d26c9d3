"""The removal of a directory with all that is in it, wherever `rm -r` could do it, and however deep it is."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EEXIST, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, ESTALE

_CHANGED = frozenset({EEXIST, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, ESTALE})  # by another process meanwhile
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str, tries: int = 100) -> None:
    """Remove the directory at `path`, also where its owner may not enter it, or one in it. Raises OSError."""
    try:
        _empty(path)
        os.rmdir(path)
    except OSError as error:
        if not os.path.lexists(path):  # another process took it away
            return
        if error.errno not in _CHANGED or not tries:
            raise
        remove_tree(path, tries - 1)


def _empty(path: str) -> None:
    """Remove all that is in a directory, by descriptors of which one is open at a time, so that depth costs none.

    The way back up is "..". It must lead to where the way down began: another process may move what is being removed.
    """
    here = _entered(path, None)
    above: list[tuple[str, os.stat_result, list[str]]] = []  # on the way down: its name, what it is in, the names left
    try:
        left = _without_files(here)
        while left or above:
            if left:
                name = left.pop()
                with suppress(OSError):
                    os.rmdir(name, dir_fd=here)
                    continue
                inner = _entered(name, here)
                above.append((name, os.fstat(here), left))
                os.close(here)
                here = inner
                left = _without_files(here)
            else:
                name, directory, left = above.pop()
                outer = os.open("..", _DIRECTORY, dir_fd=here)
                os.close(here)
                here = outer
                if not os.path.samestat(directory, os.fstat(here)):
                    raise OSError(ESTALE, os.strerror(ESTALE))
                os.rmdir(name, dir_fd=here)
    finally:
        os.close(here)


def _without_files(directory: int) -> list[str]:
    """Remove what is in an open directory, but for its directories; return their names."""
    inner = []
    with os.scandir(directory) as entries:
        for entry in [*entries]:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=directory)
    return inner


def _entered(name: str, directory: int | None) -> int:
    """Open a directory, and let us remove what is in it, if it is ours and keeps us from that."""
    try:
        inner = os.open(name, _DIRECTORY, dir_fd=directory)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=directory)
        inner = os.open(name, _DIRECTORY, dir_fd=directory)
    status = os.fstat(inner)
    if status.st_mode & 0o700 != 0o700 and status.st_uid == os.geteuid():
        os.chmod(inner, 0o700)
    return inner
