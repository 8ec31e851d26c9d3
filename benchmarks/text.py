"""Bulk text: stage_upper with its checkpoints, beside the loop that anybody would write first."""

from __future__ import annotations

import json
import random
import shutil
import sys
from typing import TYPE_CHECKING

from benchmarks.bounds import judged, speedup
from benchmarks.table import Table
from benchmarks.timing import Sample, Usage, note, runner, timed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bench import Bench

EVERY_LINES = 10_000
LOOP_NAME, STAGE = "plain text loop", "stage_upper"
LOOP = """
import sys
text = {"encoding": "utf-8", "newline": ""}
with open(sys.argv[1], **text) as source, open(sys.argv[2], "w", **text) as to:
    for line in source:
        to.write(line.upper())
"""
# Some one letter in nine is not ASCII: French and German with a little of the rest of the world.
WORDS = (
    "the pipeline reads lines and writes them again in upper case while a checkpoint says how far it came "
    "un été à la façade du café où naît l'idée über größere Wälder führt der Weg zurück naïve señor 日本 наука"
).split()


def measure(bench: Bench) -> Iterator[Table]:
    for size in bench.sizes.text:
        upper = Upper(bench.place / f"text-{size}", size << 20)
        whole = Sample()
        cases = {LOOP_NAME: upper.loop, STAGE: lambda sample, upper=upper, whole=whole: upper.stage(sample, whole)}
        samples = bench.interleave(cases)
        samples["offpipe, the whole run"] = whole
        shown = f"{size:,} MiB of text to upper case"
        speeds = [f"{name}: {size / sample.median:.0f} MiB/s" for name, sample in samples.items()]
        yield Table(
            f"text, {shown}: {upper.lines:,} lines", samples, LOOP_NAME, with_memory=True,
            notes=[
                *speeds,
                f"stage_upper commits every {EVERY_LINES:,} lines, {upper.lines // EVERY_LINES:,} times",
                "the whole run also hashes input and output and publishes; its peak is the runner's own",
            ],
            bounds=[
                speedup(samples, f"6. {shown}: times as fast as the loop", LOOP_NAME, STAGE, 1.1),
                judged(f"6. {shown}: peak of stage_upper", samples[STAGE].peak / 2**20, 100, unit="MiB", digits=1),
            ],
        )  # fmt: skip
        shutil.rmtree(upper.root)


class Upper:
    """The input, and the two ways to its upper case; what they wrote is compared after the first time."""

    def __init__(self, root: Path, size: int) -> None:
        self.root = root
        root.mkdir(parents=True)
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
