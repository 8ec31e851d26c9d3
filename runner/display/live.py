"""The live display at the foot of a terminal: a row for each running stage. Only this module imports rich."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, TextIO, cast

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live as RichLive
from rich.text import Text

from runner.display.plan_text import shown_checkpoint
from runner.display.text import near_path, printable, seconds, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.display.streams import Stream

_NAME_LEAST, _NAME_MOST = 8, 28
_SECONDS = 8
_RATE_PATIENCE = 0.5  # seconds before a rate means something


class Row:
    """A running stage: its current attempt or, if `until` is set, the next one, which starts then."""

    def __init__(self, attempt: int, began: float, progress: str, partials: tuple[str, ...], input_bytes: int) -> None:
        self.attempt = attempt
        self.began = began
        self.until: float | None = None
        self._progress = progress
        self._partials = partials
        self._input_bytes = input_bytes
        self._first = self.extent()

    def extent(self) -> tuple[int | None, int | None, int]:
        """Return lines and bytes of input before the last checkpoint, if it has them, and bytes written to outputs."""
        progress = shown_checkpoint(self._progress)
        lines, read = (progress.line_offset, progress.byte_offset) if progress else (None, None)
        return lines, read, sum(map(_size, self._partials))

    def amounts(self, now: float) -> list[str]:
        """Return how much is done, of how much, and how fast since the attempt began."""
        (lines, read, written), total, spent = self.extent(), self._input_bytes, now - self.began
        first_lines, _, first_written = self._first
        if lines:
            cells = [f"{lines:,} lines"]
            if read and read <= total:
                cells.append(f"{read * 100 // total}%")
            rate = f"{(lines - (first_lines or 0)) / max(spent, 0.001):,.0f} lines/s"
        elif written:
            cells = [f"{size(written)} of {size(total)}" if written <= total else size(written)]
            rate = f"{size(max(0, written - first_written) / max(spent, 0.001))}/s"
        else:
            return []
        return [*cells, rate] if spent >= _RATE_PATIENCE else cells

    def cells(self, now: float) -> list[str]:
        """Return what the row shows behind the stage's name."""
        if self.until is not None:
            return [f"{max(0.0, self.until - now):>{_SECONDS - 2}.1f} s", f"until attempt {self.attempt}"]
        tried = [f"attempt {self.attempt}"] if self.attempt > 1 else []
        return [f"{seconds(now - self.began):>{_SECONDS}}", *self.amounts(now), *tried]


class Live:
    """The rows at the foot of the terminal. The caller catches every exception: a display must not end a run."""

    def __init__(self, stderr: Stream, began: float) -> None:
        self.pipeline = ""
        self.stages = self.ended = 0
        self.rows: dict[str, Row] = {}
        self._began = began
        self._console = Console(
            file=cast(TextIO, stderr), force_terminal=True, highlight=False, markup=False, emoji=False
        )
        self._live = RichLive(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False,
            vertical_overflow="crop",
        )  # fmt: skip
        self._live.start()

    def draw(self, now: float, lines: Sequence[tuple[str, bool]], hashing: tuple[str, int, int] | None) -> None:
        """Print new lines (text, and whether it is bad news), and below them the rows.

        `hashing` is a file that is being hashed, how much of it is, and its size.
        """
        self._live.update(Text("\n").join(self._rows(now, hashing)))
        if lines:
            above = [Text(text, style="bold red" if bad else "") for text, bad in lines]
            self._console.print(Text("\n").join(above), soft_wrap=True)  # which draws the rows again, below
        else:
            self._live.refresh()

    def stop(self) -> None:
        """Remove the rows and show the cursor again."""
        self._live.stop()

    def _rows(self, now: float, hashing: tuple[str, int, int] | None) -> list[Text]:
        """Return as many rows as fit, then what is being hashed and how many stages are done."""
        width, height = self._console.size
        widest = max(_NAME_LEAST, *(cell_len(name) for name in (self.pipeline, *self.rows)))
        column = min(widest, _NAME_MOST, max(_NAME_LEAST, width // 2))

        def line(name: str, cells: list[str], style: str = "") -> Text:
            text = "  ".join([set_cell_size(printable(name), column), *cells])
            return Text(set_cell_size(text, min(cell_len(text), width - 1)), style)

        room = max(1, height - 2 - (hashing is not None))
        rows = [line(name, row.cells(now), "yellow" if row.until else "") for name, row in self.rows.items()]
        lines = rows if len(rows) <= room else [*rows[: room - 1], Text(f"and {len(rows) - room + 1} more", "dim")]
        if hashing:
            path, done, total = hashing
            lines.append(line("hashing", [f"{size(done)} of {size(total)}", near_path(path)], "cyan"))
        if self.stages:
            ended = f"{self.ended} of {self.stages} done"
            lines.append(line(self.pipeline, [f"{seconds(now - self._began):>{_SECONDS}}", ended], "dim"))
        return lines


def _size(path: str) -> int:
    """Return the size of a file; 0 for a directory, because adding up what is in it may take long."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
