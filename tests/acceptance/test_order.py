"""What runs when: the graph's order, -j, -k, -f, named stages; long chains and wide fans."""

from __future__ import annotations

import json
import os
import re

import pytest
from pipeline_bench import shell

# Counts the stages that run at the same time. The first ones wait until $MOST of them have started.
COUNTED = """
mkdir -p now; touch now/$PIPELINE_STAGE
until test -e met; do test $(ls now | wc -l) -lt $MOST || touch met; sleep 0.01; done
ls now | wc -l > $PIPELINE_OUTPUT_OUT; rm now/$PIPELINE_STAGE
"""
TRUE = ["cp", "{inputs.in}", "{outputs.out}"]


def ran(bench):
    return [record["data"]["stage"] for record in bench.records("attempt.started")]


def most_at_once(bench, count):
    return max(int(bench.read(f"out/s{number}.txt")) for number in range(count))


def chain(count):
    first = {"name": "s0", "command": TRUE, "inputs": {"in": "in.txt"}, "outputs": {"out": "out/s0"}}
    return [
        first,
        *(
            {**first, "name": f"s{n}", "inputs": {"in": f"out/s{n - 1}"}, "outputs": {"out": f"out/s{n}"}}
            for n in range(1, count)
        ),
    ]


def fan(count):
    return [
        {"name": f"s{n}", "command": TRUE, "inputs": {"in": "in.txt"}, "outputs": {"out": f"out/s{n}"}}
        for n in range(count)
    ]


def test_order_comes_from_files_and_needs_not_from_the_spec(bench):
    bench.define(
        shell("last", "cat out/* > $PIPELINE_OUTPUT_OUT", inputs={"all": "out/part-*.txt", "tree": "tree/"}),
        shell("middle", "cp out/first.txt $PIPELINE_OUTPUT_OUT", outputs={"out": "out/part-1.txt"}, needs=["tree"]),
        shell("tree", "mkdir $PIPELINE_OUTPUT_T; touch $PIPELINE_OUTPUT_T/x", outputs={"t": "tree/"}, needs=["first"]),
        shell("first", "echo 1 > $PIPELINE_OUTPUT_OUT"),
    )
    bench.succeed("-j", "4")
    assert ran(bench) == ["first", "tree", "middle", "last"]


@pytest.mark.full_after(2)
@pytest.mark.parametrize(("jobs", "resources", "most"), [
    (3, {}, 3), (4, {"cpus": 2}, 2), (8, {"memoryMiB": 10_000_000}, 1), (2, {"cpus": 64}, 1), (1, {}, 1),
])  # fmt: skip
def test_as_many_at_once_as_jobs_cpus_and_memory_allow(bench, jobs, resources, most):
    bench.define(
        *(shell(f"s{n}", COUNTED, resources=resources, env={"MOST": str(most)}, timeoutSeconds=20) for n in range(6))
    )
    bench.succeed("-j", str(jobs))
    assert most_at_once(bench, 6) == most


def test_an_attempt_is_admitted_by_its_own_value(bench):
    """The second attempt needs more than the machine has, so it has to wait until `other` has ended."""
    other = "touch now; until test -e failed; do sleep 0.01; done; sleep 0.5; rm now; touch $PIPELINE_OUTPUT_OUT"
    script = (
        "test $PIPELINE_ATTEMPT = 1 && { until test -e now; do sleep 0.01; done; touch failed; exit 9; }; test ! -e now"
    )
    resources, retry = {"memoryMiB": [1, 1_000_000_000]}, {"attempts": 2, "delaySeconds": 0, "retryExitCodes": [9]}
    script += " && touch $PIPELINE_OUTPUT_OUT"
    bench.define(shell("a", script, resources=resources, retry=retry), shell("other", other))
    bench.succeed("-j", "2")


def test_more_cpus_than_j_are_cut_to_it_and_that_is_on_record(bench):
    bench.define(shell("a", "echo $PIPELINE_CPUS $OMP_NUM_THREADS > $PIPELINE_OUTPUT_OUT", resources={"cpus": 64}))
    bench.succeed("-j", "3")
    assert bench.read("out/a.txt") == b"3 3\n"
    assert [record["data"]["cpus"] for record in bench.records("attempt.started")] == [3]


def test_without_j_cpus_are_cut_to_those_of_the_machine(bench):
    bench.define(shell("a", "echo $PIPELINE_CPUS > $PIPELINE_OUTPUT_OUT", resources={"cpus": 65_536}))
    bench.succeed()
    assert bench.read("out/a.txt").split() == [str(len(os.sched_getaffinity(0))).encode()]


