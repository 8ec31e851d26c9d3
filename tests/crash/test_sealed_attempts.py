"""A sealed attempt that ends badly loses no checkpoint, doubles no line, and leaves neither its view nor a process."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from pipeline_bench import descendants, kill, kill_and_await, shell, wait_for
from sealed_progress import KINDS, assert_whole, left, progressing, worked

CODES = {"INT": 130, "TERM": 143}


# ---- checkpoints ----


@pytest.mark.parametrize("kind", KINDS)
def test_retries_go_on_from_the_last_checkpoint_each_time(bench, kind):
    progressing(bench, kind, "fails", retry={"attempts": 4, "delaySeconds": 0.01, "multiplier": 2})
    bench.succeed()
    assert [len(attempt) for attempt in worked(bench)] == [25, 25, 20]
    assert_whole(bench)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_go_on_from_the_last_checkpoint_each_time(bench, kind):
    progressing(bench, kind, "fails")
    for _ in range(2):
        assert bench.run().returncode == 75
        assert [Path(path).name.partition("lines")[1] for path in bench.leftovers()] == ["lines", "lines"]
    bench.succeed()
    assert [len(attempt) for attempt in worked(bench)] == [25, 25, 20]
    assert_whole(bench)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["KILL", "INT", "TERM", "limit"])
def test_an_attempt_that_is_ended_while_it_works_is_continued(bench, kind, end):
    limit = {"timeoutSeconds": 3} if end == "limit" else {}
    progressing(bench, kind, "waits", retry={"attempts": 1}, **limit)
    for number in range(1, 3):
        process = bench.start()
        wait_for(lambda number=number: len(worked(bench)) == number and len(worked(bench)[-1]) == 25)
        if end in CODES:
            kill(process.pid, signal.Signals[f"SIG{end}"])
        elif end == "KILL":
            kill_and_await(process)
        assert process.wait(timeout=20) == CODES.get(end, 1 if end == "limit" else -9)
        assert bench.program_processes() == []
    bench.succeed()
    assert_whole(bench)


# ---- several stages --------------------------------------------------------------------------------------------------


def waiting(name, script="echo $PIPELINE_STAGE >$PIPELINE_OUTPUT_OUT", **fields):
    """A sealed stage that waits to be killed if HOME says so."""
    waits = "echo ready >&2; case $HOME in */waits) sleep 600;; esac"
    return shell(name, f"{script}; {waits}", sealed=True, **fields)


def is_waiting(bench, stage, attempt="*"):
    return any("ready" in log.read_text() for log in bench.root.glob(f"state/logs/*/{stage}.{attempt}.log"))


def killed(bench, *stages, words=()):
    """Run, and kill everything once these stages wait."""
    (bench.root / "waits").mkdir(exist_ok=True)
    process = bench.start(*words, env={"HOME": str(bench.root / "waits")})
    for stage in stages:
        wait_for(lambda stage=stage: is_waiting(bench, stage))
    kill_and_await(process)


def test_stages_that_are_killed_at_once_begin_anew(bench):
    bench.define(*(waiting(name) for name in "abc"))
    for _ in range(2):
        killed(bench, *"abc", words=("-j", "3"))
    bench.succeed()
    assert [bench.read(f"out/{name}.txt") for name in "abc"] == [b"a\n", b"b\n", b"c\n"]
    assert left(bench) == []
    assert bench.skips_everything()


def test_a_run_that_another_one_supersedes_leaves_nothing(bench):
    bench.define(*(waiting(name) for name in "ab"))
    killed(bench, "a", words=("run", "a"))
    killed(bench, "b", words=("run", "b"))
    bench.succeed()
    assert b'"superseded"' in bench.read("state/audit_ledger.jsonl")
    assert [bench.read(f"out/{name}.txt") for name in "ab"] == [b"a\n", b"b\n"]
    assert left(bench) == []
    assert bench.run("verify", "--outputs").returncode == 0


@pytest.mark.parametrize("seen", ["top", "deep/er/top", "out/other.txt"])
def test_an_output_that_is_seen_elsewhere_is_killed_and_made_anew(bench, seen):
    script = "[ ! -e $PIPELINE_OUTPUT_OUT ] && echo x >>$PIPELINE_OUTPUT_OUT"
    bench.define(waiting("a", script, seenAs={"out": seen}))
    killed(bench, "a")
    bench.succeed()
    assert bench.read("out/a.txt") == b"x\n"
    assert left(bench) == []
    assert not bench.exists(seen)


def test_a_directory_is_killed_and_made_anew(bench):
    bench.define(waiting("a", "mkdir out/d out/d/e; echo x >out/d/e/x", outputs={"out": "out/d/"}))
    killed(bench, "a")
    bench.succeed()
    assert bench.read("out/d/e/x") == b"x\n"
    assert left(bench) == []


def test_a_directory_of_outputs_that_is_removed_after_a_kill_is_made_anew(bench):
    bench.define(waiting("a"))
    killed(bench, "a")
    (bench.root / "out").rmdir()
    bench.succeed()
    assert bench.read("out/a.txt") == b"a\n"
    assert left(bench) == []


@pytest.mark.parametrize("what", ["out", "view"])
def test_a_directory_that_is_removed_while_a_stage_works_fails_that_stage_alone(bench, what):
    works = "while echo x >out/a.txt && ! test -e go; do sleep 0.01; done; exit 0"
    bench.define(shell("a", works, sealed=True), shell("b", "echo b >b/b", sealed=True, outputs={"out": "b/b"}))
    process = bench.start("-k", "-j", "1")
    (at,) = wait_for(lambda: [*bench.root.glob(".partial-*/out/a.txt")])
    if what == "out":
        shutil.rmtree(bench.root / "out")
        (at.parents[1] / "go").touch()
    else:
        shutil.rmtree(at.parents[1])
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1, stderr
    assert "stage a" in stderr
    assert bench.read("b/b") == b"b\n"
    assert left(bench) == []
    bench.define(shell("a", "echo x >out/a.txt", sealed=True))
    bench.succeed()


@pytest.mark.parametrize("what", ["file", "link"])
def test_what_is_in_place_of_the_directory_of_outputs_after_a_kill_is_named_and_then_no_fault(bench, what):
    bench.define(waiting("a"))
    killed(bench, "a")
    (bench.root / "out").rmdir()
    if what == "file":
        bench.write("out", "")
    else:
        (bench.root / "out").symlink_to("gone")
    done = bench.run()
    assert done.returncode in (5, 74, 2)
    assert f"{bench.root}/out" in done.stderr or '"out"' in done.stderr
    (bench.root / "out").unlink()
    bench.succeed()
    assert left(bench) == []


def test_a_stage_that_is_unsealed_after_a_kill_leaves_nothing(bench):
    bench.define(waiting("a"))
    killed(bench, "a")
    bench.define({**waiting("a"), "sealed": False})
    bench.succeed()
    assert left(bench) == []


def test_a_stage_that_is_gone_after_a_kill_leaves_nothing(bench):
    bench.define(waiting("a"), waiting("b"))
    killed(bench, "a", "b", words=("-j", "2"))
    bench.define(waiting("b"))
    bench.succeed()
    assert left(bench) == []
    assert not bench.exists("out/a.txt")


def test_standard_output_of_a_failed_stage_is_kept_until_the_next_attempt(bench):
    script = "echo printed by $PIPELINE_ATTEMPT; exit 3"
    bench.define(shell("a", script, stdout="out", sealed=True))
    for attempt in (1, 2):
        assert bench.run().returncode == 1
        (kept,) = bench.root.glob("state/logs/*/*.stdout")
        assert kept.read_text() == f"printed by {attempt}\n"
        assert left(bench) == []


@pytest.mark.parametrize("who", ["launcher", "stage"])
def test_a_run_that_loses_only(who, bench):
    bench.define(waiting("a", retry={"attempts": 2, "delaySeconds": 0, "retryExitCodes": ["SIGKILL"]}))
    (bench.root / "waits").mkdir()
    process = bench.start(env={"HOME": str(bench.root / "waits")})
    for attempt in (1, 2):
        wait_for(lambda attempt=attempt: is_waiting(bench, "a", attempt))
        for pid in descendants(process.pid)[:1] if who == "launcher" else bench.program_processes():
            kill(pid)
        if who == "launcher":
            break
    assert process.wait(timeout=20) == (70 if who == "launcher" else 75)
    wait_for(lambda: not bench.program_processes())
    bench.succeed()
    assert bench.read("out/a.txt") == b"a\n"
    assert left(bench) == []
