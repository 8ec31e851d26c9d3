"""`memoryMiB`, `cpus` and `timeoutSeconds` as lists: a value for each attempt, and where the next run begins."""

from __future__ import annotations

import json
import os

import pytest
from pipeline_bench import kill_and_await, shell, wait_for

QUICK = {"delaySeconds": 0, "retryExitCodes": [9]}
SAY = "echo $PIPELINE_MEMORY_MIB >> said; "
WRITE = "cat in.txt > $PIPELINE_OUTPUT_OUT"

NOT_IN_THE_KEY = [
    {"resources": {"cpus": [1, 2], "memoryMiB": [1, 2]}},
    {"programVersion": ["true"]},
    {"timeoutSeconds": [5, 6]},
    {"retry": {"retryExitCodes": "any"}},
    {"resources": {"cpus": 64}},
]
THREE = {"attempts": 3}
WARNINGS = [
    ({"retry": {**THREE, "retryExitCodes": ["SIGKILL"]}}, []),
    ({"retry": {**THREE, "retryExitCodes": "any"}}, []),
    ({"retry": {"retryExitCodes": "any"}}, ['"memoryMiB" has 3 values, more than "retry" has attempts (1)']),
    ({"retry": THREE}, ["SIGKILL is not retried"]),
    ({"retry": THREE, "resources": {"memoryMiB": [1, 2], "enforce": True}}, []),  # it runs out in another way
    ({"retry": THREE, "resources": {"memoryMiB": 2}, "timeoutSeconds": 9}, []),
    ({"resources": {"cpus": [1, 2]}, "timeoutSeconds": [1, 2]}, ['"cpus" has 2', '"timeoutSeconds" has 2']),
]


def said(bench):
    return bench.read("said").decode().split()


def listed(script, attempts=3, **fields):
    """A stage that says how much memory it was given. It fails until `script` lets it write its output."""
    fields = {"resources": {"memoryMiB": [10, 20, 30]}, "retry": {**QUICK, "attempts": attempts}, **fields}
    return shell("a", f"{SAY}{script}; {WRITE}", inputs={"in": "in.txt"}, **fields)


def define(bench, *stages):
    bench.write("in.txt", "1\n")
    bench.define(*stages)


def change_input(bench):
    bench.write("in.txt", bench.read("in.txt") + b"more\n")


def positions(bench):
    return [record["data"].get("position", 0) for record in bench.records("attempt.started")]


def test_each_attempt_gets_its_value_and_the_last_one_repeats(bench):
    script = 'echo "$PIPELINE_CPUS $OMP_NUM_THREADS" >> cpus; cat $PIPELINE_STAGE_FILE >> files; echo >> files; exit 9'
    define(bench, listed(script, attempts=4, resources={"memoryMiB": [10, 20, 30], "cpus": [1, 1.5]}))
    assert bench.run("-j", "8").returncode == 75
    assert said(bench) == ["10", "20", "30", "30"]
    files = [json.loads(line)["resources"] for line in bench.read("files").splitlines()]
    assert [(each["cpus"], each["memoryMiB"]) for each in files] == [(1, 10), (1.5, 20), (1.5, 30), (1.5, 30)]
    assert bench.read("cpus").decode().splitlines() == ["1 1", "1.5 2", "1.5 2", "1.5 2"]
    assert positions(bench) == [0, 1, 2, 2]


def test_each_attempt_has_its_own_time_limit_and_the_failure_names_the_last_one(bench):
    retry = {"attempts": 2, "delaySeconds": 0, "retryOnTimeout": True}
    define(bench, shell("a", "sleep 60", timeoutSeconds=[0.1, 0.3], retry=retry))
    done = bench.run()
    assert done.returncode == 75
    assert "ended at its time limit of 0.3 s after 2 attempts" in done.stderr
    first, second = bench.attempts("a")
    assert first["timedOut"] and second["timedOut"] and second["seconds"] >= 0.3 > first["seconds"]


def test_the_kernel_enforces_the_value_of_the_attempt(bench):
    resources = {"memoryMiB": [500, 700], "enforce": True}
    define(bench, listed("ulimit -v >> limits; test $PIPELINE_ATTEMPT = 2 || exit 9", resources=resources))
    bench.succeed()
    assert bench.read("limits").split() == [str(500 << 10).encode(), str(700 << 10).encode()]
    enforced = [record["data"]["enforced"]["addressSpaceBytes"] for record in bench.records("attempt.started")]
    assert enforced == [500 << 20, 700 << 20]


def test_a_retry_that_counts_anew_after_a_changed_input_begins_with_the_first_value_too(bench):
    script = "test $PIPELINE_ATTEMPT = 1 && exit 9; test $PIPELINE_ATTEMPT = 2 && echo new > in.txt; true"
    define(bench, listed(script))
    bench.succeed()
    assert said(bench) == ["10", "20", "10"]


# ---- the next run ----


