"""An output while it is written: pieces are buffered in memory, and written to the partial about 32 KiB at a time."""

from __future__ import annotations

import os

from runner.errors import Fault, StateError
from runner.record import files

# Pieces are joined, and encoded into up to three bytes a letter, before they are written. With 1 MiB, malloc got memory
# from the system for each flush and returned it: a fifth of stage_upper's time were page faults.
BUFFER_SIZE = 32 * 1024


class Output:
    """The partial at `path`, cut to its first `keep` bytes; `length` is the number of bytes written so far."""

    def __init__(self, path: str, *, keep: int) -> None:
        self._path = path
        self._descriptor = files.open_append(path, truncate=keep == 0)
        if keep:
            files.truncate(path, keep)
        self.pieces: list[bytes | str] = []
        self.pending = 0
        self._failure: Exception | None = None
        self.length = keep
        self.inode = os.fstat(self._descriptor).st_ino
        self.encoding: str | None = None
        self.errors = "strict"

    def write(self, data: bytes | str) -> None:
        """Buffer `data`: bytes, or str if `encoding` is set (the job ensures that)."""
        self.pieces.append(data)
        self.pending += len(data)
        if self.pending >= BUFFER_SIZE:
            self.flush()

    def flush(self) -> None:
        """Write the buffered pieces to the file."""
        pieces = self.pieces
        if not pieces:
            return
        self._require_whole()
        self.pieces, self.pending = [], 0
        try:
            if self.encoding is None:
                content = b"".join(pieces)  # type: ignore[arg-type] # bytes now
            else:
                content = "".join(pieces).encode(self.encoding, self.errors)  # type: ignore[arg-type] # str now
            del pieces
            files.write(self._descriptor, content, self._path)
        except Exception as error:
            self._failure = error
            raise
        self.length += len(content)

    def settle(self, *, sync: bool) -> None:
        """Write everything, with `sync` to the disk, too. StateError if anything else wrote to the partial."""
        self.flush()
        self._require_whole()
        size = os.fstat(self._descriptor).st_size
        if size != self.length:
            what = f"is {size} bytes long, but {self.length} were written"
            raise StateError(Fault(self._path, what, "write to an output either through its job or without one"))
        if sync:
            try:
                files.sync_descriptor(self._descriptor, self._path)
            except StateError as error:
                self._failure = error
                raise

    def _require_whole(self) -> None:
        """Raise an earlier failure again: a stage that ignored it must not pass its output off as complete.

        The lost bytes are not written again, and a second fsync would succeed without them.
        """
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        os.close(self._descriptor)
