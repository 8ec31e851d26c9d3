"""After an fsync that failed the kernel takes for written what is lost, and the next fsync succeeds without it.

So whoever goes on from what may not be on disk writes it again first. The model of the disk knows no mercy here: what
an fsync failed on is made durable by nothing else.
"""

from __future__ import annotations

import pytest
from disk_bench import behind, disk_bench, four_stages, result

pytestmark = pytest.mark.full

ALL = ("fdatasync:error=EIO", "fsync:error=EIO")
NOTHING_IS_TAKEN_BACK = ("truncate:error=EIO",)


@pytest.fixture
def bench(tmp_path):
    made = disk_bench(tmp_path / "disk")
    yield made
    made.close()


def assert_on_disk(bench, disk):
    """All is lost that need not be on the disk, and yet there is all that the last run told of."""
    wanted = result(bench)
    bench.lay_out(disk.synced(len(disk.steps)), disk.times, disk.next)
    verified = bench.run("verify", "--outputs")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert bench.succeed("plan").stdout.count(" skip") == 3
    assert result(bench) == wanted


@pytest.mark.parametrize("taken_back", [True, False])
@pytest.mark.parametrize(("kind", "nth"), [("fdatasync", 1), ("fdatasync", 2), ("fdatasync", 5), ("fsync", 1)])
def test_what_a_run_could_not_sync_the_next_one_writes_again(bench, kind, nth, taken_back):
    four_stages(bench)
    refused = (f"{kind}:error=EIO:when={nth}+", *(() if taken_back else NOTHING_IS_TAKEN_BACK))
    failed = bench.traced(inject=refused, exit_code=None)
    assert any(told.endswith(" fails") for told in failed.told)
    assert_on_disk(bench, bench.traced(after=(failed, len(failed.steps))))


@pytest.mark.parametrize(
    "what", ["run.start", "opened", "stage.commit", "rename deep/er/.partial-", "run.end", "closed"]
)
def test_what_a_killed_run_had_not_synced_is_written_again_though_an_fsync_has_failed_on_it(bench, what):
    four_stages(bench)
    killed = bench.traced()
    until = behind(killed, what)
    bench.lay_out(killed.whole(until), killed.times, killed.next)
    failed = bench.traced(after=(killed, until), inject=(*ALL, *NOTHING_IS_TAKEN_BACK), exit_code=74)
    assert_on_disk(bench, bench.traced(after=(failed, len(failed.steps))))


def test_what_a_killed_run_without_durability_committed_is_on_disk_after_one_with(bench):
    four_stages(bench)
    killed = bench.traced("--durability", "process")
    until = behind(killed, "run.end") - 1
    bench.lay_out(killed.whole(until), killed.times, killed.next)
    assert_on_disk(bench, bench.traced(after=(killed, until)))
