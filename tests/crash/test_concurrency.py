"""Eight runners start at once, and one is killed: each stage is done once, and all other runners end as promised.

This is repeated in rounds. The input names the round, and each stage that works notes that outside the workspace.
Rounds alternate between killing the lock's holder and any runner. OFFPIPE_SWEEP=all plays more, which takes longer.
"""

from __future__ import annotations

import os
import random
import signal
import socket
from collections import Counter

import pytest
from pipeline_bench import PipelineBench, kill, shell, wait_for

from runner.audit.verify import verify
from runner.engine import Options
from runner.errors import EXIT_LOCKED, EXIT_OK, EXIT_PENDING
from runner.record.locks import read_holder

pytestmark = pytest.mark.full

RUNNERS = 8
ROUNDS = 20 if os.environ.get("OFFPIPE_SWEEP") == "all" else 10
WORKS = 'read round <"$PIPELINE_INPUT_IN"; echo "$PIPELINE_STAGE $round" >>"$WITNESS"; cp "$PIPELINE_INPUT_IN" "$0"'


@pytest.fixture
def bench(tmp_path):
    made = PipelineBench(tmp_path / "bench")
    made.root.mkdir()
    stages, before = [], "in.txt"
    for name in ("a", "b", "c"):
        witness = {"WITNESS": str(tmp_path / "witness")}
        stages.append(shell(name, WORKS, inputs={"in": before}, env=witness))
        stages[-1]["command"].append("{outputs.out}")
        before = f"out/{name}.txt"
    made.define(*stages)
    yield made
    made.close()


def worked(bench, name):
    """Return how often each stage worked in a round."""
    witness = bench.root.parent / "witness"
    lines = witness.read_text().splitlines() if witness.exists() else []
    return Counter(line.split()[0] for line in lines if line.split()[1] == name)


def holder_of(bench, runners):
    """Return the runner that holds the lock or has just held it; the first if it is none of them."""
    holder = read_holder(str(bench.root / "locks/pipeline.lock")).get("pid")
    return next((runner for runner in runners if runner.pid == holder), runners[0])


def play(bench, number, *words, kills_holder):
    """Start all runners on new work and kill one once a stage works; return all, and the stderr of the others."""
    name = f"round-{number}"
    bench.write("in.txt", f"{name}\n")
    runners = [bench.start(*words) for _ in range(RUNNERS)]
    wait_for(lambda: worked(bench, name), "the first stage")
    killed = holder_of(bench, runners) if kills_holder else random.Random(number).choice(runners)
    kill(killed.pid)
    stderr = {runner: runner.communicate(timeout=60)[1] for runner in runners}
    assert killed.returncode in (-signal.SIGKILL, EXIT_OK, EXIT_LOCKED), stderr[killed]  # it may have been faster
    return runners, {runner: stderr[runner] for runner in runners if runner is not killed}


def verified(bench):
    """Return the exit code that `verify` would end with."""
    return verify(str(bench.spec), Options()).exit_code


def commits(bench):
    return Counter(record["data"]["stage"] for record in bench.records("stage.commit"))


def assert_done_once(bench, number):
    """Check that each stage committed once, and that it worked again only if it was killed before its commit."""
    name = f"round-{number}"
    assert [bench.read(f"out/{stage}.txt") for stage in "abc"] == [f"{name}\n".encode()] * 3
    assert commits(bench) == dict.fromkeys("abc", number + 1)
    counts = worked(bench, name)
    assert set(counts) == set("abc")
    assert counts.total() <= 3 + 1
    assert not bench.leftovers()
    assert verified(bench) == EXIT_OK


@pytest.mark.parametrize("with_id", [False, True], ids=["ids of their own", "one id"])
def test_a_runner_without_the_lock_ends_with_9_and_names_the_holder_or_finds_nothing_to_do(bench, with_id):
    for number in range(ROUNDS):
        words = ("--run-id", f"round-{number}") if with_id else ()
        runners, others = play(bench, number, *words, kills_holder=number % 2 == 0)
        assert verified(bench) in (EXIT_OK, EXIT_PENDING)
        for runner, stderr in others.items():
            assert runner.returncode in (EXIT_OK, EXIT_LOCKED), stderr
            if runner.returncode == EXIT_LOCKED:
                named = (
                    f"lock: pid {other.pid} on {socket.gethostname()}, " for other in runners if other is not runner
                )
                assert any(map(stderr.__contains__, named)), stderr
        bench.succeed(*words)
        assert_done_once(bench, number)


@pytest.mark.parametrize("with_id", [False, True], ids=["ids of their own", "one id"])
def test_a_runner_that_waits_ends_with_0(bench, with_id):
    for number in range(ROUNDS // 2):
        words = ("--wait", *(("--run-id", f"round-{number}") if with_id else ()))
        _, others = play(bench, number, *words, kills_holder=number % 2 == 0)
        assert {runner.returncode for runner in others} == {EXIT_OK}, others.values()
        assert_done_once(bench, number)
