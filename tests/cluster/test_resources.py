"""Resources steer where stages run, and -j bounds how many run at once."""

from __future__ import annotations

import pytest
from dask_cluster import ended, used
from pipeline_bench import shell, wait_for

pytestmark = pytest.mark.full

ALONE = "mkdir {here}/alone && sleep 0.1 && rmdir {here}/alone && echo >$PIPELINE_OUTPUT_OUT"  # fails beside another


def test_a_stage_goes_to_a_worker_that_has_what_it_asks_for(bench, make_cluster):
    cluster = make_cluster()
    cluster.add("small", "--resources", "cpus=1 memoryMiB=100")
    cluster.add("big", "--resources", "cpus=4 memoryMiB=1000")
    cluster.await_workers(2)
    bench.define(
        *(shell(f"c{number}", "echo >$PIPELINE_OUTPUT_OUT", resources={"cpus": 3}) for number in range(3)),
        *(shell(f"m{number}", "echo >$PIPELINE_OUTPUT_OUT", resources={"memoryMiB": 500}) for number in range(3)),
    )
    bench.succeed("--cluster", str(cluster.file), "-j4")
    assert used(bench) == {"big"} and len(ended(bench)) == 6


def test_stages_that_ask_for_all_of_a_worker_do_not_meet(bench, make_cluster, tmp_path):
    cluster = make_cluster()
    cluster.add("one", "--nthreads", "4", "--resources", "cpus=2")
    cluster.await_workers(1)
    script = ALONE.format(here=tmp_path)
    bench.define(*(shell(f"s{number}", script, resources={"cpus": 2}) for number in range(4)))
    bench.succeed("--cluster", str(cluster.file), "-j8")


def test_a_stage_that_no_worker_can_take_is_named(bench, make_cluster):
    cluster = make_cluster()
    cluster.add("one", "--resources", "cpus=2")
    cluster.await_workers(1)
    bench.define(
        shell("huge", "echo >$PIPELINE_OUTPUT_OUT", resources={"cpus": 64, "memoryMiB": 12345678}),
        shell("fine", "echo >$PIPELINE_OUTPUT_OUT"),
    )
    done = bench.run("-k", "--cluster", str(cluster.file), "--cluster-wait", "1")
    assert done.returncode == 75
    assert "stage huge: its attempt was lost: no worker has cpus=64 and memoryMiB=12345678" in done.stderr
    assert [record["data"]["what"].partition(":")[0] for record in bench.records("run.warning")] == [
        "no worker has cpus=64 and memoryMiB=12345678"
    ]
    assert bench.read("out/fine.txt") == b"\n"


def test_only_j_cuts_the_cpus_of_a_stage(bench, make_cluster):
    cluster = make_cluster()
    cluster.add("one", "--resources", "cpus=2")
    cluster.await_workers(1)
    bench.define(shell("a", "echo $PIPELINE_CPUS >$PIPELINE_OUTPUT_OUT", resources={"cpus": 64}))
    bench.succeed("--cluster", str(cluster.file), "-j2")
    assert bench.read("out/a.txt") == b"2\n"
    assert [record["data"]["cpus"] for record in bench.records("attempt.started")] == [2]


def test_a_stage_waits_for_a_worker_that_has_what_it_asks_for(bench, make_cluster):
    cluster = make_cluster()
    cluster.add("small", "--resources", "cpus=1")
    cluster.await_workers(1)
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT", resources={"cpus": 3}))
    process = bench.start("--cluster", str(cluster.file))
    wait_for(lambda: bench.records("run.warning"), "the warning")
    cluster.add("big", "--resources", "cpus=4")
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stdout + stderr
    assert used(bench) == {"big"}


def test_a_worker_that_says_nothing_about_resources_has_its_threads(bench, make_cluster):
    cluster = make_cluster()
    cluster.add("one", "--nthreads", "2")
    bench.define(shell("a", "echo >$PIPELINE_OUTPUT_OUT", resources={"cpus": 2, "memoryMiB": 1}))
    bench.succeed("--cluster", str(cluster.file))


def test_j_bounds_the_stages_on_all_workers_together(bench, workers, tmp_path):
    script = ALONE.format(here=tmp_path)
    bench.define(*(shell(f"s{number}", script) for number in range(5)))
    bench.succeed("--cluster", workers.address, "-j1")
