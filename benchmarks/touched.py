"""A large input with a new time stamp and the same bytes: its content is read once, and then no more."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from benchmarks.bench import FULL, Bench
from benchmarks.bounds import Bound, fact, not_slower, ratio
from benchmarks.table import Table
from benchmarks.timing import Failed, Sample, note
from benchmarks.tools import LEFT_OUT, laid_out
from benchmarks.work import one_large

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.tools import Tool

TOUCHED, AFTER, UNTOUCHED = "touched", "the run after", "before it was touched"
BLOCK = 1 << 20
MOMENT = 0.05  # seconds between two commands: a clock may not tell closer ones apart


def measure(bench: Bench) -> Iterator[Table]:
    large = bench.place / "large"
    _write(large, bench.sizes.touched)
    all_lines = [Line(tool, bench.tree(tool, "large")) for tool in bench.tools() if not tool.is_for_first_runs]
    left_out = {line: why for line in all_lines if (why := line.why_not_ready(large))}
    lines = [line for line in all_lines if line not in left_out]
    timed = bench.interleave({line.tool.name: line.run for line in lines})
    samples = {f"{line.tool.name}: {what}": line.samples[what] for line in lines for what in line.samples}
    again = [
        f"{line.tool.name}: the stage ran again in {line.runs_again} of {len(line.samples[TOUCHED].runs)} runs"
        for line in lines
    ]
    again += [f"{line.tool.name}: {why}" for line, why in left_out.items()]
    again += [f"{name}: {sample.remark}" for name, sample in timed.items() if sample.remark]
    shown = f"{bench.sizes.touched:,} MiB of input touched"
    bounds = [*_bounds(lines, samples, shown), *not_slower(samples, shown)]
    yield Table(f"{shown}: not changed", samples, notes=again, bounds=bounds)
    shutil.rmtree(bench.place)


class Line:
    """One tool with its tree, and a sample for each kind of run."""

    def __init__(self, tool: Tool, tree: Path) -> None:
        self.tool = tool
        self.samples = {what: Sample() for what in (UNTOUCHED, TOUCHED, AFTER)}
        self.runs_again = 0
        self._tree = tree
        self._work = one_large()

    def why_not_ready(self, large: Path) -> str:
        """Bring the tree up to date, with a link to the large file as input; return why a peer must be left out."""
        note(f"bringing {self.tool.name} up to date")
        try:
            if laid_out(self.tool, self._tree, self._work) is None:
                return LEFT_OUT
            (self._tree / "in/0.txt").unlink()
            os.link(large, self._tree / "in/0.txt")
            self.tool.settle(self._tree, self._work)
        except Failed as error:
            if not self.tool.is_peer:
                raise
            return f"left out: it could not be brought up to date: {error}"
        return ""

    def run(self, sample: Sample) -> None:
        """Time three runs, of which the second finds a new time stamp; `sample` gets that one, too."""
        self.tool.run(self._tree)  # unmeasured: other tools have touched the linked file
        self.samples[UNTOUCHED].add(self.tool.run(self._tree))
        before = self._work.made(self._tree)
        os.utime(self._tree / "in/0.txt")
        time.sleep(MOMENT)
        usage = self.tool.run(self._tree)
        self.samples[TOUCHED].add(usage)
        sample.add(usage)
        self.runs_again += self._work.made(self._tree) != before
        self.samples[AFTER].add(self.tool.run(self._tree))


def _bounds(lines: list[Line], samples: dict[str, Sample], shown: str) -> Iterator[Bound]:
    ours = next(line for line in lines if line.tool.name == FULL)
    yield fact(f"4. {shown}: no stage is run again", holds=ours.runs_again == 0)
    yield ratio(samples, f"4. {shown}: to doit", f"{FULL}: {TOUCHED}", f"doit: {TOUCHED}", 0.55)
    # At the cost of stat: at most a fifth more than a run before which nothing was touched.
    yield ratio(samples, f"4. {shown}, the run after: to one before", f"{FULL}: {AFTER}", f"{FULL}: {UNTOUCHED}", 1.2)


def _write(path: Path, mebibytes: int) -> None:
    note(f"writing {mebibytes:,} MiB")
    path.parent.mkdir(parents=True, exist_ok=True)
    block = os.urandom(BLOCK)
    with path.open("wb") as file:
        for number in range(mebibytes):
            file.write(number.to_bytes(8, "little") + block[8:])
