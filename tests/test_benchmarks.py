"""The benchmarks as a program: they measure, judge and report. No test here asserts what they measure."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from suites import full_but

from benchmarks import touched
from benchmarks.bench import Bench
from benchmarks.bounds import added, judged, not_slower, ratio, speedup
from benchmarks.machine import code
from benchmarks.noop import settled
from benchmarks.plot import Scale, picture
from benchmarks.report import LEGEND, write
from benchmarks.sizes import LEAST
from benchmarks.table import Table
from benchmarks.timing import Failed, Sample, Usage, interleave, timed
from benchmarks.tools import PEERS, Make, Ninja, laid_out
from benchmarks.work import chain, many_inputs, scripts, wide

ROOT = Path(__file__).resolve().parents[1]


def sample(*seconds):
    return Sample([Usage(duration, duration, 1 << 20) for duration in seconds])


def benchmarks(*words, **options):
    command = [sys.executable, "-m", "benchmarks", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, **options)


# ---- the program -----------------------------------------------------------------------------------------------------


REPORTED = {"start": "| offpipe --help |", "touched": "- offpipe, full: the stage ran again in 0 of 2 runs\n"}


@pytest.mark.full
@pytest.mark.parametrize("what", full_but(REPORTED, ["start"]))
def test_least_work_is_measured_and_reported(tmp_path, what) -> None:
    to = tmp_path / "report"
    shown = benchmarks("--least", "--peers", "make", "--dir", tmp_path, "--to", to, what)
    assert shown.returncode == 0, shown.stderr
    report = (to / "benchmark-results.md").read_text()
    assert REPORTED[what] in report
    images = sorted(path.name for path in to.glob("*.svg"))
    assert len(images) == 1 and all(f"]({name})" in report for name in images)
    runs = json.loads((to / "benchmark-results.json").read_text())["tables"][0]["runs"]
    assert {len(each) for name, each in runs.items() if "make" not in name} == {2}  # a slow peer is not run again
    assert list(tmp_path.iterdir()) == [to]


@pytest.mark.full
def test_no_bound_is_judged_on_other_than_full_sizes(tmp_path) -> None:
    shown = benchmarks("--least", "--dir", tmp_path, "--to", tmp_path / "report", "start", "growth")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split("\n\n")[1].endswith("\n  bounds are for full sizes")
    report = (tmp_path / "report/benchmark-results.md").read_text()
    assert "## What must hold\n\nNothing is judged here: bounds are for full sizes.\n" in report
    for text in (shown.stdout, report):
        assert "hold |" not in text and "holds" not in text and "does not hold" not in text


@pytest.mark.full
def test_specs_as_tests_are_measured_without_an_index_too(tmp_path) -> None:
    env = {**os.environ, "PIP_NO_INDEX": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    env.pop("PIP_FIND_LINKS", None)
    shown = benchmarks("--least", "--dir", tmp_path, "plugin", env=env)
    assert shown.returncode == 0, shown.stderr
    assert "pytest-workflow left out: it could not be installed" in shown.stdout
    for case in ("spec items, offpipe", "plain subprocess tests", "offpipe installed, unused", "not installed"):
        assert f"\n{case} " in shown.stdout


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("bwrap") or not shutil.which("ninja"), reason="no ninja or no bwrap here")
def test_an_earlier_version_and_equal_isolation_stand_beside_the_runner(tmp_path) -> None:
    words = ("--least", "--dir", tmp_path, "--before", ROOT, "--peers", "bwrap", "--to", tmp_path / "report", "copies")
    shown = benchmarks(*words)
    assert shown.returncode == 0, shown.stderr
    tables = json.loads((tmp_path / "report/benchmark-results.json").read_text())["tables"]
    for table in tables:
        ours = ["offpipe, full", "offpipe, process", "offpipe before, full", "offpipe before, process"]
        assert list(table["runs"]) == [*ours, "ninja in bwrap"]
        assert all(len(runs) == 2 for name, runs in table["runs"].items() if name.startswith("offpipe"))


@pytest.mark.full
def test_a_peer_that_fails_is_named_below_each_table_that_it_is_not_in(tmp_path) -> None:
    fake = tmp_path / "make"
    fake.write_text("#!/bin/sh\nexit 7\n")
    fake.chmod(0o755)
    bench = Bench(tmp_path / "work", LEAST, 1, [Make("make", str(fake))])
    reason = "make: left out: it could not be brought up to date: exit 7 of make -j2"
    _, notes, _ = settled(bench, wide(1))
    assert notes == [reason]
    [table] = touched.measure(bench)
    assert table.notes[-1] == reason
    first = bench.first_runs(bench.peers, wide(1), 1)
    assert Table("t", first).notes == ["make: failed: exit 7 of make -j1"]


def test_a_peer_that_runs_one_stage_at_a_time_is_named_where_two_are_asked_for(tmp_path) -> None:
    for jobs, remark in ((1, ""), (2, "left out: it runs one stage at a time")):
        tool = Make("serial", "make")
        tool.has_jobs = False
        samples = Bench(tmp_path / str(jobs), LEAST, 1, [tool]).first_runs([tool], wide(1), jobs)
        assert samples["serial"].remark == remark
        assert len(samples["serial"].runs) == 2 - jobs


def test_the_code_that_is_measured_is_named(tmp_path) -> None:
    git = ["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True)
    (tmp_path / "file").write_text("one")
    (tmp_path / "inside").mkdir()
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    named = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert code(tmp_path) == named.strip()
    (tmp_path / "file").write_text("two")
    assert code(tmp_path) == f"{named.strip()}-dirty"
    assert code(tmp_path / "inside") == "without a name, for this is no git checkout"


@pytest.mark.parametrize("words", full_but(["nothing", "start --peers bake", "start --runs 2"], ["start --runs 2"]))
def test_unknown_names_and_too_few_runs_are_refused(words) -> None:
    assert benchmarks(*words.split()).returncode == 2


# ---- what is measured ------------------------------------------------------------------------------------------------


@pytest.mark.full_after(4)
@pytest.mark.parametrize("work", [wide(3), chain(3), scripts(2), many_inputs(3)], ids=lambda work: work.shape)
@pytest.mark.parametrize("tool", [Make("make", "make"), Ninja("ninja", "ninja")], ids=lambda tool: tool.name)
def test_other_tools_do_the_same_work(tool, work, tmp_path) -> None:
    tree, plain = tmp_path / "tree", tmp_path / "plain"
    laid_out(tool, tree, work)
    work.lay_out(plain)
    work.perform(plain)
    try:
        tool.run(tree)
    except Failed as error:
        if "No such file" in str(error):
            pytest.skip(f"no {tool.name} here")
        raise
    made = {step.target: (tree / step.target).read_bytes() for step in work.steps}
    assert made == {step.target: (plain / step.target).read_bytes() for step in work.steps}
    before = work.made(tree)
    tool.run(tree)
    assert work.made(tree) == before


def test_a_peer_whose_work_cannot_even_be_laid_out_is_left_out(tmp_path) -> None:
    for name, kind in PEERS.items():
        assert (laid_out(kind(name, "/nonexistent/tool"), tmp_path / name, wide(2)) is None) == (name == "dvc")


def test_cases_run_in_turn_and_a_failing_or_slow_peer_is_not_run_again() -> None:
    order = []

    def case(name, seconds=1.0):
        def run(into):
            order.append(name)
            if name == "broken":
                raise Failed("exit 1")
            into.add(Usage(seconds, seconds, 0))

        return run

    cases = {name: case(name) for name in ("ours", "peer", "broken")} | {"slow": case("slow", 9.0)}
    samples = interleave(cases, 2, patience=5, may_fail={"peer", "broken", "slow"})
    assert order == ["ours", "peer", "broken", "slow", "ours", "peer"]
    table = Table("t", samples)
    assert list(table.samples) == ["ours", "peer", "slow"]
    assert table.notes == ["broken: failed: exit 1", "slow: not run again: longer than 5 s"]
    with pytest.raises(SystemExit, match="broken: exit 1"):
        interleave({"broken": case("broken")}, 2)


def test_a_command_is_timed_with_its_own_memory_and_its_failure_reported(tmp_path) -> None:
    held = bytearray(64 << 20)
    usage = timed([sys.executable, "-c", "sum(range(1_000_000))"], tmp_path)
    assert usage.seconds > 0 and usage.processor > 0
    assert 4 << 20 < usage.peak < len(held)
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


# ---- what is reported ------------------------------------------------------------------------------------------------


def test_a_ratio_is_the_median_of_the_rounds_and_shows_their_spread() -> None:
    samples = {"a": sample(2.0, 3.0, 9.0), "b": sample(1.0, 2.0, 3.0)}
    over = ratio(samples, "a to b", "a", "b", 1.4)
    assert (over.measured, over.bound, over.holds) == ("2.00 x (1.50 .. 3.00)", "at most 1.4 x", False)
    times = speedup(samples, "as fast", "a", "b", 1.5)
    assert (times.bound, times.verdict) == ("at least 1.5 x", "holds")
    assert added(samples, "more", "a", "b", 1000).measured == "1000.00 ms (1000.00 .. 6000.00)"
    assert ratio(samples, "a to c", "a", "c", 1).verdict == "not measured"


def test_each_row_is_bound_by_the_same_row_of_the_code_before() -> None:
    samples = {
        "offpipe, full": sample(2.0, 2.0, 9.0),
        "offpipe before, full": sample(2.0, 1.0, 9.0),
        "make": sample(1.0),
    }
    [bound] = not_slower(samples, "noop")
    assert bound.promise == "8. noop: offpipe, full: to the code before"
    assert (bound.measured, bound.bound, bound.holds) == ("1.00 x (1.00 .. 2.00)", "at most 1.1 x", True)


def test_a_bound_is_kept_where_it_is_met_exactly() -> None:
    assert judged("p", 4, 4).holds and judged("p", 4, 4, at_least=True).holds
    assert not judged("p", 4.01, 4).holds and not judged("p", 3.99, 4, at_least=True).holds


def test_the_report_begins_with_what_does_not_hold(tmp_path) -> None:
    kept, broken, unknown = judged("2. a", 1, 2), judged("1. b", 2, 1), ratio({}, "3. c", "x", "y", 1)
    report = write(tmp_path, [], [Table("t", {}, bounds=[kept, broken, unknown])]).read_text()
    promises = report.partition("## What must hold\n\n")[2].partition("\n## t")[0]
    first, *others = [line for line in promises.splitlines() if line and "---" not in line and "| what" not in line]
    assert first == "1 of 3 hold, 1 could not be measured; these do not:"
    assert [line.partition(" |")[0] for line in others] == ["| 1. b", LEGEND, "The others:", "| 2. a", "| 3. c"]
    report = write(tmp_path, [], [Table("t", {}, bounds=[kept])]).read_text()
    assert "\n1 of 1 hold. `x` is a ratio" in report and "do not" not in report


def test_promises_have_the_numbers_of_the_page() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    page = (ROOT / "docs/internals/benchmarks.md").read_text()
    numbers = set("".join(re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE))) - set(", ")
    assert numbers == set(re.findall(r'"(\d)\. ', sources)) == set("12345678")


@pytest.mark.parametrize("seconds", [(0.001,), (0.01, 0.02), (0.005, 7.0), (1e-6, 100.0)])
def test_a_picture_shows_every_case_within_its_frame(seconds) -> None:
    table = Table("a < b", {f"case {number}": sample(value, value * 1.5) for number, value in enumerate(seconds)})
    root = ET.fromstring(picture(table))
    width = float(root.get("width"))
    dots = [float(dot.get("cx")) for dot in root.findall(".//{*}circle")]
    assert len(dots) == len(seconds) and all(0 < dot < width for dot in dots)
    scale = Scale(min(seconds), max(seconds) * 1.5)
    assert 2 <= len(scale.ticks()) <= 9 and all(0 <= scale.place(tick) <= 1 for tick in scale.ticks())
