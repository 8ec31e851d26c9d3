"""One run at a time: a second run learns of it at once, a dead holder blocks no run, and read-only verbs never wait."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time

import pytest
from pipeline_bench import children, is_running, shell, wait_for
from suites import full_but

HOLDS = "echo $$ > pid.new; mv pid.new pid; until test -e go; do sleep 0.01; done; touch $PIPELINE_OUTPUT_OUT"


def define(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"), shell("b", HOLDS))


def held(bench):
    """Start a run that works on stage `b` while `a` is up to date; return its process."""
    define(bench)
    bench.succeed("run", "a")
    process = bench.start()
    wait_for((bench.root / "pid").exists, "the holder")
    return process


def timed(bench, *words):
    began = time.monotonic()
    done = bench.run(*words)
    return done, time.monotonic() - began


def test_a_second_run_ends_with_9_within_a_second_and_says_who_holds_the_lock(bench):
    process = held(bench)
    done, seconds = timed(bench)
    assert done.returncode == 9
    assert seconds < 1
    started = bench.records("run.start")[-1]
    assert f"pid {process.pid} on {socket.gethostname()}, run {started['run']}, since 20" in done.stderr
    bench.write("go", "")
    assert process.wait(timeout=20) == 0


@pytest.mark.full
def test_a_second_run_does_not_hash_big_inputs_to_learn_that_another_holds_the_lock(bench):
    bench.define(shell("b", HOLDS), shell("big", "touch $PIPELINE_OUTPUT_OUT", inputs={"zeros": "zeros"}))
    with (bench.root / "zeros").open("wb") as file:
        file.truncate(4 << 30)  # seconds of hashing, no blocks on disk
    process = bench.start("b")
    wait_for((bench.root / "pid").exists, "the holder")
    done, seconds = timed(bench)
    assert done.returncode == 9
    assert seconds < 1.5
    process.kill()
    process.wait(timeout=20)


def test_a_second_run_that_waits_runs_when_the_first_has_ended(bench):
    process = held(bench)
    second = bench.start("--wait", "-f")
    assert f"waiting for the lock held by pid {process.pid} on" in second.stderr.readline()
    bench.write("go", "")
    assert process.wait(timeout=20) == 0
    _, stderr = second.communicate(timeout=20)
    assert second.returncode == 0, stderr
    assert len(bench.records("run.start")) == 3


def test_waiting_ends_when_its_time_is_over(bench):
    held(bench)
    done, seconds = timed(bench, "--wait=0.5")
    assert done.returncode == 9
    assert 0.5 <= seconds < 1.6


@pytest.mark.full
def test_waiting_is_interruptible(bench):
    process = held(bench)
    second = bench.start("--wait")
    assert f"waiting for the lock held by pid {process.pid} on" in second.stderr.readline()
    began = time.monotonic()
    os.kill(second.pid, signal.SIGTERM)
    second.communicate(timeout=20)
    assert second.returncode == 143
    assert time.monotonic() - began < 1


def test_after_kill_9_of_the_holder_the_next_run_starts_at_once(bench):
    process = held(bench)
    (launcher,) = children(process.pid)
    assert bench.program_processes()
    process.kill()
    bench.write("go", "")
    done, seconds = timed(bench)
    assert done.returncode == 0, done.stderr
    assert seconds < 1.5
    assert not is_running(launcher)
    assert not bench.program_processes()


READ = [["plan"], ["status"], ["explain", "b"], ["validate"], ["graph"], ["log", "a"]]


def test_a_read_only_verb_never_waits_and_writes_nothing(bench):
    held(bench)

    def listing():
        return {path: path.lstat().st_mtime_ns for path in bench.root.rglob("*") if not path.is_dir()}

    before = listing()
    for words in READ:
        done, seconds = timed(bench, *words)
        assert done.returncode == 0, done.stderr
        assert seconds < 1, words
        assert listing() == before, words


@pytest.mark.full_after(1)
@pytest.mark.parametrize("words", [("--wait",), ()])
def test_a_run_with_nothing_to_do_never_waits(bench, words):
    held(bench)
    done, seconds = timed(bench, "run", "a", *words)
    assert done.returncode == 0, done.stderr
    assert seconds < 1


def test_status_names_the_holder_only_while_it_holds(bench):
    process = held(bench)
    assert str(process.pid) in bench.succeed("status").stdout
    bench.write("go", "")
    assert process.wait(timeout=20) == 0
    assert f"pid {process.pid}" not in bench.succeed("status").stdout


@pytest.mark.full
@pytest.mark.parametrize("words", full_but([(), ("clean",)], [()]))
def test_removing_the_locks_lets_nobody_in_beside_a_run_and_the_run_goes_on(bench, words):
    bench.define(shell("b", HOLDS), shell("c", "touch $PIPELINE_OUTPUT_OUT", needs=["b"]))
    process = bench.start()
    wait_for((bench.root / "pid").exists, "the holder")
    shutil.rmtree(bench.root / "locks")
    done = bench.run(*words)
    assert done.returncode == 9, done.stderr
    assert "state: another run works in this state directory" in done.stderr
    bench.write("go", "")
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 0, stderr
    assert bench.run("verify").returncode == 0


@pytest.mark.full
def test_a_workspace_by_another_name_has_the_same_lock(bench, tmp_path_factory):
    process = held(bench)
    other = tmp_path_factory.mktemp("other") / "name"
    other.symlink_to(bench.root)
    assert bench.run("--workspace", str(other)).returncode == 9
    bench.write("go", "")
    assert process.wait(timeout=20) == 0


def test_clean_is_refused_while_a_run_holds_the_lock(bench):
    held(bench)
    assert bench.run("clean").returncode == 9
    assert bench.exists("out/a.txt")