def test_a_run_begins_where_the_last_attempt_failed(bench):
    define(bench, listed("test -e now || exit 9", attempts=2))
    assert bench.run().returncode == bench.run().returncode == 75
    bench.write("now", "")
    bench.succeed()
    assert said(bench) == ["10", "20", "20", "30", "30"]


def test_a_run_after_a_success_begins_with_the_first_value(bench):
    define(bench, listed("test -e now || exit 9"))
    assert bench.run().returncode == 75
    bench.write("now", "")
    bench.succeed()
    change_input(bench)
    bench.succeed()
    assert said(bench) == ["10", "20", "30", "30", "10"]


@pytest.mark.parametrize("end", ["killed runner", "interrupt", "exit code that is not retried"])
def test_it_does_not_matter_what_ended_the_last_attempt(bench, end):
    script = "test -e now || { test $PIPELINE_MEMORY_MIB = 10 && exit 9; touch second; %s; }"
    define(bench, listed(script % ("exit 3" if end.startswith("exit") else "sleep 60")))
    if end.startswith("exit"):
        assert bench.run().returncode == 1
    else:
        process = bench.start()
        wait_for(lambda: bench.exists("second"))
        if end == "interrupt":
            process.terminate()
            assert process.wait() == 143
        else:
            kill_and_await(process)
    bench.write("now", "")
    bench.succeed()
    assert said(bench) == ["10", "20", "20"]


def test_the_value_is_taken_by_position_from_a_list_that_was_edited(bench):
    define(bench, listed("test -e now || exit 9", attempts=2))
    assert bench.run().returncode == 75
    bench.write("now", "")
    define(bench, listed("test -e now || exit 9", attempts=2, resources={"memoryMiB": [1, 200, 3]}))
    bench.succeed()
    assert said(bench) == ["10", "20", "200"]


def test_a_success_in_another_run_counts_while_the_failed_run_is_still_open(bench):
    define(bench, listed("test -e now || exit 9"), shell("b", "exit 3"))
    assert bench.run("-k").returncode == 1
    bench.write("now", "")
    bench.succeed("a")
    change_input(bench)
    assert bench.run("-k").returncode == 1
    assert said(bench) == ["10", "20", "30", "30", "10"]


def test_a_new_run_begins_where_a_stage_failed_in_a_run_that_it_does_not_continue(bench):
    define(bench, listed("test -e now || exit 9"), shell("b", "exit 3"))
    assert bench.run("-k").returncode == 1
    bench.write("now", "")
    bench.succeed("a")
    assert len({record["run"] for record in bench.records("attempt.started")}) == 2
    assert said(bench)[3:] == ["30"]


def test_a_run_that_succeeds_without_running_the_stage_forgets_where_it_failed(bench):
    define(bench, listed("test -e now || exit 9", attempts=2))
    bench.write("now", "")
    bench.succeed()
    os.unlink(bench.root / "now")
    assert bench.run("-f", "a").returncode == 75
    bench.succeed()
    assert bench.run("-f", "a").returncode == 75
    assert said(bench) == ["10", "10", "20", "10", "20"]


def test_prune_keeps_what_a_run_needs_to_know_where_to_begin(bench):
    define(bench, listed("test -e now || exit 9"))
    bench.write("now", "")
    bench.succeed()
    os.unlink(bench.root / "now")
    change_input(bench)
    assert bench.run().returncode == 75
    bench.succeed("prune", "--keep", "1")
    bench.write("now", "")
    bench.succeed()
    assert said(bench) == ["10", "10", "20", "30", "30"]
    assert "intact" in bench.succeed("verify").stdout


def test_no_record_of_a_stage_without_a_list_has_a_position(bench):
    define(bench, shell("a", "exit 9", retry={**QUICK, "attempts": 3}, resources={"memoryMiB": 5}))
    assert bench.run().returncode == 75
    started = [record["data"] for record in bench.records("attempt.started")]
    assert len(started) == 3 and not any({"position", "replaces", "cpus"} & data.keys() for data in started)


# ---- what it is not ----


@pytest.mark.full_after(2)
@pytest.mark.parametrize("fields", NOT_IN_THE_KEY, ids=str)
def test_no_such_field_is_in_the_key(bench, fields):
    define(bench, shell("a", WRITE, inputs={"in": "in.txt"}))
    bench.succeed()
    define(bench, shell("a", WRITE, inputs={"in": "in.txt"}, **fields))
    assert bench.skips_everything()


# ---- warnings ----


@pytest.mark.full_after(5)
@pytest.mark.parametrize(("fields", "warnings"), WARNINGS, ids=str)
def test_validate_warns_of_values_that_no_attempt_gets(bench, fields, warnings):
    define(bench, listed("true", **{"retry": {}, **fields}))
    shown = bench.succeed("validate").stderr.splitlines()
    found = [line for line in shown if line.startswith("warning: ")]
    assert len(found) == len(warnings), found
    assert all("#/stages/0: " in line and warning in line for line, warning in zip(found, warnings, strict=True))
