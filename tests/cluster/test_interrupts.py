"""A signal ends a run on a cluster like any other run, whoever else gets the signal or does not answer."""

from __future__ import annotations

import os
import signal

import pytest
from dask_cluster import ended
from pipeline_bench import kill, shell, wait_for


def test_an_interrupt_ends_the_stages_on_the_workers(bench, workers):
    bench.define(shell("a", "sleep 1000"), shell("b", "sleep 1000"), shell("c", "sleep 1000"))
    process = bench.start("--cluster", workers.address, "-j3")
    wait_for(lambda: len(bench.program_processes()) >= 2, "two stages")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert not bench.program_processes()


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_a_signal_to_the_whole_group_ends_local_workers_only_after_their_stages(bench, number):
    bench.define(shell("a", 'trap "sleep 0.3; touch cleaned; exit 1" TERM; touch began; while :; do sleep 0.02; done'))
    process = bench.start("--cluster", "local:1")
    wait_for(lambda: bench.exists("began"), "the stage")
    os.killpg(process.pid, number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number, stderr
    assert bench.exists("cleaned")
    assert "Traceback" not in stderr and "distributed" not in stderr
    assert [attempt.lost for attempt in ended(bench)] == [None]


@pytest.mark.full
@pytest.mark.parametrize("stopped", ["worker", "scheduler"])
def test_a_signal_ends_a_run_although_its_worker_or_scheduler_is_stopped(bench, make_cluster, stopped):
    cluster = make_cluster("one")
    bench.define(shell("a", "touch began; exec sleep 1000"))
    process = bench.start("--cluster", str(cluster.file))
    wait_for(lambda: bench.exists("began"), "the stage")
    kill((cluster.workers["one"] if stopped == "worker" else cluster.scheduler).pid, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)  # Dask itself gives up the worker after five minutes
    assert process.returncode == 130, stderr
    assert ended(bench)[0].lost
    for each in (cluster.scheduler, cluster.workers["one"]):
        kill(each.pid, signal.SIGCONT)
    wait_for(lambda: not bench.program_processes(), "the end of the stage")
