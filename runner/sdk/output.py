"""One output while it is written: pieces are gathered in memory, and reach the partial some 32 KiB at a time."""

from __future__ import annotations

import os

from runner.errors import Fault, StateError
from runner.record import files

# Pieces are joined, and encoded into up to three bytes a letter, before they are written. When that was a MiB, malloc
# took its memory from the system for every flush and gave it back: a fifth of what stage_upper took were page faults.
BUFFER_SIZE = 32 * 1024


class Output:
    """The partial at `path`, of which the first `keep` bytes are kept; `length` counts what was written so far."""

    __slots__ = (
        "_descriptor", "_failure", "_path", "_unsynced", "encoding", "errors", "inode", "length", "pending", "pieces",
    )  # fmt: skip

    def __init__(self, path: str, *, keep: int) -> None:
        self._path = path
        self._descriptor = files.open_append(path, truncate=keep == 0)
        if keep:
            files.truncate(path, keep)
        self.pieces: list[bytes | str] = []
        self.pending = 0
        self._failure: Exception | None = None
        self._unsynced = True  # also what a dead attempt wrote: only its last checkpoint is known to be on disk
        self.length = keep
        self.inode = os.fstat(self._descriptor).st_ino
        self.encoding: str | None = None
        self.errors = "strict"

    def write(self, data: bytes | str) -> None:
        """Gather `data`: bytes, or str where `encoding` is set (the job sees to that)."""
        self.pieces.append(data)
        self.pending += len(data)
        if self.pending >= BUFFER_SIZE:
            self.flush()

    def flush(self) -> None:
        """Hand what was gathered to the system."""
        pieces = self.pieces
        if not pieces:
            return
        self._require_whole()
        self.pieces, self.pending = [], 0
        self._unsynced = True
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
        """Make `length` true: all is written, with `sync` on disk too, and nobody else wrote to the partial."""
        self.flush()
        self._require_whole()
        size = os.fstat(self._descriptor).st_size
        if size != self.length:
            what = f"is {size} bytes long where {self.length} were written"
            raise StateError(Fault(self._path, what, "write to an output either through its job or without one"))
        if sync and self._unsynced:
            try:
                files.sync_descriptor(self._descriptor, self._path)
            except StateError as error:
                self._failure = error
                raise
            self._unsynced = False

    def _require_whole(self) -> None:
        """Raise what failed before: the output of a stage that carried on all the same must not pass for complete.

        Nothing is written a second time, and a second fsync would succeed without what the first one lost.
        """
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        os.close(self._descriptor)
