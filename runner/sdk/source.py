"""The input of a job: several files read in order, as blocks of whole lines."""

from __future__ import annotations

import os

from runner.errors import Fault, InputError, raise_if_system_error

IF_DIRECTORY = "to read the files in it, write a glob in the spec's inputs, such as dir/*.txt"


class Source:
    """Reads `paths` one after another from `offset`, counted over all of them; no line crosses two files."""

    def __init__(self, paths: tuple[str, ...], offset: int) -> None:
        self._paths = iter(paths)
        self._descriptor = -1
        self.path = ""
        self.offset = 0  # in the file at `path`, just behind the last block
        self._open_next()
        while self._descriptor >= 0 and offset > (size := os.fstat(self._descriptor).st_size):
            offset -= size
            self._open_next()
        self.offset = offset

    def read(self, size: int, most: int) -> tuple[bytes, int]:
        """Return the next whole lines, about `size` bytes and at most `most` lines, and their number; b"" at the end.

        A line longer than `size` is returned whole. The last line of a file may lack its line end.
        """
        while self._descriptor >= 0:
            try:
                block = self._whole_lines(size)
            except OSError as error:
                raise unreadable(error, self.path) from error
            if block:
                lines = block.count(b"\n") + (block[-1:] != b"\n")
                if lines > most:
                    block = block[: end_of_line(block, most)]
                    lines = most
                self.offset += len(block)
                return block, lines
            self._open_next()
        return b"", 0

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _whole_lines(self, size: int) -> bytes:
        """Return the bytes up to the last line end within `size`, or one longer line. The rest is read again later."""
        chunks = []
        at = self.offset
        while chunk := os.pread(self._descriptor, size, at):
            if end := chunk.rfind(b"\n") + 1:
                chunks.append(chunk[:end])
                break
            chunks.append(chunk)
            at += len(chunk)
            size = min(2 * size, 64 * 1024 * 1024)  # read a long line in few steps
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _open_next(self) -> None:
        self.close()
        self.offset = 0
        if path := next(self._paths, ""):
            self.path = path
            try:
                self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise unreadable(error, path) from error


def unreadable(error: OSError, path: str) -> InputError:
    """Return the error for an unreadable file; raises StateError for an `errors.SYSTEM_ERRORS`."""
    raise_if_system_error(error, path)
    hint = IF_DIRECTORY if isinstance(error, IsADirectoryError) else ""
    return InputError(Fault(path, f"cannot read: {error.strerror or error}", hint))


def end_of_line(block: bytes, number: int) -> int:
    """Return the offset just behind line `number` (from 1; 0 for 0) of `block`; its length if it has fewer lines."""
    parts = block.split(b"\n", number)
    return len(block) - len(parts[number]) if len(parts) > number else len(block)
