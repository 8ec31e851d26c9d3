"""`full`: on a full disk it does not end with 0, and with room again the next run gives the same bytes."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pytest_offpipe.checks.case import CheckFailedError
from pytest_offpipe.checks.trial import SAME, Bench, Budget, ended
from pytest_offpipe.faults.disks import PAGE, TEMPORARY, make_room, mount_small, run_watched, says_full
from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.runs import UNSYNCED, Around
from pytest_offpipe.sandbox import copy, files_below
from runner import results
from runner.levels import RefusedError
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.checks.trial import Trial
    from pytest_offpipe.reports import StageReport

OTHER_DISK = os.strerror(errno.EXDEV)
MEMORY = 8  # what part of the memory outputs may take, which are there twice when it runs again


def check_full(case: Case) -> None:
    """Run it where about half of its outputs fit; then make room, and run it again."""
    bench = Bench(case)
    Budget(case).require(2, bench.undisturbed.seconds)
    pages = sum(map(_pages, bench.undisturbed.outputs.paths.values()))
    if not pages:
        case.unmade("its outputs are empty, so there is nothing that a full disk could refuse")
    if pages > os.sysconf("SC_PHYS_PAGES") // MEMORY:
        case.unmade(f"{pages * PAGE >> 20:,} MiB of outputs are too much for a disk in this machine's memory")
    trial = bench.trial("full")
    try:
        confined = Confined()
    except RefusedError as error:
        case.unmade(f"no disk of its own can be mounted for it here: {error}")
    with confined:
        disk = _Disk(trial, confined, pages // 2)
        try:
            _fill_and_make_room(disk)
        except CheckFailedError:
            if case.directory.exists():  # else the check was not made
                disk.keep()
            raise
    bench.close()


class _Disk:
    """A workspace that is a small disk of its own, but for state and locks; only what is called in there sees it."""

    def __init__(self, trial: Trial, confined: Confined, pages: int) -> None:
        """`pages` is what is free for outputs."""
        self.trial = trial
        self.free = pages * PAGE
        self.call = confined.call
        self.workspace = str(trial.sandbox.directory / "workspace")
        os.makedirs(self.workspace)
        paths = load_spec(trial.sandbox.spec, workspace=self.workspace).paths
        self.call(mount_small, self.workspace, pages, (paths.state_dir, paths.locks_dir))

    def run(self) -> tuple[StageReport, bool]:
        """Run the stage there, and tell whether the disk was seen to be full meanwhile.

        TMPDIR is on this disk, too, as it is on the one of a user's outputs: a stage may rename what it has made there.
        """
        around = Around(self.trial.sandbox.home, os.path.join(self.workspace, TEMPORARY))
        options = UNSYNCED._replace(workspace=self.workspace)
        report, was_full = self.call(run_watched, self.workspace, self.trial.sandbox, around, options)
        return self.trial.of_stage(report), was_full

    def keep(self) -> None:
        """Copy what is on the disk, which ends with this check, to where it can be looked at."""
        self.call(copy, self.workspace, str(self.trial.sandbox.directory / "kept"))


def _fill_and_make_room(disk: _Disk) -> None:
    trial, done = disk.trial, f"ran it on a disk with {disk.free:,} bytes left for its outputs"
    report, was_full = disk.run()
    last = report.attempts[-1] if report.attempts else None
    is_told = was_full or says_full(report.log)
    if last and last.timed_out and is_told:
        limit = trial.bench.overrides["timeoutSeconds"]
        trial.fail(done, "it ends, with an exit code other than 0", f"it still ran after {limit:.0f} s", report)
    if report.status == results.SUCCEEDED:
        _judge_success(disk, report, done)
    disk.call(make_room, disk.workspace)
    again, _ = disk.run()
    if again.status != results.SUCCEEDED and OTHER_DISK in again.log:
        trial.bench.case.unmade("it links files across disks, and its inputs lie on another one here than its outputs")
    trial.require_same(again, f"{done}, then ran it again with room", "with room again", disk.call)
    if not is_told:
        trial.bench.case.unmade(f"its disk was never seen to be full, and it failed all the same: {ended(report)}")


def _judge_success(disk: _Disk, report: StageReport, done: str) -> None:
    """An exit code of 0 is right only if all bytes are there, as those of a file with holes may be."""
    trial, case = disk.trial, disk.trial.bench.case
    if trial.bench.volatile:
        case.unmade("it ended with 0, and whether all of it was written cannot be told from volatile bytes")
    found = trial.bench.changed(report.outputs.paths, "on a full disk", disk.call)
    if not found:
        case.unmade("all of its outputs fit into half of their size")
    trial.fail(done, f"an exit code other than 0, or {SAME}", f"it swallowed that the disk was full\n{found}", report)


def _pages(path: str) -> int:
    """Return how many pages the files at a path fill."""
    return sum(-(-os.lstat(file).st_size // PAGE) for file in files_below(path))
