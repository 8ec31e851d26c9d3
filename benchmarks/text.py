"""Bulk text: stage_upper with its checkpoints, beside the loop that anybody would write first."""

from __future__ import annotations

import json
import random
import shutil
import sys
from typing import TYPE_CHECKING

from benchmarks.table import Table, spelled
from benchmarks.timing import Sample, Usage, interleave, note, runner, timed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVERY_LINES = 10_000
LOOP = """
import sys
text = {"encoding": "utf-8", "newline": ""}
with open(sys.argv[1], **text) as source, open(sys.argv[2], "w", **text) as to:
    for line in source:
        to.write(line.upper())
"""
# Some one letter in forty is not ASCII: French and German with a little of the rest of the world.
WORDS = (
    "the pipeline reads lines and writes them again in upper case while a checkpoint says how far it came "
    "un été à la façade du café où naît l'idée über größere Wälder führt der Weg zurück naïve señor 日本 наука"
).split()


def measure(place: Path, *, runs: int, quick: bool) -> Iterator[Table]:
    size = 64 << 20 if quick else 1 << 30
    bench = Bench(place / "text", size)
    whole = Sample()
    cases = {"plain text loop": bench.loop, "stage_upper": lambda sample: bench.stage(sample, whole)}
    samples = interleave(cases, runs)
    samples["the whole run around stage_upper"] = whole
    first = samples["stage_upper"].median
    yield Table(
        f"{size >> 20:,} MiB of UTF-8 text to upper case, {bench.lines:,} lines",
        samples, "plain text loop", with_memory=True,
        notes=[
            f"stage_upper commits every {EVERY_LINES:,} lines, {bench.lines // EVERY_LINES:,} times",
            f"a kill repeats at most that much of its work, about {spelled(first * EVERY_LINES / bench.lines)}",
            "the whole run also hashes input and output and publishes; its peak is the runner's own",
        ],
    )  # fmt: skip
    shutil.rmtree(bench.root)


class Bench:
    """The input, and the two ways to its upper case; what they wrote is compared after the first time."""

    def __init__(self, root: Path, size: int) -> None:
        self.root = root
        root.mkdir()
        self.source = root / "input.txt"
        self.lines = write_text(self.source, size)
        self._compared = False
        stage = {
            "name": "upper", "processor": "offpipe:stage_upper.py", "checkpoint": {"everyLines": EVERY_LINES},
            "inputs": {"text": "input.txt"}, "outputs": {"text": "upper.txt"},
        }  # fmt: skip
        self.spec = root / "spec.json"
        self.spec.write_text(json.dumps({"specVersion": 1, "name": "text", "stages": [stage]}))

    def loop(self, sample: Sample) -> None:
        output = self.root / "loop.txt"
        output.unlink(missing_ok=True)
        sample.add(timed([sys.executable, "-c", LOOP, self.source, output]))

    def stage(self, sample: Sample, whole: Sample) -> None:
        for name in ("state", "locks"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / "upper.txt").unlink(missing_ok=True)
        whole.add(timed(runner(self.spec, "-q")))
        metrics = json.loads(next((self.root / "state").glob("metrics_*.json")).read_bytes())
        attempt = metrics["stages"]["upper"]["attempts"][0]
        sample.add(Usage(attempt["seconds"], attempt["cpuSeconds"], attempt["maxRssBytes"]))
        if not self._compared:
            self._compared = True
            timed(["cmp", self.root / "loop.txt", self.root / "upper.txt"])


def write_text(path: Path, size: int) -> int:
    """Write lines of words, of 20 to 120 bytes, until `size` is reached; returns their number. Always the same text."""
    note(f"writing {size >> 20:,} MiB of text")
    chance = random.Random(1)
    block = "".join(" ".join(chance.choices(WORDS, k=chance.randint(3, 17))) + "\n" for _ in range(50_000)).encode()
    times, rest = divmod(size, len(block))
    end = block.rfind(b"\n", 0, rest) + 1
    with path.open("wb") as file:
        for _ in range(times):
            file.write(block)
        file.write(block[:end])
    return times * 50_000 + block[:end].count(b"\n")
