"""Many small stages: what the runner adds to a `/bin/cp`, beside other tools on the same files, at -j1 and -j2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.bench import FULL, PROCESS, Bench
from benchmarks.bounds import Bound, fact, not_slower, ratio
from benchmarks.machine import synced
from benchmarks.table import Table
from benchmarks.tools import ISOLATED
from benchmarks.work import wide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.timing import Sample

LEVEL = "kernel"


def measure(bench: Bench) -> Iterator[Table]:
    work = wide(bench.sizes.copies)
    for jobs in (1, 2):
        shown = f"{bench.sizes.copies:,} stages of /bin/cp, -j{jobs}"
        notes = [
            f"{synced(bench.place)}: what `full` waits for at least once a stage, and the others never",
            "only `full` survives a power cut",
        ]
        samples = bench.first_runs(bench.tools(), work, jobs)
        bounds = [*_bounds(samples, shown, jobs), isolated(bench, f"2. {shown}"), *not_slower(samples, shown)]
        yield Table(f"first run, {shown}: from nothing", samples, "ninja", notes=notes, bounds=bounds)


def _bounds(samples: dict[str, Sample], shown: str, jobs: int) -> list[Bound]:
    """No slower than ninja with equal isolation; at -j1 also 1.1 and 1.4 times ninja without any."""
    bounds = [ratio(samples, f"2. {shown}, process: to ninja in bwrap", PROCESS, ISOLATED, 1.0)]
    if jobs == 1:
        bounds.append(ratio(samples, f"2. {shown}, process: to ninja", PROCESS, "ninja", 1.1))
        bounds.append(ratio(samples, f"2. {shown}, full: to ninja", FULL, "ninja", 1.4))
    return bounds


def isolated(bench: Bench, shown: str) -> Bound:
    """Whether all runs that still have metrics were isolated at the best level."""
    levels = {
        json.loads(path.read_bytes()).get("isolation", {}).get("level")
        for path in bench.place.glob("offpipe-*/*/state/metrics_*.json")
    }
    return fact(f"{shown}: isolated at level {LEVEL}", holds=levels == {LEVEL})
