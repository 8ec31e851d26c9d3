"""Draws the live display at the foot of a terminal: a row for each running stage. Only this module imports rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO, cast

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live as RichLive
from rich.text import Text

from runner.display.text import near_path, printable, seconds, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.display.streams import Stream
    from runner.display.view import Hashing, Row, View

_NAME_LEAST, _NAME_MOST = 8, 28
_SECONDS = 8
_HASHING_SHOWN = 0.3


class Live:
    """The rows at the foot of the terminal. The caller catches every exception: a display must not end a run."""

    def __init__(self, stderr: Stream) -> None:
        self._console = Console(
            file=cast(TextIO, stderr), force_terminal=True, highlight=False, markup=False, emoji=False
        )
        self._live = RichLive(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False,
            vertical_overflow="crop",
        )  # fmt: skip
        self._column = _NAME_LEAST
        self._live.start()

    def draw(self, view: View, now: float, lines: Sequence[tuple[str, bool]]) -> None:
        """Print new lines (text, and whether it is bad news), and below them the rows."""
        self._live.update(Text("\n").join(self._rows(view, now)))
        if lines:
            above = [Text(text, style="bold red" if bad else "") for text, bad in lines]
            self._console.print(Text("\n").join(above), soft_wrap=True)  # which draws the rows again, below
        else:
            self._live.refresh()

    def _rows(self, view: View, now: float) -> list[Text]:
        """Return as many rows as fit, then what is being hashed and how many stages are done."""
        rows = list(view.rows.values())
        column = max([_NAME_LEAST, *(cell_len(row.stage) for row in rows), cell_len(view.pipeline)])
        self._column = min(column, _NAME_MOST, max(_NAME_LEAST, self._console.size.width // 2))
        hashing = now - view.hashing.latest < _HASHING_SHOWN
        room = max(1, self._console.size.height - 2 - hashing)
        lines = [self._row(row, now) for row in rows[: room if len(rows) <= room else room - 1]]
        if len(lines) < len(rows):
            lines.append(Text(f"and {len(rows) - len(lines)} more", style="dim"))
        if hashing:
            lines.append(self._hashing(view.hashing))
        if view.stages:
            cells = [f"{seconds(now - view.began):>{_SECONDS}}", f"{view.ended} of {view.stages} done"]
            lines.append(Text(self._fit(view.pipeline, cells), style="dim"))
        return lines

    def stop(self) -> None:
        """Remove the rows and show the cursor again."""
        self._live.stop()

    def _row(self, row: Row, now: float) -> Text:
        tried = [f"attempt {row.attempt}"] if row.attempt > 1 else []
        if row.until is not None:
            waiting = f"{max(0.0, row.until - now):>{_SECONDS - 2}.1f} s  until attempt {row.attempt}"
            return Text(self._fit(row.stage, [waiting]), style="yellow")
        spent = f"{seconds(now - row.began):>{_SECONDS}}"
        return Text(self._fit(row.stage, [spent, *row.amounts(now), *tried]))

    def _hashing(self, hashing: Hashing) -> Text:
        amount = f"{size(hashing.done)} of {size(hashing.total)}"
        room = self._console.size.width - len(f"hashing  {amount}") - 1
        path = near_path(hashing.path)
        path = path if cell_len(path) <= room else f"..{path[max(0, len(path) - room + 2) :]}"
        return Text(f"hashing {path}  {amount}", style="cyan", no_wrap=True, overflow="crop")

    def _fit(self, name: str, cells: list[str]) -> str:
        """Return a name and what is known of it, leaving out the last cells where the terminal is too narrow."""
        shown = printable(name)
        fits = cell_len(shown) <= self._column
        line = set_cell_size(shown, self._column) if fits else f"{set_cell_size(shown, self._column - 2)}.."
        for cell in cells:
            if cell_len(line) + 2 + len(cell) >= self._console.size.width:
                break
            line += f"  {cell}"
        return line
