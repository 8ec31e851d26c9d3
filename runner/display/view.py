"""What the live rows show: the stages at work, how far each has come, and the file that is being hashed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from runner.display.text import size
from runner.errors import StateError
from runner.record.checkpoints import read_progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.record.checkpoints import Progress

_RATE_PATIENCE = 0.5  # seconds before a rate means something


class Extent(NamedTuple):
    """Lines and bytes of input before the last checkpoint, if it has them; bytes written to outputs that are files."""

    lines: int | None
    read: int | None
    written: int


class Row:
    """A stage at work: its current attempt or, if `until` is set, the next one, which starts then."""

    def __init__(
        self, stage: str, attempt: int, began: float, progress: str, partials: Iterable[str], input_bytes: int
    ) -> None:
        self.stage = stage
        self.attempt = attempt
        self.began = began
        self.until: float | None = None
        self._progress = progress
        self._partials = tuple(partials)
        self._input_bytes = input_bytes
        self._first = self.extent()

    def extent(self) -> Extent:
        """Return how far the attempt is, as its checkpoint and its partials show it."""
        progress = checkpoint(self._progress)
        lines, read = (progress.line_offset, progress.byte_offset) if progress else (None, None)
        return Extent(lines, read, sum(map(_size, self._partials)))

    def amounts(self, now: float) -> list[str]:
        """Return how much is done, of how much, and how fast since the attempt began."""
        extent, first, total, spent = self.extent(), self._first, self._input_bytes, now - self.began
        if extent.lines:
            cells = [f"{extent.lines:,} lines"]
            if extent.read and extent.read <= total:
                cells.append(f"{extent.read * 100 // total}%")
            rate = f"{(extent.lines - (first.lines or 0)) / max(spent, 0.001):,.0f} lines/s"
        elif extent.written:
            cells = [f"{size(extent.written)} of {size(total)}" if extent.written <= total else size(extent.written)]
            rate = f"{size(max(0, extent.written - first.written) / max(spent, 0.001))}/s"
        else:
            return []
        return [*cells, rate] if spent >= _RATE_PATIENCE else cells


class Hashing:
    """The file that is being hashed; `began` is when hashing began without a pause since."""

    path = ""
    done = 0
    total = 0
    began = 0.0
    latest = float("-inf")


class View:
    """What the live display shows."""

    def __init__(self, began: float) -> None:
        self.pipeline = ""
        self.stages = 0
        self.ended = 0
        self.began = began
        self.rows: dict[str, Row] = {}
        self.hashing = Hashing()


def checkpoint(path: str) -> Progress | None:
    """Return a checkpoint, or None: what is only shown must not end a run."""
    try:
        return read_progress(path)
    except StateError:
        return None


def _size(path: str) -> int:
    """Return the size of a file; 0 for a directory, because adding up what is in it may take long."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
