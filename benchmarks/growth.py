"""Large pipelines: that time and memory grow with the number of stages, and not faster."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from benchmarks.table import Table
from benchmarks.timing import Sample, interleave, note, runner, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def measure(place: Path, *, runs: int, quick: bool) -> Iterator[Table]:
    sizes = (200, 2000) if quick else (1000, 10_000)
    for shape, shown in SHAPES.items():
        pipelines = [Pipeline(place / f"{shape.__name__}-{stages}", shape, stages) for stages in sizes]
        firsts = {f"first run (once), {one.stages:,} stages": one.first() for one in pipelines}
        cases: dict[str, Callable[[Sample], None]] = {}
        for verb in VERBS[1:]:
            cases |= {f"{verb}, {one.stages:,} stages": one.case(verb) for one in pipelines}
        samples = {**firsts, **interleave(cases, runs)}
        note_on_growth = _times_as_long(samples, sizes)
        yield Table(f"growth: {shown}", samples, with_memory=True, notes=[note_on_growth])
        for one in pipelines:
            shutil.rmtree(one.root)


def chain(number: int) -> tuple[str, str]:
    return (f"out/{number - 1}.txt" if number else "input.txt"), f"out/{number}.txt"


def fan(number: int) -> tuple[str, str]:
    return "input.txt", f"out/{number}.txt"


SHAPES = {chain: "a chain, each stage reads what the last one wrote", fan: "a fan, every stage reads the same input"}
VERBS = ("first run (once)", "validate", "plan", "no-op run")


def _times_as_long(samples: dict[str, Sample], sizes: tuple[int, int]) -> str:
    factors = []
    for verb in VERBS:
        small, large = (samples[f"{verb}, {stages:,} stages"].median for stages in sizes)
        factors.append(f"{verb} {large / small:.1f}")
    return f"{sizes[1] // sizes[0]} times the stages took so many times as long: {', '.join(factors)}"


class Pipeline:
    """Stages of `/bin/cp` in one shape; everything but the first run is measured in its up-to-date state."""

    def __init__(self, root: Path, shape: Callable[[int], tuple[str, str]], stages: int) -> None:
        self.root = root
        self.stages = stages
        root.mkdir()
        (root / "input.txt").write_text("a line\n")
        listed = []
        for number in range(stages):
            source, target = shape(number)
            command = ["/bin/cp", "{inputs.it}", "{outputs.it}"]
            listed.append(
                {"name": f"s{number}", "command": command, "inputs": {"it": source}, "outputs": {"it": target}}
            )
        self.spec = root / "spec.json"
        self.spec.write_text(json.dumps({"specVersion": 1, "name": "growth", "stages": listed}))

    def first(self) -> Sample:
        """Bring it up to date, once: what all other cases need."""
        note(f"first run of {self.stages:,} stages")
        sample = Sample()
        sample.add(timed(runner(self.spec, "-q", "--durability", "process")))
        note("")
        return sample

    def case(self, verb: str) -> Callable[[Sample], None]:
        words = {
            "validate": ["validate", self.spec],
            "plan": ["plan", self.spec],
            "no-op run": [self.spec, "-q", "--durability", "process"],
        }[verb]
        return lambda sample: sample.add(timed(runner(*words)))
