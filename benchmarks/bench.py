"""What every benchmark gets: where to work, how much, and beside which tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.timing import Sample, interleave, note
from benchmarks.tools import DURABILITIES, LEFT_OUT, Offpipe, Tool, laid_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.sizes import Sizes
    from benchmarks.work import Work

FULL, PROCESS = (f"offpipe, {durability}" for durability in DURABILITIES)


@dataclass(frozen=True)
class Bench:
    """The settings of a benchmark: its own directory, sizes, number of runs, and the other tools.

    Trees of many files stay until all is measured. An ext4 without a journal skips each inode that was freed in the
    last minute, or in the last six if that is not yet on the disk (RECENTCY_MIN and RECENTCY_DIRTY, fs/ext4/ialloc.c).
    So removing the files of one table would slow the tool that makes the most files in the next.
    """

    place: Path
    sizes: Sizes
    runs: int
    peers: Sequence[Tool]
    before: Path | None = None
    """A checkout of an earlier version of the runner, to be measured beside this one."""

    def tools(self, *, has_fresh: bool = False) -> list[Tool]:
        """Return the runner at both levels of durability, its earlier version if there is one, and the other tools."""
        codes = [None, self.before] if self.before else [None]
        kinds = (False, True) if has_fresh else (False,)
        ours = [
            Offpipe(durability, fresh=fresh, before=before)
            for fresh in kinds for before in codes for durability in DURABILITIES
        ]  # fmt: skip
        return [*ours, *self.peers]

    def interleave(self, cases: Mapping[str, Callable[[Sample], None]]) -> dict[str, Sample]:
        """Run cases in turn; another tool may fail, and if it is slow it runs only once."""
        may_fail = {tool.name for tool in self.peers}
        return interleave(cases, self.runs, patience=self.sizes.patience, may_fail=may_fail)

    def first_runs(self, tools: Iterable[Tool], work: Work, jobs: int) -> dict[str, Sample]:
        """Time first runs in turn, each in a tree of its own; a tool that is left out has a remark and no runs."""
        cases: dict[str, Callable[[Sample], None]] = {}
        left_out: dict[str, Sample] = {}
        note("writing the files to work on")
        for tool in tools:
            if jobs > 1 and not tool.has_jobs:
                left_out[tool.name] = Sample(remark="left out: it runs one stage at a time")
                continue
            trees = [laid_out(tool, self.tree(tool, f"{jobs}-{run}"), work) for run in range(self.runs)]
            if fresh := [tree for tree in trees if tree is not None]:
                cases[tool.name] = _first(tool, fresh, jobs)
            else:
                left_out[tool.name] = Sample(remark=LEFT_OUT)
        return self.interleave(cases) | left_out

    def tree(self, tool: Tool, name: str) -> Path:
        return self.place / tool.name.replace(", ", "-").replace(" ", "-") / name


def _first(tool: Tool, fresh: list[Path], jobs: int) -> Callable[[Sample], None]:
    return lambda sample: sample.add(tool.run(fresh.pop(), jobs))
