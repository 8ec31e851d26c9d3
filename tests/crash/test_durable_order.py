"""The order in which a run puts things on disk, read from the system calls of all its processes."""

from __future__ import annotations

import shutil

import pytest
from disk_bench import OUTPUTS, define_stages, disk_bench, steps_through
from disk_model import Sync
from disk_order import Order
from pipeline_bench import ROOT
from suites import full_but


@pytest.fixture
def bench(tmp_path):
    made = disk_bench(tmp_path / "disk")
    yield made
    made.close()


def faults(disk, *, synced=True):
    return Order(disk, OUTPUTS, synced=synced).faults()


def test_nothing_refers_to_what_is_not_yet_durable(bench):
    define_stages(bench)
    assert faults(bench.traced()) == []
    define_stages(bench, "other")  # over earlier outputs: the directory is exchanged, the ledger continues
    disk = bench.traced()
    assert any(line.startswith("exchange w/") for line in disk.descriptions)
    assert faults(disk) == []
    assert faults(bench.traced()) == []  # nothing to do


@pytest.mark.full
def test_the_order_is_the_same_without_any_fsync(bench):
    define_stages(bench)
    disk = bench.traced("--durability", "process")
    assert not any(isinstance(step, Sync) for step in disk.steps)
    assert faults(disk, synced=False) == []


KILLED_BEHIND = [
    "run.start", "opened", "rename state/tmp/", "sync w/.partial-", "stage.commit", "rename w/.partial-",
    "rename deep/er/.partial-", "sync deep", "run.end", "closed",
]  # fmt: skip


@pytest.mark.parametrize("what", full_but(KILLED_BEHIND, ["stage.commit"]))
def test_a_run_that_goes_on_after_a_kill_makes_durable_what_the_killed_one_had_not(bench, what):
    """What the killed run did not sync does not count as durable in the next run either."""
    define_stages(bench)
    killed = bench.traced()
    until = steps_through(killed, what)
    bench.lay_out(killed.whole(until), killed.times, killed.next)
    assert faults(bench.traced(after=(killed, until))) == []


RENAMES = """\
        for name, real in job.real.items():
            files.publish(job.partials[name], real)
            os.symlink('x', job.partials[name])
"""
PLANTED = {
    "the outputs are not synced": (
        "record/files.py",
        "else sync_file)(path)",
        "else str)(path)",
        "content",
    ),
    "trees are not synced": ("record/files.py", "(sync_tree if", "(str if", "content of w/"),
    "the commit is not synced": ("executor/publishing.py", "self._log.flush)", "str)", "stage.commit is"),
    "renames come before the commit": (
        "executor/publishing.py",
        "        position = self.log.append(",
        RENAMES + "        position = self.log.append(",
        "stage.commit is",
    ),
    "directories and markers are not synced": (
        "engine/run.py",
        "            executor.publisher.sync()\n",
        "",
        "durably in place",
    ),
    "the directories above are not synced": (
        "paths.py",
        "while path not in",
        "while False and path not in",
        "durably in place",
    ),
    "metrics are not synced": (
        "engine/journal.py",
        "metrics, sync=self.durable)",
        "metrics, sync=False)",
        "metrics",
    ),
    "the log is not synced before the ledger": (
        "record/log.py",
        "        if sync:\n",
        "        if False:\n",
        "opened",
    ),
    "the checkpoint comes before its bytes": ("sdk/output.py", "if sync:", "if False:", "progress_"),
}


@pytest.mark.full
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(bench, tmp_path, fault):
    place, before, after, expected = PLANTED[fault]
    shutil.copytree(ROOT / "runner", tmp_path / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    source = (tmp_path / "runner" / place).read_text()
    assert before in source
    (tmp_path / "runner" / place).write_text(source.replace(before, after))
    define_stages(bench)
    complaints = faults(bench.traced(exit_code=None, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}))
    assert any(expected in complaint for complaint in complaints), complaints
