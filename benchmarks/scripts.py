"""Many stages in Python: what the runner saves by not starting an interpreter for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import FULL, PROCESS, Bench
from benchmarks.bounds import SLOWER_FORKED, Bound, not_slower, ratio, speedup
from benchmarks.copies import isolated
from benchmarks.machine import synced
from benchmarks.table import Table
from benchmarks.tools import DURABILITIES, ISOLATED
from benchmarks.work import scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.timing import Sample

TIMES = 4  # as fast as make and ninja, at -j1
FRESH = "fresh interpreters"


def measure(bench: Bench) -> Iterator[Table]:
    work = scripts(bench.sizes.scripts)
    for jobs in (1, 2):
        shown = f"{bench.sizes.scripts:,} Python stages, -j{jobs}"
        notes = [synced(bench.place), "all by the same interpreter, each stage imports json, re and pathlib"]
        samples = bench.first_runs(bench.tools(has_fresh=True), work, jobs)
        bounds = [*_bounds(samples, shown, jobs), isolated(bench, f"3. {shown}")]
        yield Table(f"first run, {shown}: from nothing", samples, "ninja", notes=notes, bounds=bounds)


def _bounds(samples: dict[str, Sample], shown: str, jobs: int) -> list[Bound]:
    """No slower than ninja with equal isolation; at -j1 also much faster than make and ninja without any."""
    bounds = [ratio(samples, f"3. {shown}, process: to ninja in bwrap", PROCESS, ISOLATED, 1.0)]
    fresh = {name: sample for name, sample in samples.items() if FRESH in name}
    forked = {name: sample for name, sample in samples.items() if FRESH not in name}
    bounds += not_slower(forked, shown, SLOWER_FORKED) + not_slower(fresh, shown)
    for durability, ours in zip(DURABILITIES, (FULL, PROCESS), strict=True):
        if jobs == 1:
            bounds += [
                speedup(samples, f"3. {shown}, {durability}: times as fast as {peer}", peer, ours, TIMES)
                for peer in ("make", "ninja")
            ]
        peer, limit = ("ninja", 1.15) if jobs == 1 else (ISOLATED, 1.0)
        promise = f"3. {shown}, freshInterpreter, {durability}: to {peer}"
        bounds.append(ratio(samples, promise, f"{ours}, {FRESH}", peer, limit))
    return bounds
