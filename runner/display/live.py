"""The live display at the bottom of a terminal: a row for each running stage. Only this module imports rich."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple, TextIO, cast

from runner.display.plan_text import shown_checkpoint
from runner.display.text import attempt_text, printable, seconds, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.display.streams import Stream

_NAME_LEAST = 8  # columns
_RATE_PATIENCE = 0.5  # seconds before a rate is shown


class Row(NamedTuple):
    """A row of the display. `style` is rich's."""

    name: str
    cells: list[str]
    style: str = ""


class RunningStage:
    """A running stage. `tries` counts its attempts, of which `most` are allowed. `until` is set while it waits."""

    def __init__(
        self, tries: int, most: int, began: float, progress: str, partials: Sequence[str], input_bytes: int
    ) -> None:
        self.until: float | None = None
        self._tries = tries
        self._most = most
        self._began = began
        self._progress = progress
        self._partials = partials
        self._input_bytes = input_bytes
        self._first = self._done()

    def row(self, name: str, now: float) -> Row:
        """Return the stage's row."""
        if self.until is not None:
            until = f"until {attempt_text(self._tries + 1, self._most)}"
            return Row(name, [f"{max(0.0, self.until - now):>6.1f} s", until], "yellow")
        tried = [attempt_text(self._tries, self._most)] if self._tries > 1 else []
        return Row(name, [elapsed(now - self._began), *self.amounts(now), *tried])

    def amounts(self, now: float) -> list[str]:
        """Return the cells for the work done, its share of the whole, and the rate since the attempt began."""
        (lines, read, written), total, spent = self._done(), self._input_bytes, now - self._began
        first_lines, _, first_written = self._first
        if lines:
            cells = [f"{lines:,} lines", *([f"{read * 100 // total}%"] if 0 < read <= total else [])]
            rate = f"{(lines - first_lines) / max(spent, 0.001):,.0f} lines/s"
        elif written:
            cells = [f"{size(written)} of {size(total)}" if written <= total else size(written)]
            rate = f"{size(max(0, written - first_written) / max(spent, 0.001))}/s"
        else:
            return []
        return [*cells, rate] if spent >= _RATE_PATIENCE else cells

    def _done(self) -> tuple[int, int, int]:
        """Return the lines and bytes of input up to the last checkpoint, and the bytes written to outputs."""
        progress = shown_checkpoint(self._progress)
        lines, read = (progress.line_offset, progress.byte_offset) if progress else (0, 0)
        return lines or 0, read or 0, sum(map(_size, self._partials))


class Live:
    """The rows at the bottom of the terminal. The caller catches every exception: a display must not end a run."""

    def __init__(self, stderr: Stream) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console(
            file=cast("TextIO", stderr), force_terminal=True, highlight=False, markup=False, emoji=False
        )
        self._live = RichLive(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def draw(self, lines: Sequence[tuple[str, bool]], rows: Sequence[Row], foot: Sequence[Row]) -> None:
        """Print new lines (text, and whether it is bad news), and below them the rows that fit and the foot."""
        from rich.cells import cell_len, set_cell_size
        from rich.text import Text

        width, height = self._console.size
        more = len(rows) - max(1, height - 1 - len(foot))
        left_out = [Row("", [f"and {more + 1} more"], "dim")] if more > 0 else []
        shown = [*(rows[: -more - 1] if left_out else rows), *left_out, *foot]
        widest = max((cell_len(row.name) for row in shown), default=0)
        beside = max((cell_len("  ".join(["", *row.cells])) for row in [*rows, *foot[-1:]]), default=0)
        column = max(_NAME_LEAST, min(widest, max(width - 1 - beside, width // 3)))
        drawn = []
        for row in shown:
            text = "  ".join([set_cell_size(printable(row.name), column), *row.cells])
            drawn.append(Text(set_cell_size(text, min(cell_len(text), width - 1)), row.style))
        self._live.update(Text("\n").join(drawn))
        if lines:
            above = [Text(text, style="bold red" if bad else "") for text, bad in lines]
            self._console.print(Text("\n").join(above), soft_wrap=True)  # also redraws the rows
        else:
            self._live.refresh()

    def stop(self) -> None:
        """Remove the rows and show the cursor again."""
        self._live.stop()


def elapsed(value: float) -> str:
    """Return seconds as a cell of fixed width."""
    return f"{seconds(value):>8}"


def _size(path: str) -> int:
    """Return the size of a file; 0 for a directory, because adding up its files may take long."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
