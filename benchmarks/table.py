"""Shows results: the median, never the best run, and the spread of the runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bounds import Bound
    from benchmarks.timing import Sample

UNJUDGED = "bounds are for full sizes"


@dataclass
class Table:
    """One comparison. `base` names the sample that the last column divides by; `notes` are printed below."""

    title: str
    samples: dict[str, Sample]
    base: str | None = None
    with_memory: bool = False
    notes: list[str] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notes += [f"{name}: {sample.remark}" for name, sample in self.samples.items() if sample.remark]
        self.samples = {name: sample for name, sample in self.samples.items() if sample.runs}

    def leave_unjudged(self) -> None:
        """Replace the verdicts by a note: with less work, the fixed costs alone may break a bound."""
        if self.bounds:
            self.notes.append(UNJUDGED)
            self.bounds = []

    def head(self) -> list[str]:
        columns = ["", "median", "min .. max", "runs", "cpu"]
        columns += ["peak MiB"] if self.with_memory else []
        return columns + ([f"x {self.base}"] if self.base in self.samples else [])

    def rows(self) -> Iterator[list[str]]:
        for name, sample in self.samples.items():
            spread = f"{spelled(min(sample.seconds))} .. {spelled(max(sample.seconds))}"
            row = [name, spelled(sample.median), spread, str(len(sample.runs)), spelled(sample.processor)]
            row += [sample.peak_text] if self.with_memory else []
            if self.base in self.samples:
                row.append(f"{sample.median / self.samples[self.base].median:.2f}")
            yield row


def show(table: Table) -> None:
    print(f"\n{table.title}")
    for line in aligned([table.head(), *table.rows()]):
        print(line)
    for text in table.notes:
        print(f"  {text}")
    for bound in table.bounds:
        print(f"  {bound.promise}: {bound.measured}; {bound.bound}: {bound.verdict}")
    print(end="", flush=True)


def aligned(rows: list[list[str]]) -> list[str]:
    """Return lines of equal columns, the first aligned to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"{first:<{widths[0]}}", *cells]))
    return lines


def spelled(seconds: float) -> str:
    """`1.234 s`, `12.3 ms`, `45 us`."""
    if seconds >= 1:
        return f"{seconds:.3f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"
