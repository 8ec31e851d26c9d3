"""Threads sync the stages that end while others run: the same promises hold for them."""

from __future__ import annotations

import random
import shutil

import pytest
from disk_bench import LINES, disk_bench, result, steps_through
from disk_model import Sync
from disk_order import Order
from pipeline_bench import ROOT, shell
from power_cuts import Loss, assert_mended, in_place, instants

pytestmark = pytest.mark.full

NAMES = [f"s{number}" for number in range(6)]
OUTPUTS = {name: {"out": f"w/{name}"} for name in NAMES} | {"all": {"out": "w/all"}}
TWO = ("-j", "2")


@pytest.fixture
def bench(tmp_path):
    made = disk_bench(tmp_path / "disk")
    yield made
    made.close()


def side_by_side(bench, prefix="line"):
    """Define six independent stages, and one that reads all their outputs.

    No stage creates a file itself: the model could not tell which of two files that are created at once was first.
    """
    bench.write("in.txt", "".join(f"{prefix} {number}\n" for number in range(LINES)))
    sorts = [
        shell(name, f"sort -k2 in.txt | grep {number}", inputs={"t": "in.txt"}, outputs=OUTPUTS[name], stdout="out")
        for number, name in enumerate(NAMES)
    ]
    inputs = {name: f"w/{name}" for name in NAMES}
    bench.define(*sorts, shell("all", "sort w/s*", inputs=inputs, outputs=OUTPUTS["all"], stdout="out"))


def faults(disk):
    return Order(disk, OUTPUTS, synced=True).faults()


def test_nothing_refers_to_what_is_not_yet_durable(bench):
    side_by_side(bench)
    disk = bench.traced(*TWO)
    assert faults(disk) == []
    assert sum(isinstance(step, Sync) for step in disk.steps) > len(OUTPUTS)
    side_by_side(bench, "other")
    assert faults(bench.traced(*TWO)) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_run_is_completed_after_a_power_cut(bench, seed):
    side_by_side(bench)
    disk = bench.traced(*TWO)
    wanted = result(bench)
    for until in instants(disk, seed):
        bench.lay_out(in_place(disk.after(until, Loss(disk, until, f"{seed} {until}"))), disk.times, disk.next)
        assert_mended(bench, wanted, f"seed {seed}, after {until} steps, {disk.descriptions[until - 1]}")


@pytest.mark.parametrize("kind", ["fsync", "fdatasync"])
@pytest.mark.parametrize("lost", ["once", "from then on"])
@pytest.mark.parametrize("taken_back", [True, False])
def test_no_run_publishes_what_could_not_be_synced_before_it_is_durable(bench, kind, lost, taken_back):
    """If an fsync of any of them fails, nothing lost is published, and all that the next run reports is on the disk."""
    side_by_side(bench)
    undisturbed = bench.traced(*TWO)
    wanted = result(bench)
    syncs = sum(isinstance(step, Sync) for step in undisturbed.steps)
    nth = random.Random(f"{kind} {lost} {taken_back}").randint(2, max(3, syncs // 4))
    for when in (nth, 2, 2):  # stages that end together share a sync, so on a slow machine there may be too few
        bench.fresh()
        side_by_side(bench)
        refused = f"{kind}:error=EIO:when={when}{'' if lost == 'once' else '+'}"
        failed = bench.traced(
            *TWO, inject=(refused, *(() if taken_back else ("truncate:error=EIO",))), exit_code=None
        )  # fmt: skip
        if is_struck := any(line.endswith(" fails") for line in failed.descriptions):
            break
    assert is_struck
    assert faults(failed) == []
    again = bench.traced(*TWO, after=(failed, len(failed.steps)))
    assert result(bench) == wanted
    bench.lay_out(again.synced(len(again.steps)), again.times, again.next)
    verified = bench.run("verify", "--outputs")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert result(bench) == wanted


@pytest.mark.parametrize("what", ["stage.commit", "sync w/.partial-", "rename w/.partial-"])
def test_a_run_that_goes_on_after_a_kill_makes_durable_what_the_killed_one_had_not(bench, what):
    side_by_side(bench)
    killed = bench.traced(*TWO)
    until = steps_through(killed, what)
    bench.lay_out(killed.whole(until), killed.times, killed.next)
    assert faults(bench.traced(*TWO, after=(killed, until))) == []


def test_the_order_check_finds_commits_that_are_not_synced(bench, tmp_path):
    for package in ("runner", "stages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    place = tmp_path / "runner/executor/publishing.py"
    before = "submit(LOG, None, self._log.flush)"
    assert before in place.read_text()
    place.write_text(place.read_text().replace(before, "submit(LOG, None, str)"))
    side_by_side(bench)
    complaints = faults(bench.traced(*TWO, exit_code=None, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}))
    assert any("stage.commit is" in complaint for complaint in complaints), complaints
