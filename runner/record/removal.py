"""Removes a directory tree of any depth, whenever `rm -r` could remove it."""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EEXIST, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, ESTALE

_CHANGED = frozenset({EEXIST, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, ESTALE})  # another process changed the tree meanwhile
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str, tries: int = 100) -> None:
    """Remove the directory at `path`, even if it or a directory in it has a mode without rights. Raises OSError."""
    try:
        _empty(path)
        os.rmdir(path)
    except OSError as error:
        if not os.path.lexists(path):  # another process removed it
            return
        if error.errno not in _CHANGED or not tries:
            raise
        remove_tree(path, tries - 1)


def _empty(path: str) -> None:
    """Remove everything in a directory. Only one descriptor is open at a time, at any depth.

    The way back up is "..". It must lead to the directory that we came from, because another process may move the tree.
    """
    here = open_directory(path)
    above: list[tuple[str, os.stat_result, list[str]]] = []  # of each level: its name, its parent, the parent's rest
    try:
        rest = _remove_files(here)
        while rest or above:
            if rest:
                name = rest.pop()
                with suppress(OSError):
                    os.rmdir(name, dir_fd=here)
                    continue
                inner = open_directory(name, here)
                above.append((name, os.fstat(here), rest))
                os.close(here)
                here = inner
                rest = _remove_files(here)
            else:
                name, directory, rest = above.pop()
                outer = os.open("..", _DIRECTORY, dir_fd=here)
                os.close(here)
                here = outer
                if not os.path.samestat(directory, os.fstat(here)):
                    raise OSError(ESTALE, os.strerror(ESTALE))
                os.rmdir(name, dir_fd=here)
    finally:
        os.close(here)


def _remove_files(directory: int) -> list[str]:
    """Remove everything in an open directory but its subdirectories; return their names."""
    inner = []
    with os.scandir(directory) as entries:
        for entry in [*entries]:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=directory)
    return inner


def open_directory(name: str, directory: int | None = None) -> int:
    """Open a directory; if it is ours, and its mode keeps us from its content, change the mode. Follows no link."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if status.st_mode & 0o700 != 0o700 and status.st_uid == os.geteuid():
        os.chmod(name, 0o700, dir_fd=directory)
    return os.open(name, _DIRECTORY, dir_fd=directory)
