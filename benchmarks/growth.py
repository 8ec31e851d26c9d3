"""Large pipelines: time and memory must not grow faster than the number of stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bounds import Bound, judged
from benchmarks.table import Table
from benchmarks.timing import Sample, note, runner, timed
from benchmarks.tools import Offpipe, laid_out
from benchmarks.work import Work, chain, wide

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from benchmarks.bench import Bench

RUN, LOAD, PLAN, NOOP = "run", "load", "plan", "no-op"
WORDS = {
    RUN: ["spec.json", "-q", "--durability", "process"],
    LOAD: ["validate", "spec.json"],
    PLAN: ["plan", "spec.json"],
    NOOP: ["spec.json", "-q", "--durability", "process"],
}
KIB = 4  # memory per stage, beyond that of the loaded spec


def measure(bench: Bench) -> Iterator[Table]:
    small, large = bench.sizes.growth
    for shape in (wide, chain):
        pipelines = {
            stages: Pipeline(bench.place / f"{shape.__name__}-{stages}", shape(stages)) for stages in (small, large)
        }
        for pipeline in pipelines.values():
            pipeline.lay_out(bench.runs)
        runs = {_name(RUN, stages): prepared.case(RUN) for stages, prepared in pipelines.items()}
        samples = bench.interleave(runs)
        for prepared in pipelines.values():
            prepared.case(NOOP)(Sample())  # leaves the record that the next no-ops read
        verbs = {
            _name(verb, stages): prepared.case(verb)
            for verb in (LOAD, PLAN, NOOP)
            for stages, prepared in pipelines.items()
        }
        samples |= bench.interleave(verbs)
        shown = f"{shape.__name__}, {small:,} and {large:,} stages"
        bounds = [*_times(samples, shown, small, large), *_memory(samples, shown, small, large)]
        notes = [
            f"load is `validate`; memory is what a verb takes beyond load, which takes {_loaded(samples, small, large)}"
        ]
        yield Table(f"growth, {shown}: by the stage", samples, with_memory=True, notes=notes, bounds=bounds)


def _name(verb: str, stages: int) -> str:
    return f"offpipe {verb}, {stages:,} stages"


def _times(samples: Mapping[str, Sample], shown: str, small: int, large: int) -> Iterator[Bound]:
    for verb in WORDS:
        few, many = samples[_name(verb, small)], samples[_name(verb, large)]
        rounds = [(two / large) / (one / small) for one, two in zip(few.seconds, many.seconds, strict=True)]
        value = (many.median / large) / (few.median / small)
        promise = f"7. {shown}: {verb}, time a stage"
        yield judged(promise, value, 1.3, low=min(rounds), high=max(rounds), unit="x")


def _memory(samples: Mapping[str, Sample], shown: str, small: int, large: int) -> Iterator[Bound]:
    loaded = _a_stage(samples, LOAD, small, large)
    for verb in (PLAN, RUN, NOOP):
        more = _a_stage(samples, verb, small, large) - loaded
        yield judged(f"7. {shown}: {verb}, memory a stage beyond the spec", more, KIB, unit="KiB", digits=1)


def _a_stage(samples: Mapping[str, Sample], verb: str, small: int, large: int) -> float:
    """Return how many KiB the peak grows per stage."""
    return (samples[_name(verb, large)].peak - samples[_name(verb, small)].peak) / (large - small) / 1024


def _loaded(samples: Mapping[str, Sample], small: int, large: int) -> str:
    return f"{_a_stage(samples, LOAD, small, large):.1f} KiB a stage"


class Pipeline:
    """Trees of the same work: one for each first run. The last one is then up to date for all other verbs."""

    def __init__(self, root: Path, work: Work) -> None:
        self._root = root
        self._work = work
        self._fresh: list[Path] = []
        self._last = root

    def lay_out(self, trees: int) -> None:
        note(f"writing {len(self._work.steps):,} stages")
        tool = Offpipe("process")
        for number in range(trees):
            tree = self._root / str(number)
            laid_out(tool, tree, self._work)
            self._fresh.append(tree)

    def case(self, verb: str) -> Callable[[Sample], None]:
        def run(sample: Sample) -> None:
            if verb == RUN:
                self._last = self._fresh.pop()
            sample.add(timed(runner(*WORDS[verb]), self._last))

        return run
