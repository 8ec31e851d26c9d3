"""The lines of a file that nobody vouches for: read in pieces, never longer than a bound, and no FIFO is waited for."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from runner.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

LONGEST = 128 << 20  # of a line, in bytes; a spec has at most 64 MiB
_BUFFER = 1 << 16
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
}


class NotRegularError(Exception):
    """Something else is in the place of a file; the text says what."""


def open_plain(path: str) -> int:
    """Open a regular file for reading, through no link. NotRegularError for anything else; an OSError passes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:
            raise NotRegularError(_kind(os.lstat(path).st_mode)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise NotRegularError(_kind(mode))
    return descriptor


def read_plain(path: str, most: int = LONGEST) -> bytes:
    """Return what a regular file holds, its first `most` bytes and one more if there are; raises as `open_plain`."""
    descriptor = open_plain(path)
    try:
        content = os.read(descriptor, min(os.fstat(descriptor).st_size, most) + 1)
        while len(content) <= most and (more := os.read(descriptor, min(_BUFFER, most + 1 - len(content)))):
            content += more
        return content
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    return f"is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}, where a file is to be"


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
                    self._skip()
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

    def _skip(self) -> None:
        while (piece := self._file.readline(_BUFFER)) and piece[-1] != 10:
            pass
