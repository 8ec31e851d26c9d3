"""Writes the report in docs/: what must hold, every table with its picture, and all runs as JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from benchmarks.plot import picture
from benchmarks.table import UNJUDGED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.bounds import Bound
    from benchmarks.table import Table

NAME = "benchmark-results"
LEGEND = (
    '`x` is a ratio of times, of which less is better, unless the row says "times as fast": there more is. '
    "1. to 8. are the promises that [the page for maintainers](internals/benchmarks.md#what-must-hold) numbers alike."
)


def write(to: Path, about: Sequence[str], tables: Sequence[Table]) -> Path:
    """Write the report below a directory, in place of an earlier one; return its path."""
    to.mkdir(parents=True, exist_ok=True)
    for old in to.glob(f"{NAME}-*.svg"):
        old.unlink()
    parts = ["# Benchmark results\n", "[What is measured, and how](benchmarks.md); "]
    parts[-1] += f"[every single run]({NAME}.json). Medians, with the least and the most of all runs.\n"
    parts += ["```", *about, "```\n", "## What must hold\n", *_bounds(tables)]
    for number, table in enumerate(tables, 1):
        image = f"{NAME}-{number:02d}-{_slug(table.title)}.svg"
        if table.samples:
            (to / image).write_text(picture(table), encoding="utf-8")
        parts += [f"\n## {table.title}\n", *([f"![{table.title}]({image})\n"] if table.samples else [])]
        parts += [*_markdown(table.head(), list(table.rows()), to_the_right=True), ""]
        parts += [f"- {text}" for text in table.notes]
    path = to / f"{NAME}.md"
    path.write_text("\n".join([*parts, ""]), encoding="utf-8")
    (to / f"{NAME}.json").write_text(json.dumps(_raw(about, tables), indent=1) + "\n", encoding="utf-8")
    return path


def _bounds(tables: Sequence[Table]) -> list[str]:
    if not any(table.bounds for table in tables):
        return [f"Nothing is judged here: {UNJUDGED}."]
    bounds = sorted(
        (bound for table in tables for bound in table.bounds), key=lambda bound: bound.promise.partition(" ")[0]
    )
    kept = [bound for bound in bounds if bound.holds]
    broken = [bound for bound in bounds if bound.holds is False]
    unknown = len(bounds) - len(kept) - len(broken)
    first = f"{len(kept)} of {len(bounds)} hold{f', {unknown} could not be measured' if unknown else ''}"
    if not broken:
        return [f"{first}. {LEGEND}\n", *_verdicts(bounds)]
    others = [bound for bound in bounds if bound not in broken]
    return [f"{first}; these do not:\n", *_verdicts(broken), f"\n{LEGEND}\n", "The others:\n", *_verdicts(others)]


def _verdicts(bounds: Sequence[Bound]) -> list[str]:
    rows = [[row.promise, row.measured, row.bound, row.verdict] for row in bounds]
    return _markdown(["what", "measured", "bound", ""], rows)


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], *, to_the_right: bool = False) -> list[str]:
    rule = ["---", *(["--:" if to_the_right else "---"] * (len(head) - 1))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower().split(":")[0]).strip("-")[:40]


def _raw(about: Sequence[str], tables: Sequence[Table]) -> dict[str, object]:
    return {
        "about": list(about),
        "tables": [
            {
                "title": table.title,
                "runs": {
                    name: [[round(run.seconds, 6), round(run.processor, 6), run.peak] for run in sample.runs]
                    for name, sample in table.samples.items()
                },
                "columns": ["seconds", "cpu seconds", "peak bytes"],
                "bounds": [[row.promise, row.measured, row.bound, row.verdict] for row in table.bounds],
            }
            for table in tables
        ],
    }
