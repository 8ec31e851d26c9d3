"""How results are shown: the median, never the best run, and how far the runs lie apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.timing import Sample


@dataclass
class Table:
    """One comparison. `base` names the sample that the last column divides by; `notes` are printed below."""

    title: str
    samples: dict[str, Sample]
    base: str | None = None
    with_memory: bool = False
    notes: list[str] = field(default_factory=list)


def show(table: Table) -> None:
    width = max(len(name) for name in table.samples)
    head = f"{'':{width}}  {'median':>9}  {'min .. max':>19}  {'runs':>4}  {'cpu':>9}"
    head += f"  {'peak MiB':>8}" if table.with_memory else ""
    head += f"  x {table.base}" if table.base in table.samples else ""
    print(f"\n{table.title}\n{head}")
    for name, sample in table.samples.items():
        spread = f"{spelled(min(sample.seconds))} .. {spelled(max(sample.seconds))}"
        line = f"{name:{width}}  {spelled(sample.median):>9}  {spread:>19}  {len(sample.runs):>4}"
        line += f"  {spelled(sample.processor):>9}"
        line += f"  {sample.peak_text:>8}" if table.with_memory else ""
        if table.base in table.samples:
            line += f"  {sample.median / table.samples[table.base].median:.2f}"
        print(line)
    for text in table.notes:
        print(f"  {text}")
    print(end="", flush=True)


def spelled(seconds: float) -> str:
    """`1.234 s`, `12.3 ms`, `45 us`."""
    if seconds >= 1:
        return f"{seconds:.3f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"
