"""Standard output and error. Writing never raises: a reader that is gone, or a full disk, stops no run."""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

STDOUT, STDERR = 1, 2


class Stream:
    """Standard output or error. `failure` is the errno of the first write that failed; later writes do nothing."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.failure: int | None = None

    @property
    def file(self) -> TextIO | None:
        """Python's present object for it; None if it was closed before Python started."""
        return sys.stdout if self._number == STDOUT else sys.stderr

    @property
    def encoding(self) -> str:
        return getattr(self.file, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        try:
            return self.file is not None and self.file.isatty()
        except ValueError:  # closed
            return False

    def fileno(self) -> int:
        """Return the descriptor's number, which rich asks for to learn the terminal's size."""
        return self._number

    def write(self, text: str) -> int:
        """Write all of `text` now, escaping what the encoding cannot hold; on failure set `failure`."""
        self.pass_through(text.encode(self.encoding, "backslashreplace"))
        return len(text)

    def pass_through(self, content: bytes) -> None:
        """Write bytes as they are."""
        file = self.file
        if file is None:
            self.failure = errno.EBADF
        if file is None or self.failure is not None:
            return
        try:
            file.flush()
            descriptor = _descriptor(file)
            if descriptor is None:  # a caller of main() has replaced it
                file.write(content.decode(self.encoding, "replace"))
                file.flush()
            else:
                _write_all(descriptor, content)
        except OSError as error:
            self.failure = error.errno or errno.EIO
        except ValueError:  # closed since
            self.failure = errno.EBADF

    def flush(self) -> None:
        """Do nothing, because nothing is buffered: a failed write at exit would end in a traceback of Python's."""


def flushed() -> bool:
    """Flush Python's own buffers; False if that fails."""
    try:
        for file in (sys.stdout, sys.stderr):
            if file is not None:
                file.flush()
    except (OSError, ValueError):
        return False
    return True


def hold_descriptors() -> None:
    """Open /dev/null wherever 0, 1 or 2 is closed; else output could go into the next file opened, such as a log."""
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _descriptor(file: TextIO) -> int | None:
    try:
        return file.fileno()
    except (OSError, AttributeError):
        return None


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody made the pipe or terminal non-blocking
            import select

            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            poll.poll()
