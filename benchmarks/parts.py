"""Where the time of a stage goes: first runs of many `/bin/cp`, one at a time, with a stopwatch in the runner."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from benchmarks.machine import synced
from benchmarks.table import Table, spelled
from benchmarks.timing import CHECKOUT, Sample, Usage, timed
from benchmarks.tools import DURABILITIES, Offpipe, laid_out
from benchmarks.work import wide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.bench import Bench


WAITING = (
    "`waiting for stage and disk` is launcher, program, the end of both, and the thread that syncs what the stages "
    "before have made; cpu is that of the runner's main thread"
)


def measure(bench: Bench) -> Iterator[Table]:
    stages = bench.sizes.copies
    work = wide(stages)
    samples: dict[str, dict[str, Sample]] = {durability: {} for durability in DURABILITIES}
    fresh = {}
    for durability in DURABILITIES:
        tool = Offpipe(durability)
        fresh[durability] = [bench.tree(tool, str(number)) for number in range(bench.runs)]
        for tree in fresh[durability]:
            laid_out(tool, tree, work)
    wholes = bench.interleave({name: _case(fresh[name], samples[name], name, stages) for name in DURABILITIES})
    for durability, parts in samples.items():
        yield Table(
            f"parts of a stage, {durability}: {stages:,} of /bin/cp, -j1, all divided by the number of stages", parts,
            notes=[
                f"together {spelled(wholes[durability].median)} a stage",
                WAITING,
                synced(bench.place),
            ],
        )  # fmt: skip


def _case(fresh: list[Path], parts: dict[str, Sample], durability: str, stages: int) -> Callable[[Sample], None]:
    def run(sample: Sample) -> None:
        tree = fresh.pop()
        words = ["spec.json", "-q", "-j1", "--durability", durability]
        timed([sys.executable, CHECKOUT / "benchmarks/stopwatch.py", "parts.json", *words], tree)
        taken = json.loads((tree / "parts.json").read_bytes())
        sample.add(Usage(sum(seconds for seconds, _ in taken.values()) / stages, 0.0, 0))
        for name, (seconds, processor) in taken.items():
            parts.setdefault(name, Sample()).add(Usage(seconds / stages, processor / stages, 0))

    return run
