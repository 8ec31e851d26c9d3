"""Reads files that a user may have replaced by anything: never waits for a FIFO, opens a device, or exceeds a limit.

Loads built-in modules only, because a run with nothing to do reads files, too.
"""

from __future__ import annotations

import os
import stat

from runner.errors import Fault, StateError
from runner.paths import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

LONGEST = 128 << 20  # bytes of a line
TICK_NS = 20_000_000  # kernels stamp files with a clock that moves every 1 to 10 ms
COARSE_NS = 2_000_000_000  # FAT stamps even seconds, ext3 and some network file systems whole ones
_BUFFER = 1 << 16
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotRegularError(StateError):
    """Something other than a regular file is there, or the file is too large."""

    @property
    def what(self) -> str:
        """What is wrong, without the path: "is a FIFO, not a regular file"."""
        return self.faults[0].what


def open_regular(path: str, *, follow: bool = True) -> int:
    """Open a regular file for reading. Raises NotRegularError for anything else without opening it, and OSError.

    Opening a FIFO waits, and opening a device can have any effect. Without `follow`, a link is refused, too.
    """
    _require_regular(path, os.stat(path, follow_symlinks=follow))
    descriptor = os.open(path, _FLAGS if follow else _FLAGS | os.O_NOFOLLOW)
    try:
        _require_regular(path, os.fstat(descriptor))  # it may have been replaced after the first check
    except NotRegularError:
        os.close(descriptor)
        raise
    return descriptor


def read_small(path: str, most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes, not a link. Raises what `open_regular` raises."""
    with open(open_regular(path, follow=False), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1) or b"" if size <= most else b""
        while content and len(content) <= most and (more := file.read(1 << 20)):
            content += more
    if max(size, len(content)) > most:
        raise NotRegularError(Fault(path, f"is larger than {most >> 20} MiB, the limit", "remove it"))
    return content


class Lines:
    """The lines of a file, each with its line end. After the last line, `rest` has the bytes without a line end.

    A second iteration continues with the bytes that were appended after the first.
    """

    def __init__(self, path: str) -> None:
        """Open the file, which must not be a link. Raises what `open_regular` raises."""
        self.path = path
        self.rest = b""
        self._file = open(open_regular(path, follow=False), "rb", buffering=_BUFFER)

    def __iter__(self) -> Iterator[bytes]:
        """Yield each line, and an empty one in place of a line longer than LONGEST. StateError if the disk fails."""
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
        """Whether the file has more bytes now than were read."""
        return os.fstat(self._file.fileno()).st_size > self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def is_settled(modified: int, changed: int, began: int) -> bool:
    """Whether any write after `began` must change these time stamps (all in ns): git's rule for racily clean files.

    A write sets mtime and ctime to the present of the file system's clock. That changes the stamps, unless they are in
    the same tick as `began`. A program can set an mtime to any time, also in the future, but not a ctime. A ctime of a
    whole second may come from a clock with that resolution.
    """
    margin = TICK_NS if changed % 1_000_000_000 else COARSE_NS
    return changed < began - margin and not began - margin <= modified <= began + margin


def _require_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(mode := status.st_mode):
        hint = "" if stat.S_ISDIR(mode) else "remove it"  # a directory may hold files that the user needs
        raise NotRegularError(Fault(path, f"is {kind_of(mode)}, not a regular file", hint))
