"""Disks in memory that fill up for a stage: a process in its own namespaces mounts them, and runs the stage there.

The check `full` has a small disk. For the fixture, the sandbox's root, with TMPDIR in it, is on a disk that shrinks
while one stage runs. State and locks have disks on top, so that the runner's files and the stage's log have room.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.faults.plan import DISK_FULL, Fault, Injector
from pytest_offpipe.reports import RunReport, read_log
from pytest_offpipe.runs import Around, run_sandbox
from pytest_offpipe.sandbox import Sandbox, discard
from runner.sandbox.syscalls import MS_NODEV, MS_NOSUID, MS_REMOUNT, function
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_offpipe.fixtures.clock import OffpipeClock
    from runner.engine import Options
    from runner.results import AttemptResult
    from runner.sandbox.launcher import Launch

TEMPORARY = ".tmpdir"  # on the disk of a stage's outputs: some stages rename files from there to their outputs
ROOMY = 1 << 40  # bytes; a disk without a limit does not report how much of it is in use
BALLAST = ".ballast"
BETWEEN_LOOKS = 0.0005  # seconds
PAGE = os.sysconf("SC_PAGE_SIZE")
_REFUSALS = (os.strerror(errno.ENOSPC).lower(), "disk is full")  # the system's words in the C locale, and SQLite's


def mount_disk(place: str, size: int | None = None, flags: int = 0) -> None:
    """Mount an empty tmpfs of `size` bytes; 0 is no limit, None the system's default (tmpfs(5)).

    With MS_REMOUNT among `flags`, resize the disk that is mounted there.
    """
    options = b"mode=0700" if size is None else b"size=%d,mode=0700" % size
    what = f"mounting a tmpfs of {size} bytes at {place}"
    function(what, "mount", b"tmpfs", os.fsencode(place), b"tmpfs", MS_NOSUID | MS_NODEV | flags, options)


def mount_small(path: str, pages: int, roomy: Sequence[str]) -> None:
    """Mount a disk at `path` with so many free pages, and larger disks on top of it at the paths `roomy`."""
    mount_disk(path, (pages + 1) * PAGE)
    for directory in roomy:
        os.makedirs(directory, exist_ok=True)
        mount_disk(directory)
    with open(f"{path}/{BALLAST}", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, PAGE)  # a size of 0 would be no limit


class Watch:
    """Checks repeatedly, until `end`, whether a disk is full.

    A stage may remove an output that it could not finish, so a check after its end is too late. On a busy machine this
    thread may be too late as well, so `look` is also called when an attempt has ended and its partials are there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._was_full = False
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def look(self) -> None:
        """Check once."""
        if not os.statvfs(self._path).f_bfree:
            self._was_full = True

    def end(self) -> bool:
        """Stop, and return whether the disk was ever full."""
        self._is_over.set()
        self._watcher.join()
        self.look()
        return self._was_full

    def _watch(self) -> None:
        while not (self._was_full or self._is_over.wait(BETWEEN_LOOKS)):
            self.look()


def run_watched(sandbox: Sandbox, around: Around, options: Options) -> tuple[RunReport, bool]:
    """Return the report of a run, and whether the disk of its workspace was ever full.

    The runner refuses outputs on a full disk. So there is room again once an attempt has ended with 0: its outputs can
    then be compared.
    """
    workspace = str(options.workspace)
    watch = Watch(workspace)

    def ended(attempts: list[AttemptResult]) -> None:
        watch.look()
        if any(attempt.code == 0 for attempt in attempts):
            make_room(workspace)

    around.ended = ended
    try:
        return run_sandbox(sandbox, around, options), watch.end()
    finally:
        watch.end()


def says_full(log: str) -> bool:
    """Whether a stage says in its log that its disk was full.

    This finds a full disk that was not observed: a tmpfs does not report which writes it refused.
    """
    return any(words in log.lower() for words in _REFUSALS)


def make_room(path: str) -> None:
    """Remove the ballast, and make the disk at `path` larger than any stage needs. May be called again."""
    with suppress(FileNotFoundError):
        os.unlink(f"{path}/{BALLAST}")
    mount_disk(path, ROOMY, MS_REMOUNT)


DiskRun = tuple["RunReport", "Injector", "OffpipeClock | None"]
"""The result of a run there: its report, and the injector and the clock as the run left them."""


def run_on_own_disk(
    sandbox: Sandbox, around: Around, options: Options, injector: Injector, clock: OffpipeClock | None
) -> DiskRun:
    """Run a sandbox so that DISK_FULL faults of `injector` happen; its files are in the sandbox afterwards.

    Raises RefusedError where no disk can be mounted.
    """
    with Confined() as confined:
        ended = confined.call(_run_there, sandbox, around, options, injector, clock)
    discard(sandbox.root)
    os.rename(f"{sandbox.root}.after", sandbox.root)
    discard(f"{sandbox.root}.before")
    return ended


def _run_there(
    sandbox: Sandbox, around: Around, options: Options, injector: Injector, clock: OffpipeClock | None
) -> DiskRun:
    """Mount the disks, run the sandbox on them, and copy what it holds then to a place outside of them."""
    root, paths, disk = sandbox.root, load_spec(sandbox.spec).paths, _FaultyDisk(sandbox.root, injector)
    shutil.copytree(root, f"{root}.before", symlinks=True)
    for place in (root, paths.state_dir, paths.locks_dir):
        os.makedirs(place, exist_ok=True)
        mount_disk(place, ROOMY)
    shutil.copytree(f"{root}.before", root, symlinks=True, dirs_exist_ok=True)
    around.alter, around.ended = disk.alter, disk.ended
    around.temporary = f"{root}/{TEMPORARY}"
    report = run_sandbox(sandbox, around, options, clock=clock)
    discard(around.temporary)
    shutil.copytree(root, f"{root}.after", symlinks=True)
    return report, injector, clock


@dataclass(eq=False)
class _FaultyDisk:
    """Makes the disk small before the attempt that a fault is for, and roomy again after it.

    One stage runs at a time, so the attempt that ends is the one that found the disk small.
    """

    root: str
    injector: Injector
    filled: tuple[Fault, Watch, str] | None = None  # for this fault, with the log of its stage

    def alter(self, launch: Launch) -> Launch:
        """Change a launch by its fault. For a full disk, leave room for the fault's number of bytes."""
        stage = launch.env["PIPELINE_STAGE"]
        fault, changed = self.injector.due(stage), self.injector(launch)
        if fault is not None and fault.kind == DISK_FULL:
            disk = os.statvfs(self.root)
            pages = fault.arguments["after_bytes"] // disk.f_frsize
            mount_disk(self.root, (disk.f_blocks - disk.f_bfree + pages) * disk.f_frsize, MS_REMOUNT)
            self.filled = fault, Watch(self.root), launch.log
        return changed

    def ended(self, _: list[AttemptResult]) -> None:
        """Note whether the disk was full, because a stage may also fail for other reasons. Then make room.

        The runner refuses outputs on a full disk, but a test should see what the stage did.
        """
        if self.filled is not None:
            fault, watch, log = self.filled
            self.filled = None
            if watch.end() or says_full(read_log(log)):
                Path(f"{fault.plans[-1]}.fired").touch()
            mount_disk(self.root, ROOMY, MS_REMOUNT)
