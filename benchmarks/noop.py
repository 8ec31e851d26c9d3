"""How long it takes to find that there is nothing to do, for many small stages and for one of many inputs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.bench import FULL, Bench
from benchmarks.bounds import SLOWER, SLOWER_MANY, Bound, added, fact, not_slower, ratio
from benchmarks.table import Table
from benchmarks.timing import Failed, Sample, note, timed
from benchmarks.tools import LEFT_OUT, Offpipe, Tool, laid_out
from benchmarks.work import Work, chain, many_inputs, wide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BARE = "bare interpreter"


def measure(bench: Bench) -> Iterator[Table]:
    small, middle, large = bench.sizes.noop
    for stages in bench.sizes.noop:
        for work in (wide(stages), chain(stages)):
            shown = f"no-op, {stages:,} stages, {work.shape}"
            samples, again, recorded = settled(bench, work)
            bounds = [recorded_bound(shown, recorded)]
            bounds += not_slower(samples, shown, SLOWER_MANY if stages == large else SLOWER)
            if stages == small:
                bounds.append(added(samples, f"1. {shown}: more than a bare interpreter", FULL, BARE, 25))
            if stages == middle:
                bounds.append(ratio(samples, f"1. {shown}: to ninja (3 is the goal)", FULL, "ninja", 4))
                bounds.append(ratio(samples, f"1. {shown}: to doit", FULL, "doit", 0.2))
            if stages == large:
                bounds.append(ratio(samples, f"1. {shown}: to ninja", FULL, "ninja", 1.5))
            yield Table(f"{shown}: nothing to do", samples, "ninja", with_memory=True, notes=again, bounds=bounds)
    yield _many(bench)


def _many(bench: Bench) -> Table:
    inputs = bench.sizes.inputs
    shown = f"no-op, one stage of {inputs:,} inputs"
    samples, again, recorded = settled(bench, many_inputs(inputs))
    bounds = [recorded_bound(shown, recorded), ratio(samples, f"4. {shown}: to doit", FULL, "doit", 0.3)]
    bounds += not_slower(samples, shown, SLOWER_MANY)
    return Table(f"{shown}: nothing to do", samples, "ninja", notes=again, bounds=bounds)


def recorded_bound(shown: str, recorded: bool) -> Bound:
    return fact(f"1. {shown}: every run leaves its audit log and its metrics", holds=recorded)


def settled(bench: Bench, work: Work) -> tuple[dict[str, Sample], list[str], bool]:
    """Time runs of work that is up to date; also return who did some again, and if the runner recorded each run."""
    trees: dict[Tool, Path] = {}
    notes = []
    for tool in bench.tools():
        if tool.is_for_first_runs:
            continue
        if len(work.steps) > tool.most:
            notes.append(f"{tool.name}: at most {tool.most:,} stages")
            continue
        note(f"bringing {len(work.steps):,} stages up to date with {tool.name}")
        tree = bench.tree(tool, f"{work.shape}-{len(work.steps)}")
        if why := _why_unsettled(tool, tree, work):
            notes.append(f"{tool.name}: {why}")
        else:
            trees[tool] = tree
    before = {tool: work.made(tree) for tool, tree in trees.items()}
    logged = {tree: _records(tree) for tool, tree in trees.items() if isinstance(tool, Offpipe)}
    cases: dict[str, Callable[[Sample], None]] = {BARE: lambda sample: sample.add(timed([sys.executable, "-c", ""]))}
    cases |= {tool.name: _again(tool, tree) for tool, tree in trees.items()}
    samples = bench.interleave(cases)
    for tool, tree in trees.items():
        if work.made(tree) != before[tool]:
            notes.append(f"{tool.name}: did some of it again")
    recorded = all(
        _records(tree) == (logs + bench.runs, metrics + bench.runs) for tree, (logs, metrics) in logged.items()
    )
    return samples, notes, recorded


def _why_unsettled(tool: Tool, tree: Path, work: Work) -> str:
    """Make a tree of work that is up to date; return why a peer must be left out, or an empty string."""
    try:
        if laid_out(tool, tree, work) is None:
            return LEFT_OUT
        tool.settle(tree, work)
    except Failed as error:
        if not tool.is_peer:
            raise
        return f"left out: it could not be brought up to date: {error}"
    return ""


def _again(tool: Tool, tree: Path) -> Callable[[Sample], None]:
    return lambda sample: sample.add(tool.run(tree))


def _records(tree: Path) -> tuple[int, int]:
    """Return the numbers of audit logs and of metrics files."""
    state = tree / "state"
    return len(list(state.glob("audit_2*.jsonl"))), len(list(state.glob("metrics_*.json")))
