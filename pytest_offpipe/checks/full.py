"""`full`: on a full disk it does not end with 0, and with room again the next run gives the same bytes."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pytest_offpipe.checks.case import SAME, Bench, Budget, Case, CheckFailedError, Trial, ended
from pytest_offpipe.faults.disks import PAGE, TEMPORARY, make_room, mount_small, run_watched, says_full
from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.runs import UNSYNCED, Around
from pytest_offpipe.sandbox import copy, files_below
from runner import results
from runner.levels import RefusedError
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from pytest_offpipe.reports import StageReport

OTHER_DISK = os.strerror(errno.EXDEV)
MEMORY = 8  # what part of the memory outputs may take, which are there twice when it runs again


def check_full(case: Case) -> None:
    """Run it where about half of its outputs fit; then make room, and run it again."""
    bench = Bench(case)
    Budget(case).require(2, bench.undisturbed.seconds)
    files = [file for path in bench.undisturbed.outputs.paths.values() for file in files_below(path)]
    pages = sum(-(-os.lstat(file).st_size // PAGE) for file in files)
    if not pages:
        case.unmade("its outputs are empty, so there is nothing that a full disk could refuse")
    if pages > os.sysconf("SC_PHYS_PAGES") // MEMORY:
        case.unmade(f"{pages * PAGE >> 20:,} MiB of outputs are too much for a disk in this machine's memory")
    trial = bench.trial("full")
    try:
        confined = Confined()
    except RefusedError as error:
        case.unmade(f"no disk of its own can be mounted for it here: {error}")
    workspace = str(trial.sandbox.directory / "workspace")
    os.makedirs(workspace)
    paths = load_spec(trial.sandbox.spec, workspace=workspace).paths
    with confined:
        bench.call = confined.call
        bench.call(mount_small, workspace, pages // 2, (paths.state_dir, paths.locks_dir))
        try:
            done = f"ran it on a disk with {pages // 2 * PAGE:,} bytes left for its outputs"
            _fill_and_make_room(trial, workspace, done)
        except CheckFailedError:
            if case.directory.exists():  # else the check was not made; the disk ends with it
                bench.call(copy, workspace, str(trial.sandbox.directory / "kept"))
            raise
    bench.close()


def _run_there(trial: Trial, workspace: str) -> tuple[StageReport, bool]:
    """Run the stage on the small disk, and tell whether that was seen to be full meanwhile.

    TMPDIR is on this disk, too, as it is on the one of a user's outputs: a stage may rename what it has made there.
    """
    around = Around(trial.sandbox.home, os.path.join(workspace, TEMPORARY))
    options = UNSYNCED._replace(workspace=workspace)
    report, was_full = trial.bench.call(run_watched, workspace, trial.sandbox, around, options)
    return trial.of_stage(report), was_full


def _fill_and_make_room(trial: Trial, workspace: str, done: str) -> None:
    """Run it on a `workspace` that is a small disk, but for state and locks; only calls of the bench see that."""
    bench = trial.bench
    report, was_full = _run_there(trial, workspace)
    was_full = was_full or says_full(report.log)
    if was_full and report.attempts and report.attempts[-1].timed_out:
        limit = bench.overrides["timeoutSeconds"]
        trial.fail(done, "it ends, with an exit code other than 0", f"it still ran after {limit:.0f} s", report)
    if report.status == results.SUCCEEDED:  # right only if all bytes are there, as those of a file with holes may be
        complete = "all of its outputs fit into half of their size"
        what = (
            f"it swallowed that the disk was full\n{trial.lack(report, 'on a full disk', 'it was written', complete)}"
        )
        trial.fail(done, f"an exit code other than 0, or {SAME}", what, report)
    bench.call(make_room, workspace)
    again, _ = _run_there(trial, workspace)
    if again.status != results.SUCCEEDED and OTHER_DISK in again.log:
        bench.case.unmade("it links files across disks, and its inputs lie on another one here than its outputs")
    trial.require_same(again, f"{done}, then ran it again with room", "with room again")
    if not was_full:
        bench.case.unmade(f"its disk was never seen to be full, and it failed all the same: {ended(report)}")
