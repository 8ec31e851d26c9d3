"""Draws the table as SVG, for light and dark backgrounds: a dot for each median, with the letter of its tool."""

from __future__ import annotations

import math
import statistics
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.rows import Row

LETTERS = {
    "offpipe": "O",
    "make": "M",
    "ninja": "N",
    "ninja in bwrap": "B",
    "doit": "D",
    "snakemake": "S",
    "plain Python": "P",
}
LEFT, PLOT, RIGHT = 260, 560, 24
TOP, ROW, LANE, RADIUS = 52, 12, 20, 9
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.tick, .key { font-size: 11px; fill: #57606a }
.grid { stroke: #d0d7de }
.dot { fill: #8c959f }
.ours { fill: #0969da }
.letter { font-size: 10px; font-weight: 600; fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .tick, .key { fill: #9198a1 }
  .grid { stroke: #3d444d }
  .dot { fill: #6e7681 }
  .ours { fill: #1f6feb }
}
"""


def picture(rows: Sequence[Row]) -> str:
    """Return the SVG of a table. The scale is logarithmic."""
    medians = [{name: statistics.median(seconds) for name, seconds in row.times.items()} for row in rows]
    every = [seconds for row in medians for seconds in row.values()]
    first, last = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every) * 1.01))

    def place(seconds: float) -> float:
        return LEFT + PLOT * (math.log10(seconds) - first) / (last - first)

    dots, bottom = [], float(TOP)
    for row, times in zip(rows, medians, strict=True):
        lanes = laned({name: place(seconds) for name, seconds in times.items()})
        middle = bottom + ROW / 2 + LANE * (1 + max(lanes.values(), default=0)) / 2
        dots.append(_text(LEFT - 14, middle + 4, row.what, "", "end"))
        for name, lane in lanes.items():
            x, y = place(times[name]), bottom + ROW / 2 + LANE * (lane + 0.5)
            kind = "dot ours" if name == "offpipe" else "dot"
            dots.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}"/>')
            dots.append(_text(x, y + 3.5, LETTERS[name], "letter", "middle"))
        bottom += ROW + LANE * (1 + max(lanes.values(), default=0))
    grid = []
    for power in range(first, last + 1):
        x = place(10.0**power)
        grid.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom:.1f}"/>')
        shown = f"{10.0**power:g} s" if power >= 0 else f"{10.0 ** (power + 3):g} ms"
        grid.append(_text(x, bottom + 16, shown, "tick", "middle"))
    key = "   ".join(f"{letter} {name}" for name, letter in LETTERS.items() if any(name in row for row in medians))
    size = f"{LEFT + PLOT + RIGHT} {math.ceil(bottom) + 28}"
    width, height = size.split()
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{width}" height="{height}" role="img">'
    title = "<title>Median time of each tool, on a logarithmic scale</title>"
    parts = [head, title, f"<style>{STYLE}</style>", _text(LEFT, 24, key, "key", "start"), *grid, *dots, "</svg>", ""]
    return "\n".join(parts)


def laned(places: dict[str, float]) -> dict[str, int]:
    """Return a lane for each dot of a row, so that none covers another."""
    ends: list[float] = []  # of each lane: its last dot
    lanes: dict[str, int] = {}
    for name, x in sorted(places.items(), key=lambda item: item[1]):
        lane = next((lane for lane, end in enumerate(ends) if x - end >= 2 * RADIUS), len(ends))
        ends[lane : lane + 1] = [x]
        lanes[name] = lane
    return lanes


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" xml:space="preserve"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'