def test_cpus_that_are_there_are_not_on_record(bench):
    bench.define(shell("a", "echo $PIPELINE_CPUS > $PIPELINE_OUTPUT_OUT", resources={"cpus": 0.5}))
    bench.succeed()
    assert bench.read("out/a.txt") == b"0.5\n"
    assert "cpus" not in bench.records("attempt.started")[0]["data"]


def test_enforced_cpus_are_not_cut(bench):
    bench.define(shell("a", "echo $PIPELINE_CPUS > $PIPELINE_OUTPUT_OUT", resources={"cpus": 64, "enforce": True}))
    bench.succeed("-j", "2")
    assert bench.read("out/a.txt") == b"64\n"
    assert "cpus" not in bench.records("attempt.started")[0]["data"]


def failing(bench):
    bench.define(
        shell("bad", "exit 7"),
        shell("after-bad", "touch $PIPELINE_OUTPUT_OUT", inputs={"in": "out/bad.txt"}),
        shell("after-that", "touch $PIPELINE_OUTPUT_OUT", inputs={"in": "out/after-bad.txt"}),
        shell("good", "touch $PIPELINE_OUTPUT_OUT"),
        shell("after-good", "touch $PIPELINE_OUTPUT_OUT", inputs={"in": "out/good.txt"}),
    )


def test_a_failure_ends_the_run(bench):
    failing(bench)
    done = bench.run("-j", "1")
    assert done.returncode == 1
    assert ran(bench) == ["bad"]
    assert "exit 7" in done.stderr


def test_with_k_what_does_not_depend_on_a_failure_runs(bench):
    failing(bench)
    assert bench.run("-j", "1", "-k").returncode == 1
    assert ran(bench) == ["bad", "good", "after-good"]
    ended = {stage: entry["status"] for stage, entry in bench.metrics()["stages"].items()}
    assert ended.pop("bad") == "failed"
    assert ended == {
        "after-bad": "blocked", "after-that": "blocked", "good": "succeeded", "after-good": "succeeded",
    }  # fmt: skip


def test_named_stages_run_with_what_they_need_only(bench):
    bench.write("in.txt", "x")
    bench.define(*chain(4), *({**stage, "name": f"t{stage['name']}", "outputs": {"o": f"t/{stage['name']}"},
                               "command": ["cp", "{inputs.in}", "{outputs.o}"]} for stage in fan(2)))  # fmt: skip
    bench.succeed("run", "s2")
    assert ran(bench) == ["s0", "s1", "s2"]
    bench.succeed("run", "ts1")
    assert ran(bench)[3:] == ["ts1"]


def test_force_runs_all_and_with_names_only_these(bench):
    bench.write("in.txt", "x")
    bench.define(*chain(4))
    bench.succeed()
    bench.succeed("run", "s2", "-f")
    assert ran(bench)[4:] == ["s2"]
    bench.succeed("-f")
    assert ran(bench)[5:] == ["s0", "s1", "s2", "s3"]
    assert bench.skips_everything()


@pytest.mark.full
@pytest.mark.parametrize(("shape", "count"), [(chain, 2_000), (chain, 10_000), (fan, 10_000)])
def test_thousands_of_stages_are_loaded_planned_and_drawn(bench, shape, count):
    bench.write("in.txt", "x")
    bench.define(*shape(count))
    planned = bench.succeed("plan").stdout.splitlines()
    assert len([line for line in planned if re.match(r"s\d+ ", line)]) == count
    assert len(bench.succeed("graph", "--format", "dot").stdout.splitlines()) >= count


@pytest.mark.full
@pytest.mark.parametrize("shape", [chain, fan])
def test_a_thousand_stages_run_and_are_skipped(bench, shape):
    bench.write("in.txt", "x")
    bench.define(*shape(1_000))
    bench.succeed("-q", "-j", "2", "--durability", "process")
    assert all(bench.read(f"out/s{n}") == b"x" for n in (0, 500, 999))
    assert bench.skips_everything()


@pytest.mark.full
def test_a_failure_ends_a_thousand_stages_that_wait_for_their_next_attempt(bench):
    again = {"attempts": 2, "delaySeconds": 600, "jitter": 0}
    bench.define(*(shell(f"s{n}", "exit 75", retry=again) for n in range(1_100)), shell("z", "exit 1"))
    done = bench.run("-j", "4", "--json", "--durability", "process")
    assert done.returncode == 1, done.stderr[-500:]
    assert len(json.loads(done.stdout)["stages"]) == 1_101


@pytest.mark.full
@pytest.mark.parametrize("count", [2_000, 10_000])  # Python's recursion limit is 1,000
def test_a_chain_whose_first_fails_blocks_thousands(bench, count):
    stages = chain(count)
    stages[0]["command"] = ["false"]
    bench.write("in.txt", "x")
    bench.define(*stages)
    assert bench.run("-k", "-q").returncode == 1
    assert ran(bench) == ["s0"]
