"""Standard output and error. Writing never raises: a reader that is gone, or a full disk, stops no run."""

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
PATIENCE = 5.0  # seconds that a run, at its end, waits for a reader that takes nothing
_PIECE = 4096  # bytes: a pipe that can be written to has room for as many (PIPE_BUF of Linux)


class Stream:
    """Standard output or error. `failure` is the errno of the first write that failed; later writes do nothing.

    While it `defers`, it never waits for its reader. What the reader has no room for is `pending`: later writes try
    again, and at the end so does `settle`.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.defers = False
        self._own: int | None = None  # a descriptor that nobody shares, so that it need not block
        self.pending = bytearray()
        self.failure: int | None = None

    @property
    def file(self) -> TextIO:
        """Python's present object for it; None if it was closed before Python started."""
        return sys.stdout if self._number == STDOUT else sys.stderr

    @property
    def encoding(self) -> str:
        return getattr(self.file, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person may be looking."""
        try:
            return self.file.isatty()
        except (ValueError, AttributeError):  # closed, or None
            return False

    def fileno(self) -> int:
        """Return the descriptor's number, which rich asks for to learn the terminal's size."""
        return self._number

    def write(self, text: str) -> int:
        """Write `text`, escaping what the encoding cannot hold; on failure set `failure`."""
        self.pass_through(text.encode(self.encoding, "backslashreplace"))
        return len(text)

    def pass_through(self, content: bytes) -> None:
        """Write bytes as they are."""
        if self.failure is not None:
            return
        try:
            self.file.flush()
            descriptor = _descriptor(self.file)
            if descriptor is None:  # a caller of main() has replaced it
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
        """Do nothing, because nothing is buffered: a failed write at exit would end in a traceback of Python's."""

    def settle(self) -> None:
        """Wait until the reader has taken all that is pending, or has taken nothing for `PATIENCE` seconds."""
        waited = 0.0
        while self.pending and self.failure is None:
            before = len(self.pending)
            time.sleep(0.02)
            self.write("")
            waited = 0.0 if len(self.pending) < before else waited + 0.02
            if waited >= PATIENCE:
                self.failure = errno.EAGAIN

    def close(self) -> None:
        """Settle, and let go of the stream: what is written afterwards waits for the reader."""
        self.settle()
        if self._own is not None:
            os.close(self._own)
        self.defers, self._own = False, None

    def _write_pending(self, descriptor: int) -> None:
        """Write what is pending; if the stream defers, only what the reader has room for."""
        while self.pending and not (self.defers and not _has_room(descriptor, 0)):
            try:
                del self.pending[: os.write(descriptor, self.pending[:_PIECE])]
            except BlockingIOError:  # there is less room than it seemed, or somebody made the pipe non-blocking
                if self.defers:
                    return
                _has_room(descriptor, None)


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


def _reopened(descriptor: int) -> int | None:
    """Return another descriptor of the same pipe or terminal, which never blocks; None if there is none.

    O_NONBLOCK cannot be set on the given one: programs that share it would fail. A socket, or a pipe of another user,
    cannot be opened again. Then it must do that `_has_room` is asked before each write.
    """
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
            return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        pass
    return None


def _has_room(descriptor: int, milliseconds: int | None) -> bool:
    """Whether a write would not block, within so many milliseconds (None: wait until then)."""
    import select  # here, because `--version` needs no such thing

    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(milliseconds))
