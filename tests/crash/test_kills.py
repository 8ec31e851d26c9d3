"""kill -9 of the runner, the stage, everything, at moments spread over a run: the next run ends as if undisturbed."""

from __future__ import annotations

import contextlib
import random
import subprocess
import time

import pytest
from pipeline_bench import PipelineBench, descendants, kill, shell, wait_for
from suites import full_but

STEPS = 20
LINES = 4000

SDK_STAGE = """
import os
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to=("even", "odd")) as job:
    notes = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number, line in enumerate(job, job.line_offset):
        os.write(notes, b"%d\\n" % number)
        job.write(line.upper(), to="odd" if number % 2 else "even")
"""


def six_stages(bench):
    bench.write("in.txt", "".join(f"line {number}\n" for number in range(LINES)))
    bench.write("split.py", SDK_STAGE)
    bench.define(
        {"name": "copy", "processor": "offpipe:stage_copy.py", "inputs": {"text": "in.txt"}, "outputs": {"t": "w/c"}},
        {"name": "split", "processor": "split.py", "inputs": {"text": "w/c"}, "checkpoint": {"everyLines": 100},
         "outputs": {"even": "w/even", "odd": "w/odd"}},
        shell("tree", "mkdir $PIPELINE_OUTPUT_T; split -l 500 w/even $PIPELINE_OUTPUT_T/", inputs={"e": "w/even"},
              outputs={"t": "w/tree/"}),
        {"name": "sort", "command": ["sort", "-r", "{inputs.o}"], "stdout": "s", "inputs": {"o": "w/odd"},
         "outputs": {"s": "w/sorted"}},
        shell("append", "cat w/tree/* >> $PIPELINE_OUTPUT_OUT; cat w/odd >> $PIPELINE_OUTPUT_OUT",
              inputs={"t": "w/tree/", "o": "w/odd"}),
        {"name": "pack", "command": ["gzip", "-nc"], "stdin": "all", "stdout": "gz",
         "inputs": {"all": "out/append.txt", "sorted": "w/sorted"}, "outputs": {"gz": "out/all.gz"}, "needs": ["sort"]},
    )  # fmt: skip


def result(bench):
    files = [path for place in ("w", "out") for path in (bench.root / place).rglob("*") if path.is_file()]
    return {str(path.relative_to(bench.root)): path.read_bytes() for path in files}


def repeated(bench):
    """How many lines the SDK stage worked on more than once."""
    return len(bench.read("notes").split()) - LINES


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    bench = PipelineBench(tmp_path_factory.mktemp("undisturbed"))
    six_stages(bench)
    began = time.monotonic()
    bench.succeed("-j", "2")
    return result(bench), time.monotonic() - began


def everything(process):
    for pid in [process.pid, *descendants(process.pid)]:
        kill(pid)


def runner_alone(process):
    kill(process.pid)


@pytest.mark.parametrize("step", full_but(range(STEPS), range(2, STEPS, STEPS // 2)))
def test_a_run_killed_at_any_moment_is_completed_by_the_next(bench, undisturbed, step):
    expected, seconds = undisturbed
    six_stages(bench)
    process = bench.start("-j", "2")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds * step / STEPS)  # a spread of moments, not a wait for a fact
    (runner_alone if step % 2 else everything)(process)
    process.wait()
    bench.succeed("-j", "2")
    assert result(bench) == expected
    assert bench.leftovers() == []
    assert repeated(bench) <= 100
    assert bench.skips_everything()


def reached(bench):
    """The highest line that the SDK stage has worked on."""
    noted = bench.read("notes").rpartition(b"\n")[0] if bench.exists("notes") else b""
    return max(map(int, noted.split()), default=-1)


def stage_alone(process):
    for pid in descendants(process.pid)[1:]:  # the first is the launcher
        kill(pid)


@pytest.mark.full
@pytest.mark.parametrize("whom", [stage_alone, everything, runner_alone])
@pytest.mark.parametrize("seed", range(3))
def test_an_sdk_stage_killed_again_and_again_repeats_at_most_an_interval_each_time(bench, undisturbed, whom, seed):
    """The kills come at random lines; the outputs have the bytes of an undisturbed run."""
    expected, _ = undisturbed
    six_stages(bench)
    moments = sorted(random.Random(seed).sample(range(1, LINES - 200), 3))
    kills = 0
    for moment in moments:
        process = bench.start("run", "split")

        wait_for(lambda process=process, moment=moment: process.poll() is not None or reached(bench) >= moment)
        kills += process.poll() is None
        whom(process)
        process.wait(timeout=20)
    bench.succeed("-j", "2")
    assert result(bench) == expected
    assert repeated(bench) <= kills * 100
    assert bench.leftovers() == []
