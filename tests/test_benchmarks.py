"""The benchmarks as a program: they measure and report. No test asserts what they measure."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.picture import laned, picture
from benchmarks.report import cell, table, write
from benchmarks.rows import Bench, Row, Sizes
from benchmarks.timing import PATIENCE, Failed, in_rounds, timed
from benchmarks.tools import Make, Ninja, Offpipe
from benchmarks.work import COPY, SUM, scripts, steps

ROOT = Path(__file__).resolve().parents[1]
WORKS = {"copies": steps(3, COPY), "sums": steps(1, SUM), "scripts": scripts(2)}


@pytest.mark.full
def test_every_row_is_measured_and_reported(tmp_path) -> None:
    tools = [Offpipe(), *([Make()] if shutil.which("make") else [])]
    rows = list(Bench(tmp_path / "work", Sizes().parts(1000), 2, tools).rows())
    assert len({row.what for row in rows}) == 10
    for row in rows:
        assert all(len(seconds) == 2 for seconds in row.times.values()), row
        assert "offpipe" in row.times, row
    page = write(tmp_path / "report", ["a machine"], rows)
    assert "- a machine\n" in page.read_text()
    assert sorted(path.name for path in page.parent.iterdir()) == ["benchmark-results.md", "benchmark-results.svg"]


def test_unknown_options_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--qui"], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
@pytest.mark.parametrize("tool", [Make(), Ninja()], ids=lambda tool: tool.name)
def test_other_tools_do_the_same_work(tool, work, tmp_path) -> None:
    if not shutil.which(tool.name):
        pytest.skip(f"no {tool.name} here")
    tree, plain = tmp_path / "tree", tmp_path / "plain"
    for place in (tree, plain):
        work.lay_out(place)
    tool.write(tree, work)
    tool.run(tree)
    for step in work.steps:
        subprocess.run(step.command(step.source, step.target), cwd=plain, check=True)
        assert (tree / step.target).read_bytes() == (plain / step.target).read_bytes()
    before = work.made(tree)
    tool.run(tree)
    assert work.made(tree) == before


def test_cases_run_in_turn_and_one_that_fails_or_is_slow_does_not_run_again() -> None:
    order, remarks = [], []

    def case(name, seconds=1.0):
        def run():
            order.append(name)
            if name == "broken":
                raise Failed("exit 1 of it")
            return seconds

        return run

    cases = {name: case(name) for name in ("ours", "peer", "broken")} | {"slow": case("slow", PATIENCE + 1)}
    times = in_rounds(cases, 2, remarks)
    assert order == ["ours", "peer", "broken", "slow", "ours", "peer"]
    assert times == {"ours": [1.0, 1.0], "peer": [1.0, 1.0], "slow": [PATIENCE + 1]}
    assert remarks == ["broken is left out: exit 1 of it"]


def test_a_tool_that_cannot_be_brought_up_to_date_is_named_below_the_table(tmp_path) -> None:
    fake = tmp_path / "make"
    fake.write_text("#!/bin/sh\nexit 7\n")
    fake.chmod(0o755)
    remarks: list[str] = []
    assert not Bench(tmp_path, Sizes(), 1, [Make(str(fake))])._idle(steps(1, COPY), tmp_path / "work", remarks)
    assert remarks == ["make is left out: exit 7 of make"]
    assert table([Row("nothing to do", {}, remarks)]).endswith("\n\n- nothing to do: make is left out: exit 7 of make")


def test_the_failure_of_a_command_is_reported(tmp_path) -> None:
    assert timed([sys.executable, "-c", ""], tmp_path) > 0
    with pytest.raises(Failed, match="exit 3 of python"):
        timed([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


@pytest.mark.full
def test_a_command_that_does_not_end_is_killed(tmp_path) -> None:
    holds = "import fcntl, time; file = open('held', 'w'); fcntl.flock(file, fcntl.LOCK_EX); time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(Failed, match=r"had not ended after 2 s"):
        timed([sys.executable, "-c", holds], tmp_path, most=2)
    with open(tmp_path / "held") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
    assert time.monotonic() - began < 30


def test_a_cell_has_the_median_and_the_range() -> None:
    assert cell([0.0031, 0.001, 0.02]) == "3.1 ms (1 ms .. 20 ms)"
    assert (cell([47.51]), cell([])) == ("47.5 s (once)", "")


@pytest.mark.parametrize("seconds", [(0.001,), (0.01, 0.02), (0.005, 7.0), (1e-6, 100.0)])
def test_a_picture_shows_every_tool_within_its_frame(seconds) -> None:
    times = {name: [value] for name, value in zip(("offpipe", "make"), seconds, strict=False)}
    root = ET.fromstring(picture([Row("a < b", times, [])]))
    width, height = float(root.get("width")), float(root.get("height"))
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.findall(".//{*}circle")]
    assert len(dots) == len(seconds) and all(0 < x < width and 0 < y < height for x, y in dots)


def test_no_dot_covers_another() -> None:
    lanes = laned({"a": 10.0, "b": 12.0, "c": 40.0, "d": 41.0, "e": 42.0})
    assert lanes == {"a": 0, "b": 1, "c": 0, "d": 1, "e": 2}
