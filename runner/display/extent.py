"""How far a running stage has come, as its checkpoint and its partials show it from outside."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from runner.display.words import counted, size
from runner.errors import StateError
from runner.record.checkpoints import read_progress
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

_RATE_PATIENCE = 0.5


class Extent(Value):
    """Lines and bytes of input behind the last checkpoint, where it says; bytes written to outputs that are files."""

    lines: int | None
    read: int | None
    written: int


def extent_of(progress_path: str, partials: Iterable[str]) -> Extent:
    """Return how far a stage is now."""
    try:
        progress = read_progress(progress_path)
    except StateError:  # what is only shown ends no run
        progress = None
    written = sum(_size(path) for path in partials)
    return Extent(progress.line_offset, progress.byte_offset, written) if progress else Extent(None, None, written)


def amounts(now: Extent, first: Extent, input_bytes: int, spent: float) -> list[str]:
    """Return how much is done, of how much, and how fast since the attempt began at `first`, `spent` seconds ago."""
    if now.lines:
        cells = [f"{now.lines:,} lines"]
        if now.read and now.read <= input_bytes:
            cells.append(f"{now.read * 100 // input_bytes}%")
        rate = f"{(now.lines - (first.lines or 0)) / max(spent, 0.001):,.0f} lines/s"
    elif now.written:
        cells = [f"{size(now.written)} of {size(input_bytes)}" if now.written <= input_bytes else size(now.written)]
        rate = f"{size(max(0, now.written - first.written) / max(spent, 0.001))}/s"
    else:
        return []
    return [*cells, rate] if spent >= _RATE_PATIENCE else cells


def from_text(line_offset: int | None) -> str:
    """Return where an attempt that has a checkpoint begins: `from line 1,200,000`."""
    return f"from line {line_offset:,}" if line_offset else "from a checkpoint"


def outgrown_text(line_offset: int | None, byte_offset: int | None) -> str:
    """Return what is told of a checkpoint at what its stage is no longer to be; what has changed nobody knows."""
    extent = ""
    if line_offset is not None:
        extent = f" of {counted(line_offset, 'line')}"
    elif byte_offset is not None:
        extent = f" of {counted(byte_offset, 'byte')}"
    return f"checkpoint{extent} does not fit any more: it starts anew"


def _size(path: str) -> int:
    """Return what a file holds: a directory's own size says nothing, and to add up what is in it may take long."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
