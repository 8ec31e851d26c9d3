"""Reads files that may be anything: no FIFO is waited for, no link followed, and nothing read beyond a bound.

A state file that a run can do without counts as missing when it cannot be used. No verb repairs state, and no one needs
to: a marker, a checkpoint or a cache that is lost costs time, and no more.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from runner.errors import StateError, raise_refusal
from runner.paths import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    Note = Callable[[str, str], None]  # is told the path of a file that counts as missing, and what is wrong with it

DAMAGED = "is damaged"
FILE, DIRECTORY = "a file", "a directory"
MOST_MARKER = 128 << 20  # bytes; what a spec of 64 MiB can come to
MOST_PROGRESS = 64 << 20
MOST_CACHE = 512 << 20  # about two million files
MOST_METRICS = 128 << 20
LONGEST = 128 << 20  # of a line
_CHUNK = 1 << 20
_BUFFER = 1 << 16


class NotRegularError(Exception):
    """Something else is in the place of a file, or it is larger than any of ours; the text says what."""


def unheard(path: str, what: str) -> None:
    """Be told nothing: for those who only come after somebody who was."""


def open_plain(path: str) -> int:
    """Open a regular file for reading, through no link. NotRegularError for anything else; an OSError passes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:  # a link, a socket, a device without driver
            raise
        mode = os.lstat(path).st_mode
    else:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return descriptor
        os.close(descriptor)
    raise NotRegularError(f"is {kind_of(mode)}, where a file is to be")


def read_plain(path: str, most: int) -> bytes:
    """Return what a regular file of at most `most` bytes holds. Raises as `open_plain`, also for a larger one."""
    descriptor = open_plain(path)
    try:
        size = os.fstat(descriptor).st_size
        content = os.read(descriptor, size + 1) if size <= most else b""
        while content and len(content) <= most and (more := os.read(descriptor, _CHUNK)):
            content += more
    finally:
        os.close(descriptor)
    if max(size, len(content)) > most:
        raise NotRegularError(f"is larger than {most >> 20} MiB, which none is")
    return content


def read_usable(path: str, most: int, note: Note) -> bytes | None:
    """Return what a state file holds, or None when there is none, or `note` is told why it cannot be used.

    No link is followed: those who write replace what is at the path, and `verify` takes one for damage. StateError for
    a disk that fails.
    """
    try:
        return read_plain(path, most)
    except FileNotFoundError:
        return None
    except NotRegularError as error:
        what = str(error)
    except PermissionError as error:
        what = f"cannot be read: {errno.errorcode.get(error.errno or 0, 'error')} ({error.strerror})"
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error
    note(path, what)
    return None


class Lines:
    """The lines of one file, each with its line end; after the last one, `rest` is what has none.

    Iterating again goes on where it ended, with what was appended meanwhile.
    """

    def __init__(self, path: str) -> None:
        """Open the file; raises as `open_plain`."""
        self.path = path
        self.rest = b""
        self._file = open(open_plain(path), "rb", buffering=_BUFFER)

    def __iter__(self) -> Iterator[bytes]:
        """Yield each line; an empty one stands for a line that is longer than LONGEST. StateError for a bad disk."""
        try:
            while line := self._file.readline(LONGEST):
                if self.rest:
                    line, self.rest = self.rest + line, b""
                if line[-1] == 10:
                    yield line
                elif len(line) < LONGEST:
                    self.rest = line
                else:
                    while (piece := self._file.readline(_BUFFER)) and piece[-1] != 10:
                        pass
                    yield b""
        except OSError as error:
            raise StateError.from_os(error, self.path, "read") from error

    def grown(self) -> bool:
        """Whether the file is longer by now than what was read."""
        return os.fstat(self._file.fileno()).st_size > self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def kind_at(path: str) -> str | None:
    """Return what is there, or None. StateError when the system refused to look, which says nothing of the path."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise_refusal(error, path)
        return None
    if stat.S_ISREG(mode):
        return FILE
    if stat.S_ISDIR(mode):
        return DIRECTORY
    return "a symbolic link" if stat.S_ISLNK(mode) else "no regular file"


def inode_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of what a path leads to, or None."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
