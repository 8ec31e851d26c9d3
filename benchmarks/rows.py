"""The rows of the table: what is measured, and how long each tool takes."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.timing import Failed, in_rounds, note, timed
from benchmarks.tools import Offpipe
from benchmarks.work import COPY, SUM, Work, scripts, steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.timing import Case, Times
    from benchmarks.tools import Tool

PYTHON = "plain Python"
MEBIBYTE = 1 << 20
MOMENT = 0.05  # seconds between two commands: time stamps may not tell closer ones apart
LOOP = """
import sys
text = {"encoding": "utf-8", "newline": ""}
with open(sys.argv[1], **text) as source, open(sys.argv[2], "w", **text) as to:
    for line in source:
        to.write(line.upper())
"""
TESTS = """\
import subprocess

import pytest


@pytest.mark.parametrize("number", range({items}))
def test_copy(number, tmp_path):
    subprocess.run(["/bin/cp", f"in/{{number}}.txt", tmp_path / "out.txt"], check=True)
    assert (tmp_path / "out.txt").exists()
"""
# About one letter in nine is not ASCII.
WORDS = (
    "the pipeline reads lines and writes them again in upper case while a checkpoint says how far it came "
    "un été à la façade du café où naît l'idée über größere Wälder führt der Weg zurück naïve señor 日本 наука"
).split()


class Sizes(NamedTuple):
    """How much work there is. `large` and `text` are in MiB."""

    stages: int = 1_000
    many: int = 10_000
    scripts: int = 100
    large: int = 512
    text: int = 256
    checks: int = 20

    def parts(self, divisor: int) -> Sizes:
        """Return a part of the work."""
        return Sizes(*(max(1, size // divisor) for size in self))


class Row(NamedTuple):
    """What was measured: the seconds of each round, by tool; and remarks on tools."""

    what: str
    times: Times
    remarks: list[str]


class Bench(NamedTuple):
    """Where to work, how much and how often, and with which tools.

    The trees of first runs stay until the end. An ext4 without a journal skips each inode that was freed lately
    (`recently_deleted`, fs/ext4/ialloc.c), so removing the files of one row would slow the next.
    """

    place: Path
    sizes: Sizes
    rounds: int
    tools: list[Tool]

    def rows(self) -> Iterator[Row]:
        """Measure one row after the other."""
        sizes, copies = self.sizes, f"{self.sizes.stages:,} stages of /bin/cp"
        yield self._row("start: --version", self._starts)
        for stages in (sizes.stages, sizes.many):
            yield self._row(f"nothing to do, {stages:,} stages", partial(self._idle, steps(stages, COPY)))
        for jobs in (1, 2):
            yield self._row(f"{copies}, -j{jobs}", partial(self._first_runs, steps(sizes.stages, COPY), jobs))
        for jobs in (1, 2):
            what = f"{sizes.scripts:,} Python stages, -j{jobs}"
            yield self._row(what, partial(self._first_runs, scripts(sizes.scripts), jobs))
        yield self._row(f"an input of {sizes.large:,} MiB touched", self._touched)
        yield self._row(f"{sizes.text:,} MiB of text to upper case", self._text)
        yield self._row(f"pytest, {sizes.checks:,} checks of /bin/cp", self._checks)

    def _row(self, what: str, cases: Callable[[Path, list[str]], dict[str, Case]]) -> Row:
        place, remarks = self.place / what.replace("/", "").replace(" ", "-"), []
        place.mkdir(parents=True)
        note(f"preparing: {what}")
        return Row(what, in_rounds(cases(place, remarks), self.rounds, remarks), remarks)

    def _starts(self, place: Path, remarks: list[str]) -> dict[str, Case]:  # noqa: ARG002 - none is left out
        cases = {tool.name: partial(timed, tool.start(), place) for tool in self.tools if not tool.only_first_runs}
        return {**cases, PYTHON: partial(timed, [sys.executable, "-c", ""], place)}

    def _trees(self, work: Work, place: Path, remarks: list[str]) -> Iterator[tuple[Tool, Path]]:
        """Yield the tools, each with a tree that it has brought up to date."""
        for tool in self.tools:
            if tool.only_first_runs:
                continue
            if len(work.steps) > tool.most:
                remarks.append(f"{tool.name} is left out: its first run takes minutes")
                continue
            tree = self._lay_out(tool, work, place / tool.name)
            try:
                tool.settle(tree)
            except Failed as error:
                remarks.append(f"{tool.name} is left out: {error}")
            else:
                yield tool, tree

    def _lay_out(self, tool: Tool, work: Work, tree: Path) -> Path:
        work.lay_out(tree)
        tool.write(tree, work)
        return tree

    def _idle(self, work: Work, place: Path, remarks: list[str]) -> dict[str, Case]:
        return {tool.name: partial(tool.run, tree) for tool, tree in self._trees(work, place, remarks)}

    def _first_runs(self, work: Work, jobs: int, place: Path, remarks: list[str]) -> dict[str, Case]:  # noqa: ARG002
        trees = {
            tool.name: iter([self._lay_out(tool, work, place / f"{tool.name}-{n}") for n in range(self.rounds)])
            for tool in self.tools
        }
        return {tool.name: partial(_first_run, tool, trees[tool.name], jobs) for tool in self.tools}

    def _touched(self, place: Path, remarks: list[str]) -> dict[str, Case]:
        """Time a run that finds a new time stamp on a large input with the same bytes."""
        large, work, block = place / "large", steps(1, SUM), os.urandom(MEBIBYTE)
        with large.open("wb") as file:
            for number in range(self.sizes.large):
                file.write(number.to_bytes(8, "little") + block[8:])
        cases: dict[str, Case] = {}
        for tool, tree in self._trees(work, place, remarks):
            (tree / "in/0.txt").unlink()
            os.link(large, tree / "in/0.txt")
            cases[tool.name] = partial(_after_touch, tool, tree, work, remarks)
        return cases

    def _text(self, place: Path, remarks: list[str]) -> dict[str, Case]:  # noqa: ARG002 - none is left out
        """Time `stage_upper.py` in a run, with checkpoints, beside the loop that you would write first."""
        source = place / "in/0.txt"
        stage = {
            "name": "upper",
            "processor": "offpipe:stage_upper.py",
            "checkpoint": {"everyLines": 10_000},
            "inputs": {"text": "in/0.txt"},
            "outputs": {"text": "upper.txt"},
        }
        (place / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "text", "stages": [stage]}))
        source.parent.mkdir()
        write_text(source, self.sizes.text * MEBIBYTE)
        loop = [sys.executable, "-c", LOOP, source, place / "loop.txt"]
        return {Offpipe.name: partial(_upper, place), PYTHON: partial(timed, loop, place)}

    def _checks(self, place: Path, remarks: list[str]) -> dict[str, Case]:  # noqa: ARG002 - none is left out
        """Time pytest with a spec, and with tests that start the same programs. No other plugin is loaded."""
        self._lay_out(Offpipe(), steps(self.sizes.checks, COPY), place)
        (place / "test_plain.py").write_text(TESTS.format(items=self.sizes.checks))
        pytest = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir=.", "-p", "no:cacheprovider"]
        ours = ["-p", "pytest_offpipe.plugin", "--offpipe-spec", "spec.json", "--offpipe-checks", "run"]
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return {
            Offpipe.name: partial(timed, [*pytest, *ours], place, alone),
            PYTHON: partial(timed, [*pytest, "test_plain.py"], place, alone),
        }


def _first_run(tool: Tool, fresh: Iterator[Path], jobs: int) -> float:
    return tool.run(next(fresh), jobs)


def _after_touch(tool: Tool, tree: Path, work: Work, remarks: list[str]) -> float:
    tool.run(tree)  # other tools have touched the linked file
    before, remark = work.made(tree), f"{tool.name} runs the stage again"
    os.utime(tree / "in/0.txt")
    time.sleep(MOMENT)
    seconds = tool.run(tree)
    if work.made(tree) != before and remark not in remarks:
        remarks.append(remark)
    return seconds


def _upper(place: Path) -> float:
    for name in ("state", "locks"):
        shutil.rmtree(place / name, ignore_errors=True)
    (place / "upper.txt").unlink(missing_ok=True)
    return timed([sys.executable, "-m", "runner", "spec.json", "-q"], place)


def write_text(path: Path, size: int) -> None:
    """Write lines of words, of 20 to 120 bytes, up to `size` bytes. The text is always the same."""
    chance = random.Random(1)
    block = "".join(" ".join(chance.choices(WORDS, k=chance.randint(3, 17))) + "\n" for _ in range(50_000)).encode()
    times, rest = divmod(size, len(block))
    with path.open("wb") as file:
        for _ in range(times):
            file.write(block)
        file.write(block[: block.rfind(b"\n", 0, rest) + 1])
