"""A run of three rounds is killed at 50 random moments, with OFFPIPE_SWEEP=all at 200. The same command goes on."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest
from crash_sweep import ALL
from pipeline_bench import kill_and_await, wait_for

KILLS = 200 if ALL else 50
NAMES = "abcd"


def listing(name: str, source: str) -> dict[str, object]:
    """A stage that makes a table of the words in its inputs."""
    return {
        "name": name, "command": ["sh", "-c", 'echo name; cat "$@" | sort -u', "sh", "{inputs.x}"], "stdout": "table",
        "inputs": {"x": source}, "outputs": {"table": f"w/{name}.tsv"},
    }  # fmt: skip


def each(name: str, maker: str) -> dict[str, object]:
    return {
        "name": name, "each": {"rows": f"{{outputs.{maker}.table}}"}, "command": ["cat", "{inputs.x}", "{inputs.salt}"],
        "stdout": "o", "inputs": {"x": "in/{each.name}", "salt": "salt"}, "outputs": {"o": f"{name}/{{each.name}}"},
    }  # fmt: skip


def has_come_to(bench, records: int, process) -> bool:
    """Whether a run has written so many records, or has ended."""
    return process.poll() is not None or len(bench.records()) >= records


@pytest.mark.full
def test_a_run_of_three_rounds_goes_on_after_a_kill_at_any_moment(bench):
    gather = {"name": "all", "command": ["cat", "{inputs.x}"], "stdout": "o",
              "inputs": {"x": "{outputs.third.o}"}, "outputs": {"o": "all"}}  # fmt: skip
    bench.define(
        gather, each("third", "list3"), listing("list3", "{outputs.second.o}"), each("second", "list2"),
        listing("list2", "{outputs.first.o}"), each("first", "list1"), listing("list1", "names"),
    )  # fmt: skip
    for name in NAMES:
        bench.write(f"in/{name}", f"{name}\n")
    chance = random.Random(7)
    rounds_at_kill: Counter[int] = Counter()
    longest = 1  # records of an undisturbed run
    for kill in range(KILLS):
        names = sorted(chance.sample(NAMES, 2))
        salt = f"s{kill}"
        bench.write("names", "".join(f"{name}\n" for name in names))
        bench.write("salt", f"{salt}\n")
        bench.write(f"in/{salt}", f"{salt}\n")
        before = len(bench.records())
        process = bench.start()
        wait_for(partial(has_come_to, bench, before + chance.randint(1, longest), process))
        kill_and_await(process)
        killed = bench.records()[before:]
        if killed and killed[-1]["ev"] == "run.end":
            longest = len(killed)
        else:
            rounds_at_kill[sum(record["ev"] == "run.expanded" for record in killed)] += 1
        committed = {record["data"]["stage"] for record in killed if record["ev"] == "stage.commit"}
        begun = len(bench.records())
        bench.succeed()
        again = [record for record in bench.records()[begun:] if record["ev"] == "attempt.started"]
        assert committed.isdisjoint(record["data"]["stage"] for record in again), kill
        read = [*names, salt]
        assert bench.read("all").decode() == "".join(f"{name}\n{salt}\n" for name in read), kill
        assert bench.leftovers() == []
    assert bench.skips_everything() and bench.run("verify", "--outputs").returncode == 0
    assert rounds_at_kill.total() > 0.6 * KILLS and set(rounds_at_kill) == {0, 1, 2, 3}, rounds_at_kill
