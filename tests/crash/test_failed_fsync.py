"""After a failed fsync, the kernel takes lost bytes for written, and the next fsync succeeds without them.

So a run that goes on from bytes that may not be on disk writes them again first. The model of the disk is strict here:
nothing else makes durable what an fsync failed on.
"""

from __future__ import annotations

import pytest
from disk_bench import define_stages, disk_bench, result, steps_through

pytestmark = pytest.mark.full

ALL = ("fdatasync:error=EIO", "fsync:error=EIO")
NOTHING_IS_TAKEN_BACK = ("truncate:error=EIO",)


@pytest.fixture
def bench(tmp_path):
    made = disk_bench(tmp_path / "disk")
    yield made
    made.close()


def assert_on_disk(bench, disk):
    """Drop all that need not be on the disk, and check that all that the last run reported is still there."""
    wanted = result(bench)
    bench.lay_out(disk.synced(len(disk.steps)), disk.times, disk.next)
    verified = bench.run("verify", "--outputs")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert bench.succeed("plan").stdout.count(" skip") == 3
    assert result(bench) == wanted


@pytest.mark.parametrize("taken_back", [True, False])
@pytest.mark.parametrize(("kind", "nth"), [("fdatasync", 1), ("fdatasync", 2), ("fdatasync", 5), ("fsync", 1)])
def test_the_next_run_writes_again_what_a_run_could_not_sync(bench, kind, nth, taken_back):
    define_stages(bench)
    refused = (f"{kind}:error=EIO:when={nth}+", *(() if taken_back else NOTHING_IS_TAKEN_BACK))
    failed = bench.traced(inject=refused, exit_code=None)
    assert any(line.endswith(" fails") for line in failed.descriptions)
    assert_on_disk(bench, bench.traced(after=(failed, len(failed.steps))))


@pytest.mark.parametrize(
    "what", ["run.start", "opened", "stage.commit", "rename deep/er/.partial-", "run.end", "closed"]
)
def test_what_a_killed_run_had_not_synced_is_written_again_even_after_a_failed_fsync(bench, what):
    define_stages(bench)
    killed = bench.traced()
    until = steps_through(killed, what)
    bench.lay_out(killed.whole(until), killed.times, killed.next)
    failed = bench.traced(after=(killed, until), inject=(*ALL, *NOTHING_IS_TAKEN_BACK), exit_code=74)
    assert_on_disk(bench, bench.traced(after=(failed, len(failed.steps))))


def test_a_durable_run_puts_on_disk_what_a_killed_run_without_durability_committed(bench):
    define_stages(bench)
    killed = bench.traced("--durability", "process")
    until = steps_through(killed, "run.end") - 1
    bench.lay_out(killed.whole(until), killed.times, killed.next)
    assert_on_disk(bench, bench.traced(after=(killed, until)))
