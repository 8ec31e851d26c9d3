"""A run whose disk is full once one stage has written so much: it is on a disk of its own, in namespaces of its own.

The sandbox's root, and TMPDIR in it, go to a tmpfs that is made smaller while that stage runs, and back afterwards. Its
state and locks have tmpfs of their own on top, so that what the runner keeps, and the stage's log, have room.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_offpipe.confined import Confined
from pytest_offpipe.driver import Watch
from pytest_offpipe.faults import DISK_FULL
from pytest_offpipe.running import run_sandbox
from pytest_offpipe.sandbox import discard
from pytest_offpipe.tmpfs import NO_SPACE, TEMPORARY, mount_disk, resize_disk
from runner.hookspecs import hookimpl
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from pytest_offpipe.clock import OffpipeClock
    from pytest_offpipe.faults import Fault, Injector
    from pytest_offpipe.reports import RunReport
    from pytest_offpipe.running import Around
    from pytest_offpipe.sandbox import Sandbox
    from runner.api import Options
    from runner.sandbox.launch import Launch
    from runner.spec.model import Stage

ROOMY = 1 << 40  # bytes; one without bounds would not tell how much of it is in use


class Told(NamedTuple):
    """What a run there leaves: its report, the plans of each fault, and the clock."""

    report: RunReport
    plans: list[list[str]]
    clock: OffpipeClock | None


def run_on_own_disk(
    sandbox: Sandbox, around: Around, options: Options, injector: Injector, clock: OffpipeClock | None
) -> Told:
    """Run a sandbox so that DISK_FULL faults of `injector` come about; what it made lies in the sandbox afterwards.

    Raises RefusedError where no disk can be mounted.
    """
    root = Path(sandbox.root)
    before, after = (root.with_name(f"{root.name}.{name}") for name in ("before", "after"))
    paths = load_spec(sandbox.spec).paths
    with Confined() as confined:
        root.rename(before)
        root.mkdir()
        try:
            confined.call(_mount_all, (str(root), paths.state_dir, paths.locks_dir))
            confined.call(_copy, str(before), str(root))
            told = confined.call(_run, sandbox, around, options, injector, clock)
            confined.call(_copy, str(root), str(after))
        except BaseException:
            discard(root)
            before.rename(root)
            raise
    discard(root)
    after.rename(root)
    discard(before)
    return told


# ---- what is called in there ----


def _mount_all(places: tuple[str, ...]) -> None:
    for place in places:
        os.makedirs(place, exist_ok=True)
        mount_disk(place, ROOMY)


def _copy(source: str, to: str) -> None:
    shutil.copytree(source, to, symlinks=True, dirs_exist_ok=True)


def _run(sandbox: Sandbox, around: Around, options: Options, injector: Injector, clock: OffpipeClock | None) -> Told:
    disk = _FaultyDisk(sandbox.root, injector)
    around.alter = disk.alter
    around.temporary = os.path.join(sandbox.root, TEMPORARY)
    report = run_sandbox(sandbox, around, options, (disk,), clock)
    discard(Path(around.temporary))
    return Told(report, [fault.plans for fault in injector.faults], clock)


class _FaultyDisk:
    """Makes the disk small before the attempt that a fault is for, and roomy again after it."""

    def __init__(self, root: str, injector: Injector) -> None:
        self._root = root
        self._injector = injector
        self._filled: dict[str, tuple[Fault, Watch, str]] = {}  # stage -> who looks at the disk, and the stage's log

    def alter(self, launch: Launch) -> Launch:
        """Do to a start what its fault wants; if that is a full disk, leave so much of it."""
        stage = launch.env["PIPELINE_STAGE"]
        fault = self._injector.due(stage)
        changed = self._injector(launch)
        if fault is not None and fault.kind == DISK_FULL:
            disk = os.statvfs(self._root)
            pages = int(str(fault.arguments["afterBytes"])) // disk.f_frsize
            resize_disk(self._root, (disk.f_blocks - disk.f_bfree + pages) * disk.f_frsize)
            self._filled[stage] = fault, Watch(self._root), launch.log
        return changed

    @hookimpl
    def offpipe_attempt_finished(self, stage: Stage) -> None:
        """Tell whether the disk was full: it was seen to be, or the stage says so; it may fail for other reasons."""
        if stage.name in self._filled:
            fault, watch, log = self._filled.pop(stage.name)
            if watch.end() or NO_SPACE.encode() in Path(log).read_bytes():
                Path(f"{fault.plans[-1]}.fired").touch()
            resize_disk(self._root, ROOMY)
