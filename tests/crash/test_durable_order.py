"""The order in which a run puts things on disk, read from the system calls of all its processes."""

from __future__ import annotations

import shutil

import pytest
from disk_bench import OUTPUTS, behind, disk_bench, four_stages
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
    four_stages(bench)
    assert faults(bench.traced()) == []
    four_stages(bench, "other")  # over what is there: the directory is exchanged, the ledger goes on
    disk = bench.traced()
    assert any(told.startswith("exchange w/") for told in disk.told)
    assert faults(disk) == []
    assert faults(bench.traced()) == []  # nothing to do


@pytest.mark.full
def test_the_order_is_the_same_without_any_fsync(bench):
    four_stages(bench)
    disk = bench.traced("--durability", "process")
    assert not any(isinstance(step, Sync) for step in disk.steps)
    assert faults(disk, synced=False) == []


KILLED_BEHIND = [
    "run.start", "opened", "rename state/tmp/", "sync w/.partial-", "stage.commit", "rename w/.partial-",
    "rename deep/er/.partial-", "sync deep", "run.end", "closed",
]  # fmt: skip


@pytest.mark.parametrize("what", full_but(KILLED_BEHIND, ["stage.commit"]))
def test_a_run_that_goes_on_after_a_kill_makes_durable_what_the_killed_one_had_not(bench, what):
    """What the killed run had done and not synced counts for nothing in the next one either."""
    four_stages(bench)
    killed = bench.traced()
    until = behind(killed, what)
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
    "the commit is not synced": ("executor/publishing.py", "self._log.sync()", "pass", "stage.commit is"),
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
    "metrics are not synced": ("engine/journal.py", "earlier), sync=self.durable", "earlier), sync=False", "metrics"),
    "the log is not synced before the ledger": (
        "record/audit.py",
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
    four_stages(bench)
    found = faults(bench.traced(exit_code=None, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}))
    assert any(expected in one for one in found), found
