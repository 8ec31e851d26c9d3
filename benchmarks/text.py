"""Bulk text: stage_upper and loops over stage.lines with checkpoints, beside the loop that you would write first."""

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
LINES = {"stage.lines, bytes": {}, "stage.lines, text": {"encoding": "utf-8"}}  # no bound: what a loop in Python costs
LINES_PROGRAM = """
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to="text", **stage.params) as job:
    for line in job:
        job.write(line.upper())
"""
# About one letter in nine is not ASCII: French and German, and a little of other languages.
WORDS = (
    "the pipeline reads lines and writes them again in upper case while a checkpoint says how far it came "
    "un été à la façade du café où naît l'idée über größere Wälder führt der Weg zurück naïve señor 日本 наука"
).split()


def measure(bench: Bench) -> Iterator[Table]:
    for size in bench.sizes.text:
        upper = Upper(bench.place / f"text-{size}", size << 20)
        whole = Sample()
        cases = {LOOP_NAME: upper.loop, STAGE: lambda sample, upper=upper, whole=whole: upper.stage(sample, whole)}
        for name, params in LINES.items():
            cases[name] = lambda sample, upper=upper, params=params: upper.by_lines(sample, params)
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
    """The input, and the ways to its upper case; the first outputs of `loop` and `stage` are compared."""

    def __init__(self, root: Path, size: int) -> None:
        self.root = root
        root.mkdir(parents=True)
        self.source = root / "input.txt"
        self.lines = write_text(self.source, size)
        self._compared = False
        (root / "lines.py").write_text(LINES_PROGRAM)

    def loop(self, sample: Sample) -> None:
        output = self.root / "loop.txt"
        output.unlink(missing_ok=True)
        sample.add(timed([sys.executable, "-c", LOOP, self.source, output]))

    def stage(self, sample: Sample, whole: Sample) -> None:
        run, attempt = self._run("offpipe:stage_upper.py", {})
        whole.add(run)
        sample.add(attempt)
        if not self._compared:
            self._compared = True
            timed(["cmp", self.root / "loop.txt", self.root / "upper.txt"])

    def by_lines(self, sample: Sample, params: dict[str, str]) -> None:
        sample.add(self._run("lines.py", params)[1])

    def _run(self, processor: str, params: dict[str, str]) -> tuple[Usage, Usage]:
        """Return what a run of this one stage took, and what the stage in it took."""
        stage = {
            "name": "upper", "processor": processor, "params": params, "checkpoint": {"everyLines": EVERY_LINES},
            "inputs": {"text": "input.txt"}, "outputs": {"text": "upper.txt"},
        }  # fmt: skip
        spec = self.root / "spec.json"
        spec.write_text(json.dumps({"specVersion": 1, "name": "text", "stages": [stage]}))
        for name in ("state", "locks"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / "upper.txt").unlink(missing_ok=True)
        whole = timed(runner(spec, "-q"))
        metrics = json.loads(next((self.root / "state").glob("metrics_*.json")).read_bytes())
        attempt = metrics["stages"]["upper"]["attempts"][0]
        return whole, Usage(attempt["seconds"], attempt["cpuSeconds"], attempt["maxRssBytes"])


def write_text(path: Path, size: int) -> int:
    """Write lines of words, of 20 to 120 bytes, up to `size`; return their number. The text is always the same."""
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
