"""A run whose disk refuses any one call reports errno and path and exits with 74; the next ends as if undisturbed.

The calls and errnos are a seeded choice. OFFPIPE_SWEEP=all takes every one, which takes long.
"""

from __future__ import annotations

import os
import random
from errno import EIO, ENOSPC

import pytest
from call_tracer import why_not
from crash_pipeline import CrashPipeline
from pipeline_bench import PipelineBench
from refusing_disk import Refusal, RefusingDisk

ALL = os.environ.get("OFFPIPE_SWEEP") == "all"
REASON = why_not()
SPLITS = """
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to=("even", "odd")) as job:
    for number, line in enumerate(job, job.line_offset):
        job.write(line, to="odd" if number % 2 else "even")
"""
CARRIES_ON = """
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to="out") as job:
    for line in job:
        job.write(line)
        try:
            job.checkpoint()
        except Exception:
            pass
"""

pytestmark = [pytest.mark.skipif(bool(REASON), reason=f"cannot trace here: {REASON}"), pytest.mark.full]


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "runs").mkdir()
    return RefusingDisk(str(CrashPipeline(tmp_path / "pipeline").spec), tmp_path / "runs")


def chosen(disk, role, names, number):
    """Return every refusal of calls with these names, or a seeded choice of calls with one errno each."""
    calls = [errors for errors in disk.refusals(role) if errors[0].name in names]
    assert calls, f"no call of {names}"
    if ALL:
        return [refusal for errors in calls for refusal in errors]
    draw = random.Random(f"{role} {names}")
    return [draw.choice(errors) for errors in draw.sample(calls, min(number, len(calls)))]


RUNNER = {
    "files cannot be made": (("openat", "mkdir"), 4),
    "nothing can be written": (("write",), 4),
    "nothing can be made durable": (("fsync", "fdatasync"), 4),
    "nothing can be renamed or removed": (("rename", "unlink", "unlinkat", "rmdir"), 3),
    "nothing can be locked": (("flock", "fchmod"), 8),
}


@pytest.mark.parametrize("what", RUNNER)
def test_the_runner_reports_the_path_and_the_next_run_goes_on_when(disk, what):
    faults = [fault for refusal in chosen(disk, "runner", *RUNNER[what]) for fault in disk.faults(refusal)]
    assert not faults, "\n".join(["", *faults])


def sdk_disk(tmp_path, program, outputs, **fields):
    """Return the disk of a pipeline with one SDK stage."""
    bench = PipelineBench(tmp_path)
    bench.write("in.txt", "".join(f"line {number}\n" for number in range(30)))
    bench.write("work.py", program)
    stage = {"name": "work", "processor": "work.py", "inputs": {"text": "in.txt"}, "checkpoint": {"everyLines": 10}}
    bench.define({**stage, "outputs": outputs, **fields})
    (tmp_path / "runs").mkdir()
    return RefusingDisk(str(bench.spec), tmp_path / "runs")


def test_an_sdk_stage_reports_the_path_and_keeps_its_last_checkpoint(tmp_path):
    disk = sdk_disk(tmp_path, SPLITS, {"even": "w/even", "odd": "w/odd"})
    refusals = chosen(disk, "stage", ("openat", "write", "fdatasync", "rename"), 6)
    faults = [fault for refusal in refusals for fault in disk.faults(refusal)]
    assert not faults, "\n".join(["", *faults])
    place = disk.place()
    disk.traced(place, Refusal("stage", "write", 3, ENOSPC, "/w/.partial-"))
    assert place.checkpoints() == {"work": (place.stage_counts().keys["work"], 10)}


@pytest.mark.parametrize("refusal", [("write", 2, ENOSPC), ("fdatasync", 2, EIO)])
def test_a_stage_that_ignores_a_failed_checkpoint_fails_too(tmp_path, refusal):
    disk = sdk_disk(tmp_path, CARRIES_ON, {"out": "w/out"})
    disk.refusals("stage")
    assert disk.faults(Refusal("stage", *refusal, "/w/.partial-")) == []


def test_a_full_disk_is_retried_if_the_spec_lists_74(tmp_path):
    retry = {"attempts": 2, "delaySeconds": 0, "retryExitCodes": [74]}
    disk = sdk_disk(tmp_path, SPLITS, {"even": "w/even", "odd": "w/odd"}, retry=retry)
    disk.refusals("stage")
    place = disk.place()
    traced = disk.traced(place, Refusal("stage", "write", 2, ENOSPC, "/w/.partial-"))
    assert (traced.struck > 0, traced.code, place.stage_counts().started["work"]) == (True, 0, 2)
    assert place.outputs() == disk.wanted


def test_a_commit_that_could_not_be_synced_is_taken_back(disk):
    """It is in memory and looks like any other record. The next run would act on what a power cut takes away."""
    disk.refusals("runner")
    place = disk.place()
    traced = disk.traced(place, Refusal("runner", "fdatasync", 2, EIO, "/audit_2"))
    assert traced.code == 74
    assert (place.stage_counts().started, place.stage_counts().committed) == ({}, {})
    assert list(disk.faults_after(place)) == []
    assert place.stage_counts().committed["split"] == 1


def test_a_partial_that_could_not_be_synced_is_not_used_again(disk):
    """Its checkpoint would vouch for it. A second fsync would succeed without what the first one lost."""
    disk.refusals("runner")
    place = disk.place()
    assert disk.traced(place, Refusal("runner", "fsync", 1, EIO, "/w/.partial-")).code == 74
    assert not list(place.workspace.glob("w/.partial-*.even"))
    assert list(disk.faults_after(place)) == []
    assert place.stage_counts().started["split"] == 2


def test_a_marker_that_could_not_be_synced_is_written_anew(disk):
    disk.refusals("runner")
    place = disk.place()
    assert disk.traced(place, Refusal("runner", "fsync", 1, EIO, "/stage_")).code == 74
    before = {path.stat().st_mtime_ns for path in place.state.glob("stage_*.json")}
    assert before
    assert list(disk.faults_after(place)) == []
    assert before.isdisjoint(path.stat().st_mtime_ns for path in place.state.glob("stage_*.json"))
