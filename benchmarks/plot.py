"""Draws a table as SVG for light and dark backgrounds: a dot for each median, a line from the least to the most."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from benchmarks.table import spelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.table import Table

ROW, TOP, BOTTOM = 24, 44, 30
LETTER = 6.6  # pixels: the mean width of the widest letters
PLOT, RIGHT = 400, 80
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.tick, .value { font-size: 11px; fill: #57606a }
.grid { stroke: #d0d7de }
.spread { stroke: #57606a; stroke-width: 2; stroke-linecap: round }
.ours { fill: #0969da }
.peer { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .tick, .value { fill: #9198a1 }
  .grid { stroke: #3d444d }
  .spread { stroke: #9198a1 }
  .ours { fill: #4493f8 }
  .peer { fill: #6e7681 }
}
"""


def picture(table: Table) -> str:
    """Return the SVG of a table. The scale is logarithmic if the largest time is over five times the least."""
    times = [seconds for sample in table.samples.values() for seconds in sample.seconds]
    scale = Scale(min(times), max(times))
    left = 24 + LETTER * max(map(len, table.samples))
    width, bottom = left + PLOT + RIGHT, TOP + ROW * len(table.samples)
    parts = [f'<text class="title" x="12" y="20">{escape(table.title)}</text>']
    for tick in scale.ticks():
        x = left + PLOT * scale.place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_short(tick)}</text>')
    for number, (name, sample) in enumerate(table.samples.items()):
        y = TOP + ROW * number + ROW / 2 - 4
        least, middle, most = (
            left + PLOT * scale.place(at) for at in (min(sample.seconds), sample.median, max(sample.seconds))
        )
        kind = "ours" if name.startswith(("offpipe", "stage_upper")) else "peer"
        parts += [
            f'<text x="{left - 10:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>',
            f'<line class="spread" x1="{least:.1f}" x2="{most:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<circle class="{kind}" cx="{middle:.1f}" cy="{y:.1f}" r="5"/>',
            f'<text class="value" x="{most + 9:.1f}" y="{y + 4:.1f}">{spelled(sample.median)}</text>',
        ]
    width = max(width, 24 + LETTER * 1.1 * len(table.title))
    box = f"{math.ceil(width)} {bottom + BOTTOM}"
    size = f'width="{math.ceil(width)}" height="{bottom + BOTTOM}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {box}" {size} role="img">'
    return "\n".join([head, f"<title>{escape(table.title)}</title>", f"<style>{STYLE}</style>", *parts, "</svg>", ""])


class Scale:
    """Maps seconds to places between 0 and 1."""

    def __init__(self, least: float, most: float) -> None:
        self._is_logarithmic = most > 5 * least
        if self._is_logarithmic:
            self._from, self._to = math.log10(least) - 0.1, math.log10(most) + 0.02
        else:
            self._from, self._to = 0.0, most * 1.02

    def place(self, seconds: float) -> float:
        value = math.log10(seconds) if self._is_logarithmic else seconds
        return (value - self._from) / (self._to - self._from)

    def ticks(self) -> Sequence[float]:
        """Return round values: 1, 2 and 5 times each power of ten, or only the powers if there are many."""
        if not self._is_logarithmic:
            step = 10 ** math.floor(math.log10(self._to))
            step = next(size for size in (step / 5, step / 2, step, step * 2) if self._to / size <= 6)
            return [number * step for number in range(int(self._to / step) + 1)]
        powers = range(math.floor(self._from), math.ceil(self._to) + 1)
        marks = (1, 2, 5) if self._to - self._from < 2 else (1,)
        every = [mark * 10.0**power for power in powers for mark in marks]
        return [tick for tick in every if self._from <= math.log10(tick) <= self._to]


def _short(seconds: float) -> str:
    if seconds == 0:
        return "0"
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor * (1 - 1e-9):
            return f"{seconds / factor:g} {unit}"
    return f"{seconds / 1e-9:g} ns"
