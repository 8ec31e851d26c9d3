"""HUP, INT or TERM to the runner, its group or all its processes ends the run promptly; the next run goes on."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest
from pipeline_bench import descendants, kill, open_files, shell, unstamped, wait_for
from suites import full_but

# Writes its pid, then waits for the file `go`, which only the next run finds. Notes the time when TERM ends it.
# Sends KILL, because a TERM between fork and exec of `sleep` is lost.
WAITS = """
trap 'kill -9 $!; wait; date +%s.%N > ended; exit 143' TERM
echo $$ > pid.new; mv pid.new pid
until test -e go; do sleep 60 & wait $!; done
echo done > "$PIPELINE_OUTPUT_OUT"
"""
STUBBORN = (
    "trap '' TERM INT HUP; echo $$ > pid.new; mv pid.new pid; test -e go || sleep 60; echo done > $PIPELINE_OUTPUT_OUT"
)
CODES = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}


def to_runner(process, number):
    os.kill(process.pid, number)


def to_group(process, number):
    os.killpg(process.pid, number)


def to_all(process, number):
    pids = [process.pid, *descendants(process.pid)]
    for pid in pids:
        kill(pid, number)


def stopped_run(bench, script=WAITS, **popen):
    bench.define(
        shell("first", "echo 1 > $PIPELINE_OUTPUT_OUT"),
        shell("second", script, inputs={"first": "out/first.txt"}),
        shell("third", "cat out/second.txt > $PIPELINE_OUTPUT_OUT", inputs={"second": "out/second.txt"}),
    )
    process = bench.start(**popen)
    wait_for((bench.root / "pid").exists, "the second stage")
    return process


@pytest.mark.parametrize("number", full_but(CODES, [signal.SIGTERM]), ids=lambda number: number.name)
def test_a_run_ends_within_a_second_of_its_stage_and_the_next_run_goes_on(bench, number):
    assert_consistent_end(bench, to_runner, number)


@pytest.mark.parametrize("number", full_but(CODES, [signal.SIGINT]))
@pytest.mark.parametrize("send", full_but([to_group, to_all], [to_group]))
def test_a_signal_to_the_group_or_to_all_processes_has_the_same_effect(bench, send, number):
    assert_consistent_end(bench, send, number)


def assert_consistent_end(bench, send, number):
    process = stopped_run(bench)
    send(process, number)
    _, stderr = process.communicate(timeout=20)
    now = time.time()
    assert process.returncode == CODES[number], stderr
    if bench.exists("ended") and (
        ended := bench.read("ended")
    ):  # a stage that got HUP or INT itself had no time to note it
        assert now - float(ended) < 1.0
    assert not bench.exists("out/second.txt")
    assert bench.leftovers() == []
    run = bench.records("run.start")[0]["run"]
    assert [record["data"]["status"] for record in bench.records("run.stopped")] == ["interrupted"]
    assert bench.records("stage.finished")[0]["data"]["status"] == "interrupted"
    bench.write("go", "")
    bench.succeed()
    assert bench.read("out/third.txt") == b"done\n"
    assert {record["run"] for record in bench.records("attempt.started")} == {run}
    assert len([r for r in bench.records("attempt.started") if r["data"]["stage"] == "first"]) == 1
    assert bench.skips_everything()


@pytest.mark.full
def test_a_stage_that_ignores_term_is_killed_after_the_grace(bench):
    process = stopped_run(bench, STUBBORN)
    began = time.monotonic()
    to_runner(process, signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 143
    message = "stopping: 1 stage asked to end, killed if still running after 5 s, or at another signal\nsecond: i"
    assert message in unstamped(stderr)
    assert 4.9 < time.monotonic() - began < 6.5
    assert not bench.program_processes()


def test_a_second_signal_kills_at_once(bench):
    process = stopped_run(bench, STUBBORN)
    to_runner(process, signal.SIGINT)
    began = time.monotonic()
    to_runner(process, signal.SIGTERM)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopping: 1 stage killed\nsecond: interrupted\n" in unstamped(stderr)
    assert time.monotonic() - began < 1.5
    assert not bench.program_processes()
    bench.write("go", "")
    bench.succeed()


def test_a_hangup_ignored_at_the_start_stays_ignored_and_stages_get_the_default(bench):
    script = (
        "grep SigIgn /proc/self/status > $PIPELINE_OUTPUT_OUT; echo $$ > pid; while ! test -e go; do sleep 0.01; done"
    )
    process = stopped_run(bench, script, command=("nohup",))
    to_runner(process, signal.SIGHUP)
    bench.write("go", "")
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0, stderr
    assert int(bench.read("out/second.txt").split()[1], 16) & 1 == 0


def test_an_interrupt_ends_the_wait_for_the_next_attempt_at_once(bench):
    bench.define(shell("a", "exit 75", retry={"attempts": 3, "delaySeconds": 60, "jitter": 0}))
    process = bench.start()
    wait_for(lambda: (bench.root / "state").exists() and bench.records("attempt.finished"), "the first attempt")
    began = time.monotonic()
    to_runner(process, signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - began < 1.0
    assert [record["data"]["status"] for record in bench.records("stage.finished")] == ["interrupted"]


def test_an_interrupt_while_inputs_are_hashed_ends_the_run_at_once(bench):
    with bench.write("big.bin", b"").open("wb") as big:
        big.truncate(4 << 30)
    before = bench.root / "before.bin"
    before.symlink_to(sys.executable)  # nobody writes to it, so its digest stays valid
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT", inputs={"before": "before.bin", "big": "big.bin"}))
    process = bench.start()
    wait_for(lambda: any(file.endswith("big.bin") for file in open_files(process.pid)), "hashing")
    began = time.monotonic()
    to_runner(process, signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - began < 1.0
    assert not bench.exists("out")
    assert str(before) in json.loads(bench.read("state/files.json"))["files"]  # the next run need not read it
