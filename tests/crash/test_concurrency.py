"""Eight runners started at once, in rounds, one of them killed: each stage is done once, and nobody is let down.

The stages of a round write down, outside the workspace, that they worked; the input says which round it is. Rounds take
turns in whom they kill: who holds the lock, or any. OFFPIPE_SWEEP=all takes more rounds, which takes longer.
"""

from __future__ import annotations

import os
import random
import signal
import socket
from collections import Counter

import pytest
from pipeline_bench import PipelineBench, kill, shell, wait_for

from runner.engine import Options
from runner.engine.verify import verify
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
    """The stages that worked in a round, each as often as it did."""
    witness = bench.root.parent / "witness"
    lines = witness.read_text().splitlines() if witness.exists() else []
    return Counter(line.split()[0] for line in lines if line.split()[1] == name)


def holder_of(bench, runners):
    """The one that holds the lock, or has just held it; the first when that is none of them."""
    said = read_holder(str(bench.root / "locks/pipeline.lock")).get("pid")
    return next((one for one in runners if one.pid == said), runners[0])


def play(bench, number, *words, kills_holder):
    """Start all runners on work that is new, kill one once a stage works; return all, and what the others said."""
    name = f"round-{number}"
    bench.write("in.txt", f"{name}\n")
    runners = [bench.start(*words) for _ in range(RUNNERS)]
    wait_for(lambda: worked(bench, name), "the first stage")
    killed = holder_of(bench, runners) if kills_holder else random.Random(number).choice(runners)
    kill(killed.pid)
    said = {one: one.communicate(timeout=60)[1] for one in runners}
    assert killed.returncode in (-signal.SIGKILL, EXIT_OK, EXIT_LOCKED), said[killed]  # it may have been faster
    return runners, {one: said[one] for one in runners if one is not killed}


def verified(bench):
    """The exit code that `verify` would have."""
    return verify(str(bench.spec), Options()).exit_code


def commits(bench):
    return Counter(record["data"]["stage"] for record in bench.records("stage.commit"))


def assert_done_once(bench, number):
    """A stage worked again only where the kill met it: what was committed was not."""
    name = f"round-{number}"
    assert [bench.read(f"out/{stage}.txt") for stage in "abc"] == [f"{name}\n".encode()] * 3
    assert commits(bench) == dict.fromkeys("abc", number + 1)
    counts = worked(bench, name)
    assert set(counts) == set("abc")
    assert counts.total() <= 3 + 1
    assert not bench.leftovers()
    assert verified(bench) == EXIT_OK


@pytest.mark.parametrize("with_id", [False, True], ids=["ids of their own", "one id"])
def test_who_loses_ends_with_9_and_names_the_holder_or_finds_nothing_to_do(bench, with_id):
    for number in range(ROUNDS):
        words = ("--run-id", f"round-{number}") if with_id else ()
        runners, others = play(bench, number, *words, kills_holder=number % 2 == 0)
        assert verified(bench) in (EXIT_OK, EXIT_PENDING)
        for one, said in others.items():
            assert one.returncode in (EXIT_OK, EXIT_LOCKED), said
            if one.returncode == EXIT_LOCKED:
                named = (f"lock: pid {other.pid} on {socket.gethostname()}, " for other in runners if other is not one)
                assert any(map(said.__contains__, named)), said
        bench.succeed(*words)
        assert_done_once(bench, number)


@pytest.mark.parametrize("with_id", [False, True], ids=["ids of their own", "one id"])
def test_who_waits_ends_with_0(bench, with_id):
    for number in range(ROUNDS // 2):
        words = ("--wait", *(("--run-id", f"round-{number}") if with_id else ()))
        _, others = play(bench, number, *words, kills_holder=number % 2 == 0)
        assert {one.returncode for one in others} == {EXIT_OK}, others.values()
        assert_done_once(bench, number)
