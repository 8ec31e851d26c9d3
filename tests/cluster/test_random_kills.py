"""Random kills of runner, workers, launchers and scheduler, while stages are at work: nothing is lost or doubled.

Takes 5 seeds; with OFFPIPE_SWEEP=all it takes 40, which means about 140 kills.
"""

from __future__ import annotations

import random
import signal
import time

import pytest
from crash_sweep import ALL
from dask_cluster import TTL
from pipeline_bench import children, kill, shell, wait_for

pytestmark = pytest.mark.full

SLOW = """
import time
from runner import sdk
with sdk.stage() as stage, stage.lines(stage.sole_input, to=stage.sole_output) as job:
    for line in job:
        time.sleep(0.002)
        job.write(line.upper())
"""
UPPER = "tr a-z A-Z <in.txt >$PIPELINE_OUTPUT_OUT; sleep 0.3"
LINES = "".join(f"line {number}\n" for number in range(150))
FAULTS = ("runner", "scheduler", "launcher", "worker", "worker", "stop", "stop")


def define(bench):
    """Define two chains of stages with checkpoints, the first of which keeps only its end, and two stages without."""
    bench.write("in.txt", LINES)
    bench.write("slow.py", SLOW)
    steps = {"p0": "in.txt", "p1": "in.txt", "q0": "out/p0", "q1": "out/p1"}
    slow = [
        {
            "name": name, "processor": "slow.py", "inputs": {"x": source}, "outputs": {"y": f"out/{name}"},
            "checkpoint": {"everyLines": 20}, "temporary": ["y"] if name == "p0" else [],
        }
        for name, source in steps.items()
    ]  # fmt: skip
    bench.define(*slow, *(shell(name, UPPER, outputs={"out": f"out/{name}"}) for name in ("s0", "s1")))
    return [f"out/{name}" for name in (*steps, "s0", "s1") if name != "p0"]


def await_work(bench, process, before):
    """Wait until there are more attempts than `before`, or the run has ended."""
    wait_for(lambda: process.poll() is not None or len(bench.records("attempt.started")) > before)


def inject_fault(fault, process, cluster, rng):
    """Kill or stop a process; add a new worker in place of a worker."""
    name, worker = rng.choice([pair for pair in cluster.workers.items() if pair[1].poll() is None])
    if fault == "runner":
        kill(process.pid)
    elif fault == "scheduler":
        kill(cluster.scheduler.pid)
    elif fault == "launcher":
        for launcher in children(worker.pid):
            kill(launcher)
    else:
        cluster.kill(name, signal.SIGSTOP if fault == "stop" else signal.SIGKILL)
        cluster.add(f"after-{name}")


@pytest.mark.parametrize("seed", range(40 if ALL else 5))
def test_random_kills_lose_and_double_nothing(bench, make_cluster, seed):
    rng, outputs, exits = random.Random(seed), define(bench), []
    cluster, left = make_cluster("one", "two", **TTL), rng.randint(2, 5)
    while exits[-1:] != [0]:
        process = bench.start("--cluster", str(cluster.file), "--cluster-wait", "10")
        before = len(bench.records("attempt.started"))
        while left and process.poll() is None:
            await_work(bench, process, before)
            time.sleep(rng.random() * 0.8)  # waits for no fact: the fault may come anywhere in the work
            if process.poll() is None:
                left -= 1
                inject_fault(rng.choice(FAULTS), process, cluster, rng)
        stderr = process.communicate(timeout=60)[1]
        exits.append(process.returncode)
        assert process.returncode in {0, 74, 75, -signal.SIGKILL}, stderr
        if cluster.scheduler.poll() is not None:
            cluster = make_cluster("one", "two", **TTL)
    for worker in cluster.workers.values():
        kill(worker.pid, signal.SIGCONT)
    assert [path for path in outputs if bench.read(path).decode() != LINES.upper()] == []
    assert not bench.exists("out/p0")
    assert bench.run("verify", "--outputs").returncode == 0
    wait_for(lambda: not bench.program_processes(), "the end of the stages of stopped workers")
    assert bench.skips_everything()
