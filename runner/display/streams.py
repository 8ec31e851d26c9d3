"""Standard output and error. Writing never raises, so a closed pipe or a full disk stops no run.

Text goes to the descriptor at once. Nothing else in the runner prints, so Python's own buffers stay empty.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

STDOUT, STDERR = 1, 2
PATIENCE = 5.0  # seconds that a run waits at its end for a reader that reads nothing
_PIECE = 4096  # bytes: a writable pipe has room for this many (PIPE_BUF of Linux)


class Stream:
    """Standard output or error. `failure` is the errno of the first failed write. Later writes do nothing.

    While `defers` is set, a write never waits for the reader. Bytes that the reader has no room for are `pending`:
    later writes and `settle` try them again.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.defers = False
        self._own: int | None = None  # a second descriptor, which no other program shares: it may be non-blocking
        self.pending = bytearray()
        self.failure: int | None = None

    @property
    def file(self) -> TextIO:
        """The current `sys.stdout` or `sys.stderr`; None if it was closed before Python started."""
        return sys.stdout if self._number == STDOUT else sys.stderr

    @property
    def encoding(self) -> str:
        return getattr(self.file, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return self.file.isatty()
        except (ValueError, AttributeError):  # closed, or None
            return False

    def write(self, text: str) -> None:
        """Write `text`, escaping characters that the encoding lacks. On failure set `failure`."""
        self.pass_through(text.encode(self.encoding, "backslashreplace"))

    def pass_through(self, content: bytes) -> None:
        """Write bytes unchanged. On failure set `failure`."""
        if self.failure is not None:
            return
        try:
            self.file.flush()
            descriptor = _descriptor(self.file)
            if descriptor is None:  # a caller of main() replaced sys.stdout
                self.file.write(content.decode(self.encoding, "replace"))
                self.file.flush()
            else:
                self.pending += content
                if self.defers:
                    self._own = self._own or _reopened(descriptor)
                self._write_pending(self._own or descriptor)
        except OSError as error:
            self.failure = error.errno or errno.EIO
        except (ValueError, AttributeError):  # closed, or None
            self.failure = errno.EBADF

    def flush(self) -> None:
        """Do nothing, since nothing is buffered. rich calls it."""

    def settle(self) -> None:
        """Wait until the reader has taken all pending bytes, or nothing for `PATIENCE` seconds."""
        waited = 0.0
        while self.pending and self.failure is None:
            before = len(self.pending)
            time.sleep(0.02)
            self.write("")
            waited = 0.0 if len(self.pending) < before else waited + 0.02
            if waited >= PATIENCE:
                self.failure = errno.EAGAIN

    def close(self) -> None:
        """Settle. Later writes wait for the reader."""
        self.settle()
        if self._own is not None:
            os.close(self._own)
        self.defers, self._own = False, None

    def _write_pending(self, descriptor: int) -> None:
        """Write the pending bytes; while the stream defers, only as many as the reader has room for."""
        while self.pending and not (self.defers and not _has_room(descriptor, 0)):
            try:
                del self.pending[: os.write(descriptor, self.pending[:_PIECE])]
            except BlockingIOError:  # less room than poll promised, or another program made the pipe non-blocking
                if self.defers:
                    return
                _has_room(descriptor, None)


def hold_descriptors() -> None:
    """Open /dev/null for each of 0, 1 and 2 that is closed. Otherwise the next file that is opened gets the output."""
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _descriptor(file: TextIO) -> int | None:
    try:
        return file.fileno()
    except (OSError, AttributeError):
        return None


def _reopened(descriptor: int) -> int | None:
    """Return a second, non-blocking descriptor of the same pipe or terminal; None if that is impossible.

    O_NONBLOCK on the given descriptor would break programs that share it. A socket, or a pipe of another user, cannot
    be opened again; there the call of `_has_room` before each write has to suffice.
    """
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        pass
    return None


def _has_room(descriptor: int, milliseconds: int | None) -> bool:
    """Whether a write would succeed without blocking, now or within so many milliseconds (None: no limit)."""
    import select  # here, because only runs need it

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(milliseconds))
