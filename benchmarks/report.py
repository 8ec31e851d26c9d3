"""Writes the results: one table of medians with their range, and one picture of it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.picture import LETTERS, picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.rows import Row

NAME = "benchmark-results"
INTRODUCTION = """\
# Benchmark results

[How this is measured, and what to read from it](benchmarks.md). Each cell has the median of all rounds, with the least
and the most. `python -m benchmarks` wrote this page.
"""


def write(to: Path, about: Sequence[str], rows: Sequence[Row]) -> Path:
    """Write page and picture into a directory; return the path of the page."""
    to.mkdir(parents=True, exist_ok=True)
    (to / f"{NAME}.svg").write_text(picture(rows), encoding="utf-8")
    path = to / f"{NAME}.md"
    facts = "\n".join(f"- {line}" for line in about)
    image = f"![A dot for each median, on a logarithmic scale]({NAME}.svg)"
    path.write_text(f"{INTRODUCTION}\n{facts}\n\n{image}\n\n{table(rows)}\n", encoding="utf-8")
    return path


def table(rows: Sequence[Row]) -> str:
    """Return the table, in Markdown, and the remarks on each row below it."""
    columns = columns_of(rows)
    lines = [["", *columns], ["---", *(["--:"] * len(columns))]]
    lines += [[row.what, *(cell(row.times.get(column, [])) for column in columns)] for row in rows]
    remarks = [f"- {row.what}: {remark}" for row in rows for remark in row.remarks]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ([""] if remarks else []) + remarks)


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return the names of all tools that were measured, in the order of the picture."""
    return [name for name in LETTERS if any(name in row.times for row in rows)]


def cell(seconds: Sequence[float]) -> str:
    """Return the median and the range of some times, as text."""
    if not seconds:
        return ""
    if len(seconds) == 1:
        return f"{spelled(seconds[0])} (once)"
    return f"{spelled(statistics.median(seconds))} ({spelled(min(seconds))} .. {spelled(max(seconds))})"


def spelled(seconds: float) -> str:
    """Return `12.3 s`, `1.23 s` or `12 ms`."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s"
