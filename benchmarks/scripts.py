"""Many stages in Python: what the runner saves by not starting an interpreter for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import FULL, PROCESS, Bench
from benchmarks.bounds import Bound, ratio, speedup
from benchmarks.copies import isolated
from benchmarks.machine import synced
from benchmarks.table import Table
from benchmarks.tools import DURABILITIES, Offpipe
from benchmarks.work import scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.timing import Sample

TIMES = {1: (4, 6), 2: (3, 4)}  # as fast as make and ninja, by jobs: full and process
FRESH = {durability: Offpipe(durability, fresh=True) for durability in DURABILITIES}


def measure(bench: Bench) -> Iterator[Table]:
    work = scripts(bench.sizes.scripts)
    for jobs in (1, 2):
        shown = f"{bench.sizes.scripts:,} Python stages, -j{jobs}"
        notes = [synced(bench.place), "all by the same interpreter, each stage imports json, re and pathlib"]
        samples = bench.first_runs(bench.tools(*FRESH.values()), work, jobs)
        bounds = [*_bounds(samples, shown, jobs), isolated(bench, f"3. {shown}")]
        yield Table(f"first run, {shown}: from nothing", samples, "ninja", notes=notes, bounds=bounds)


def _bounds(samples: dict[str, Sample], shown: str, jobs: int) -> list[Bound]:
    full, process = TIMES[jobs]
    bounds = []
    for peer in ("make", "ninja"):
        bounds.append(speedup(samples, f"3. {shown}, full: times as fast as {peer}", peer, FULL, full))
        bounds.append(speedup(samples, f"3. {shown}, process: times as fast as {peer}", peer, PROCESS, process))
    for durability, tool in FRESH.items():
        promise = f"3. {shown}, freshInterpreter, {durability}: to ninja"
        bounds.append(ratio(samples, promise, tool.name, "ninja", 1.15))
    return bounds
