"""After a power cut at any instant, whatever unsynced changes are lost, in any order, the next run ends the same.

A seed draws the instants and what is lost. OFFPIPE_SWEEP=all takes every instant, which takes long.
"""

from __future__ import annotations

import json

import pytest
from disk_bench import define_stages, disk_bench, result
from power_cuts import Loss, assert_mended, in_place, instants

pytestmark = pytest.mark.full


@pytest.fixture
def bench(tmp_path):
    made = disk_bench(tmp_path / "disk")
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_first_run_is_completed_after_a_power_cut(bench, seed):
    define_stages(bench)
    disk = bench.traced()
    wanted = result(bench)
    for until in instants(disk, seed):
        bench.lay_out(in_place(disk.after(until, Loss(disk, until, f"{seed} {until}"))), disk.times, disk.next)
        assert_mended(bench, wanted, f"seed {seed}, after {until} steps, {disk.descriptions[until - 1]}")


def test_a_run_over_earlier_outputs_is_completed_after_a_power_cut(bench):
    define_stages(bench, "other")
    bench.succeed()
    define_stages(bench)
    disk = bench.traced()
    wanted = result(bench)
    for until in instants(disk, "again"):
        bench.lay_out(in_place(disk.after(until, Loss(disk, until, f"again {until}"))), disk.times, disk.next)
        assert_mended(bench, wanted, f"after {until} steps, {disk.descriptions[until - 1]}")


def test_nothing_of_a_run_that_succeeded_is_lost(bench):
    define_stages(bench)
    disk = bench.traced()
    bench.lay_out(in_place(disk.synced(len(disk.steps), names_too=False)), disk.times, disk.next)
    assert bench.run("verify", "--outputs").returncode == 0
    assert bench.succeed("plan").stdout.count(" skip") == 3


def test_an_adoption_runs_nothing_again_after_a_power_cut(bench):
    define_stages(bench)
    bench.succeed()
    stages = json.loads(bench.spec.read_bytes())["stages"]
    bench.define(*({**stage, "each": {"n": [1]}} for stage in stages))
    disk = bench.traced()
    wanted = result(bench)
    for until in instants(disk, "adopted"):
        bench.lay_out(in_place(disk.after(until, Loss(disk, until, f"adopted {until}"))), disk.times, disk.next)
        assert_mended(bench, wanted, f"after {until} steps, {disk.descriptions[until - 1]}")
        assert len(bench.records("attempt.started")) == len(stages), (
            f"after {until} steps, {disk.descriptions[until - 1]}"
        )
