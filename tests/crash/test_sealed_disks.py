"""Sealed stages whose outputs or state are on another disk, also if that is full, killed or has lost a record."""

from __future__ import annotations

import shutil

import pytest
from pipeline_bench import kill_and_await, shell, wait_for
from sealed_progress import KINDS, WHOLE, assert_whole, left, progressing, worked
from small_disks import fill, make_room, small_disk

from runner.paths import is_view

FULL = "dd if=/dev/zero of=$PIPELINE_OUTPUT_OUT bs=4096 count=300 2>/dev/null || {then}"  # of 300 KiB, less than 1.2 MB

pytestmark = pytest.mark.full


@pytest.fixture
def disk(bench):
    """A disk of 4 MiB below the bench."""
    with small_disk(bench, "size=4m"):
        yield bench


@pytest.mark.parametrize("state", ["state", "mnt/state"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_attempt_with_its_output_on_another_disk_is_continued(disk, kind, state):
    """Its state, too, may be there."""
    progressing(disk, kind, "waits", output="mnt/out/lines")
    disk.spec.write_text(disk.spec.read_text().replace('"name": "bench"', f'"name": "bench", "stateDir": "{state}"'))
    for number in range(1, 3):
        process = disk.start()
        wait_for(lambda number=number: len(worked(disk, state)) == number and len(worked(disk, state)[-1]) == 25)
        kill_and_await(process)
    disk.succeed()
    assert_whole(disk, "mnt/out/lines", state)


@pytest.mark.parametrize("state", ["state", "mnt/state"])
@pytest.mark.parametrize("then", ["exit 1", "true"], ids=["fails", "ignores it"])
@pytest.mark.parametrize("output", ["mnt/a", "mnt/d/er/a"])
def test_a_full_disk_costs_a_sealed_stage_no_more_than_another(disk, output, then, state):
    disk.define(shell("a", FULL.format(then=then), sealed=True, outputs={"out": output}), stateDir=state)
    fill(disk, 300 << 10)
    for _ in range(2):
        done = disk.run("-q")
        assert done.returncode == (1 if then == "exit 1" and state == "state" else 74) or "disk" in done.stderr
        assert not disk.exists(output)
        assert left(disk, state) == []
    make_room(disk)
    disk.succeed()
    assert len(disk.read(output)) == 300 * 4096
    assert left(disk, state) == []


def test_no_room_for_a_view_is_a_fault_of_the_disk_and_leaves_nothing(disk):
    spec = shell("a", "echo x >$PIPELINE_OUTPUT_OUT", sealed=True, outputs={"out": "a/b/c/d/e/f"})
    disk.define(spec)
    shutil.copy(disk.spec, disk.root / "mnt/spec.json")
    outer, disk.spec = disk.spec, disk.root / "mnt/spec.json"
    fill(disk, 0)
    assert disk.run().returncode == 74
    make_room(disk)
    disk.succeed()
    assert disk.read("mnt/a/b/c/d/e/f") == b"x\n"
    assert left(disk, "mnt/state") == []
    disk.spec = outer


def test_a_full_disk_costs_no_checkpoint(disk):
    """The stage fails when it may not append; the next run continues from the lines before."""
    progressing(disk, "shell", "fails", output="mnt/lines", stop=25)
    assert disk.run().returncode == 75
    fill(disk, 0)
    assert disk.run().returncode in (1, 74, 75)
    make_room(disk)
    while disk.run().returncode == 75:
        pass
    assert disk.read("mnt/lines").decode() == WHOLE
    assert worked(disk)[-1][0] >= 20
    assert left(disk) == []


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_an_attempt_begins_anew_where_one_without_a_record_left_its_outputs_on_two_disks(disk, names):
    """The first output decides on which disk the view's root is."""
    outputs = {name: {"a": "mnt/a", "b": "out/b"}[name] for name in names}
    makes = "echo x >>$PIPELINE_OUTPUT_A; echo y >>$PIPELINE_OUTPUT_B"
    waits = "echo ready >&2; case $HOME in */waits) sleep 600;; esac"
    disk.define(shell("a", f"{makes}; {waits}", sealed=True, outputs=outputs))
    (disk.root / "waits").mkdir()
    process = disk.start(env={"HOME": str(disk.root / "waits")})
    wait_for(lambda: any("ready" in log.read_text() for log in disk.root.glob("state/logs/*/a.1.log")))
    kill_and_await(process)
    assert len([path for path in disk.root.rglob(".partial-*") if is_view(path.name)]) == 2
    (log,) = disk.root.glob("state/audit_2*.jsonl")
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[: next(at for at, line in enumerate(lines) if b'"attempt.started"' in line)]))
    disk.succeed()
    assert (disk.read("mnt/a"), disk.read("out/b")) == (b"x\n", b"y\n")
    assert left(disk) == []
