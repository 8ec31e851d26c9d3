"""The live display: a row per running stage at the foot of the terminal, drawn with rich, which only this imports."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO, cast

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live as RichLive
from rich.text import Text

from runner.display.words import near_path, printable, seconds, size
from runner.record.checkpoints import read_progress

if TYPE_CHECKING:
    from runner.display.progress import Hashing, Row, View
    from runner.display.streams import Stream

_NAME_CELLS = 28
_HASHING_SHOWN = 0.3
_RATE_PATIENCE = 0.5


class Live:
    """The rows at the foot of the terminal. What it does not catch its caller does: a display ends no run."""

    def __init__(self, stderr: Stream) -> None:
        self._console = Console(
            file=cast(TextIO, stderr), force_terminal=True, highlight=False, markup=False, emoji=False
        )
        self._live = RichLive(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False,
            vertical_overflow="crop",
        )  # fmt: skip
        self._live.start()

    def draw(self, view: View, now: float) -> None:
        """Draw all rows; as many as fit above the last line, which counts the stages."""
        lines = [self._row(row, now) for row in view.rows.values()]
        if now - view.hashing.latest < _HASHING_SHOWN:
            lines.append(self._hashing(view.hashing))
        room = max(1, self._console.size.height - 2)
        if len(lines) > room:
            lines[room - 1 :] = [Text(f"  and {len(lines) - room + 1} more", style="dim")]
        if view.stages:
            cells = [f"{view.ended} of {view.stages} stages done", seconds(now - view.began)]
            lines.append(Text(self._fit(view.pipeline, cells), style="dim"))
        self._live.update(Text("\n").join(lines), refresh=True)

    def print_above(self, text: str, *, bad: bool) -> None:
        """Print lines that stay, above the rows."""
        self._console.print(Text(text, style="bold red" if bad else ""), soft_wrap=True)

    def stop(self) -> None:
        """Remove the rows and show the cursor again."""
        self._live.stop()

    def _row(self, row: Row, now: float) -> Text:
        tried = [f"attempt {row.attempt}"] if row.attempt > 1 else []
        if row.until is not None:
            waiting = f"attempt {row.attempt} in {max(0.0, row.until - now):.1f} s"
            return Text(self._fit(row.stage, [waiting]), style="yellow")
        return Text(self._fit(row.stage, [seconds(now - row.began), *amounts(row, now), *tried]))

    def _hashing(self, hashing: Hashing) -> Text:
        amount = f"{size(hashing.done)} of {size(hashing.total)}"
        room = self._console.size.width - len(f"hashing  {amount}") - 1
        path = near_path(hashing.path)
        path = path if cell_len(path) <= room else f"..{path[max(0, len(path) - room + 2) :]}"
        return Text(f"hashing {path}  {amount}", style="cyan", no_wrap=True, overflow="crop")

    def _fit(self, name: str, cells: list[str]) -> str:
        """Return a name and what is known of it, leaving out the last cells where the terminal is too narrow."""
        width = self._console.size.width - 1
        shown = printable(name)
        column = min(max(cell_len(shown), 8), _NAME_CELLS, max(8, width // 2))
        line = set_cell_size(shown, column) if cell_len(shown) <= column else f"{set_cell_size(shown, column - 2)}.."
        for cell in cells:
            if cell_len(line) + 2 + len(cell) > width:
                break
            line += f"  {cell}"
        return line


def amounts(row: Row, now: float) -> list[str]:
    """Return how far a stage is, of how much, and how fast, as far as its checkpoint and partials show it."""
    progress = read_progress(row.progress)
    lines = progress.line_offset if progress else None
    written = sum(_size(path) for path in row.partials)
    if row.first is None:
        row.first = (lines, written)  # what an earlier attempt did is not this one's speed
    spent = now - row.began
    cells = []
    if lines:
        cells.append(f"{lines:,} lines")
        done, rate = progress.byte_offset if progress else None, (lines - (row.first[0] or 0)) / max(spent, 0.001)
        if done and 0 < done <= row.input_bytes:
            cells.append(f"{done * 100 // row.input_bytes}%")
        speed = f"{rate:,.0f} lines/s"
    elif written:
        known = 0 < written <= row.input_bytes
        cells.append(f"{size(written)} of {size(row.input_bytes)}" if known else size(written))
        speed = f"{size((written - row.first[1]) / max(spent, 0.001))}/s"
    else:
        return []
    return [*cells, speed] if spent >= _RATE_PATIENCE else cells


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
