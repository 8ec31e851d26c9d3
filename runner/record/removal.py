"""The removal of a directory with all that is in it, however deep that is.

What is in a directory of it is moved up before that one goes, so that neither paths nor stack nor the number of
descriptors grow with the depth. Where it cannot be moved, in a lower layer of an overlay, they do.
"""

from __future__ import annotations

import os
from contextlib import suppress
from errno import EEXIST, ENOTDIR, ENOTEMPTY, EXDEV

_TRIES = 100  # while another process puts something there again and again
_NOT_EMPTY = frozenset({EEXIST, ENOTEMPTY})
_CHANGED = _NOT_EMPTY | {ENOTDIR}
_O_PATH = getattr(os, "O_PATH", None)  # of Linux
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove the directory at `path`, also where nobody may enter it, or one in it. Raises OSError."""
    try:
        _remove_top(path)
    except FileNotFoundError:  # another process took it away
        if os.path.lexists(path):
            raise


def _remove_top(path: str) -> None:
    top = _entered(path, None)
    try:
        for left in range(_TRIES, -1, -1):
            _empty(top)
            try:
                os.rmdir(path)
                return
            except OSError as error:
                if error.errno not in _NOT_EMPTY or not left:  # another process put something there
                    raise
    finally:
        os.close(top)


def _empty(top: int) -> None:
    """Remove all that is in a directory, by its descriptor; also what others put there meanwhile."""
    moved = 0
    while names := os.listdir(top):
        for name in names:
            with suppress(FileNotFoundError):  # another process took it away
                moved = _remove(name, top, moved)


def _remove(name: str, top: int, moved: int) -> int:
    """Remove an entry of `top`, or what of a directory can be, and move the rest up; return how often that was done."""
    try:
        os.unlink(name, dir_fd=top)
        return moved
    except FileNotFoundError:
        raise
    except OSError as error:  # of a directory EISDIR, or EPERM
        try:
            inner = _entered(name, top)
        except NotADirectoryError:
            raise error from None
    try:
        with os.scandir(inner) as entries:
            for entry in [*entries]:
                with suppress(FileNotFoundError, NotADirectoryError):  # another process changed it meanwhile
                    moved = _remove_or_move(entry.name, inner, top, moved, is_tree=entry.is_dir(follow_symlinks=False))
    finally:
        os.close(inner)
    try:
        os.rmdir(name, dir_fd=top)
    except OSError as error:
        if error.errno not in _CHANGED:  # another process put something there; it is come back to
            raise
    return moved


def _remove_or_move(name: str, inner: int, top: int, moved: int, *, is_tree: bool) -> int:
    if not is_tree:
        os.unlink(name, dir_fd=inner)
        return moved
    try:
        os.rmdir(name, dir_fd=inner)
        return moved
    except OSError:
        _let_in(name, inner)  # a directory that may not be written stays where it is
    while True:
        moved += 1
        try:
            os.rename(name, f".{moved}", src_dir_fd=inner, dst_dir_fd=top)
            return moved
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno == EXDEV:  # of a lower layer of an overlay, where it is not known to be deep
                below = _entered(name, inner)
                try:
                    _empty(below)
                finally:
                    os.close(below)
                os.rmdir(name, dir_fd=inner)
                return moved
            try:
                os.stat(f".{moved}", dir_fd=top, follow_symlinks=False)  # is that name taken?
            except FileNotFoundError:
                raise error from None


def _entered(name: str, top: int | None) -> int:
    """Open a directory, also where nobody is let into it, or may remove its entries."""
    try:
        inner = os.open(name, _DIRECTORY, dir_fd=top)
    except PermissionError:
        _let_in(name, top)
        return os.open(name, _DIRECTORY, dir_fd=top)
    os.chmod(inner, 0o700)
    return inner


def _let_in(name: str, top: int | None) -> None:
    """Change the mode of a directory, and of nothing that a link leads to which is put in its place meanwhile."""
    if _O_PATH is None:
        os.chmod(name, 0o700, dir_fd=top, follow_symlinks=False)
        return
    there = os.open(name, _O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        os.chmod(f"/proc/self/fd/{there}", 0o700)
    finally:
        os.close(there)
