"""Faults of stages. They reach a stage by a change to its launch, and by a variable that names a plan.

The fixture `offpipe_faults` plans them for the runs of a test; the checks make their own.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from glob import escape, glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_offpipe.faults import shim
from pytest_offpipe.usage import apply, heeding, require, require_known, untraced
from runner.errors import Fault as Wrong
from runner.errors import UsageError
from runner.sdk.checkpoints import FAULTS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_offpipe.fixtures.state import FixtureState
    from runner.sandbox.launcher import Launch

_SHIM = str(shim.__file__)
MARKER = "offpipe_fault"
IN_SDK = ("kill_at_checkpoint", "count")  # the stage's own process injects these, by runner.sdk
DISK_FULL = "disk_full"  # this one is in the disk that the whole run is on, see disks
_METHODS = {  # kind -> the method that plans it, and why it may not happen
    "exit": ("exit_code", "its stage did not run, or failed without it"),
    "kill": ("kill", "its stage did not run, or had ended before: give it larger inputs, or an earlier point"),
    "kill_at_checkpoint": ("kill", "its stage did not run, has fewer checkpoints, or commits none by runner.sdk"),
    "slow": ("slow", "its stage did not run"),
    DISK_FULL: ("disk_full", "its stage did not run, failed before, or all that it wrote had room"),
}
_WHEN = ("before", "after")
_BOUNDS = {
    "code": (0, 255),
    "times": (1, 1000),
    "at_checkpoint": (1, 1 << 53),
    "after_bytes": (0, 1 << 39),
    "seconds": (0, 1 << 20),
}


@dataclass
class Fault:
    """One fault of a stage, until it has happened in `times` attempts. An attempt that ended before it does not count.

    `kind` and `arguments` are what is in the plan: exit (code, when), kill or terminate (after_bytes, after_seconds),
    slow (seconds), kill_at_checkpoint (at_checkpoint, when), count, disk_full (after_bytes). `after_seconds` count from
    the first read of an input, because the start of an interpreter is not yet work of the stage.
    """

    kind: str
    stage: str
    arguments: dict[str, Any] = field(default_factory=dict)
    times: int = 1
    plans: list[str] = field(default_factory=list)

    @property
    def fired(self) -> int:
        """The number of attempts in which it happened."""
        return sum(self.notes("fired"))

    def notes(self, what: str) -> list[bool]:
        """Return for each attempt whether the shim, or the SDK, has noted `what`."""
        return [os.path.exists(f"{plan}.{what}") for plan in self.plans]

    @property
    def checkpoints(self) -> int:
        """The number of checkpoints that all attempts reached together."""
        return sum(len(glob(f"{escape(plan)}.checkpoint-*")) for plan in self.plans)


@dataclass(eq=False)
class Injector:
    """Changes the launches of stages whose faults have not happened yet.

    The plans are in `directory`. Stages must be able to write there, to report which faults happened.
    """

    directory: str
    faults: list[Fault]

    def due(self, stage: str) -> Fault | None:
        """Return the fault that is for the stage's next attempt."""
        return next((fault for fault in self.faults if fault.stage == stage and fault.fired < fault.times), None)

    def __call__(self, launch: Launch) -> Launch:
        """Return what to start instead of `launch`."""
        fault = self.due(launch.env["PIPELINE_STAGE"])
        if fault is None:
            return launch
        os.makedirs(self.directory, exist_ok=True)
        plan = f"{self.directory}/{len(os.listdir(self.directory))}.json"
        stage_file = json.loads(Path(_outside(launch, launch.env["PIPELINE_STAGE_FILE"])).read_bytes())
        content = {"kind": fault.kind, **fault.arguments, "partials": list(stage_file["outputs"].values())}
        if "after_seconds" in fault.arguments:
            content["inputs"] = [path for paths in stage_file["inputs"].values() for path in paths]
        Path(plan).write_text(json.dumps(content))
        fault.plans.append(plan)
        if fault.kind == DISK_FULL:
            return launch
        env, view = {**launch.env, FAULTS_VARIABLE: plan}, launch.view
        if view:
            view = view[0], (*view[1], ("write", self.directory, self.directory), ("read", _SHIM, _SHIM))
        if fault.kind in IN_SDK:
            return launch._replace(env=env, view=view)
        argv = [sys.executable, "-I", "-S", "-B", _SHIM, launch.program or launch.argv[0], *launch.argv]
        return launch._replace(env=env, argv=argv, program=sys.executable, script=None, view=view)


def _outside(launch: Launch, path: str) -> str:
    """Return where a file of a sealed attempt is outside its view."""
    steps = launch.view[1] if launch.view else ()
    return next((source for _, source, at in steps if at == os.path.realpath(path)), path)


class OffpipeFaults:
    """Faults for the runs that `offpipe` makes in this test; each happens once, or so many `times`.

    Faults of one stage happen in the order in which they were planned, in one attempt after the other.
    """

    def __init__(self, test: FixtureState) -> None:
        self.injector = Injector(f"{test.directory}/faults", [])

    @untraced
    def exit_code(self, stage: str, code: int, times: int = 1, when: str = "before") -> None:
        """Have the stage exit with `code`, `before` its work or `after` it has done all of it."""
        self._plan("exit", stage, times, code=code, when=when)

    @untraced
    def kill(
        self, stage: str, *, at_checkpoint: int | None = None, after_bytes: int | None = None, when: str = "after"
    ) -> None:
        """Kill the stage (SIGKILL) at its n-th checkpoint, or once its outputs hold so many bytes together.

        Checkpoints are those of runner.sdk. `when`: `before` or `after` the progress file is in place.
        """
        if (at_checkpoint is None) == (after_bytes is None):
            raise UsageError(Wrong("kill", "takes one of at_checkpoint and after_bytes"))
        if after_bytes is None:
            self._plan("kill_at_checkpoint", stage, at_checkpoint=at_checkpoint, when=when)
        else:
            _require("kill", "when", when)
            self._plan("kill", stage, after_bytes=after_bytes)

    @untraced
    def disk_full(self, stage: str, *, after_bytes: int) -> None:
        """Make the disk full once the stage has written so many bytes to its outputs and its TMPDIR.

        The size is rounded down to whole pages of memory. After that attempt there is room again. The whole run is in a
        process of its own, where the pipeline's root is a tmpfs. So `plugins` do not work, and stages run one at a
        time, because they would share the full disk. If no tmpfs can be mounted, the test is skipped with the reason.
        """
        self._plan(DISK_FULL, stage, after_bytes=after_bytes)

    @untraced
    def slow(self, stage: str, seconds: float, times: int = 1) -> None:
        """Have the stage start so many seconds late, in real time, which its time limit counts."""
        self._plan("slow", stage, times, seconds=seconds)

    @untraced
    def corrupt(self, path: str | os.PathLike[str], offset: int = 0) -> None:
        """Flip the bits of one byte of a file at once; an `offset` below 0 counts from its end."""
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if not -size <= offset < size:
                raise UsageError(Wrong(os.fspath(path), f"has no byte {offset:,}: it holds {size:,}"))
            byte = os.pread(file.fileno(), 1, offset % size)[0]
            os.pwrite(file.fileno(), bytes([byte ^ 0xFF]), offset % size)

    @property
    def due(self) -> list[Fault]:
        """The faults that have not happened as often as planned."""
        return [fault for fault in self.injector.faults if fault.fired < fault.times]

    @property
    def unfired(self) -> list[str]:
        """The same faults as text, each with a possible reason."""
        lines = []
        for fault in self.due:
            method, why = _METHODS[fault.kind]
            arguments = ", ".join(f"{name}={value!r}" for name, value in fault.arguments.items())
            often = f", {fault.fired} of {fault.times} times" if fault.times > 1 else ""
            lines.append(f"{method}({fault.stage!r}, {arguments}){often}: {why}")
        return lines

    def wants_disk(self, stages: Sequence[str]) -> bool:
        """Whether a run of these stages needs a disk of its own."""
        return any(fault.kind == DISK_FULL and fault.stage in stages for fault in self.due)

    def complaint(self) -> str:
        """Return the failure of a test in which a fault did not happen, or ""."""
        unfired = "".join(f"\n  {fault}" for fault in self.unfired)
        return f"planned, and did not happen:{unfired}" if unfired else ""

    def plan_marked(self, kind: str = "", *arguments: object, **named: object) -> None:
        """Plan the fault of a marker `offpipe_fault(kind, stage, **arguments)`. Raises UsageError for a wrong one."""
        require_known([kind], sorted({method for method, _ in _METHODS.values()}), MARKER, "no kind")
        apply(f"{MARKER} {kind}", getattr(self, kind), arguments, named)

    def _plan(self, kind: str, stage: str, times: int = 1, **arguments: object) -> None:
        method, _ = _METHODS[kind]
        require(method, stage, str, "the name of a stage")
        for name, value in {**arguments, "times": times}.items():
            _require(method, name, value)
        self.injector.faults.append(Fault(kind, stage, arguments, times))


def faults_of(test: FixtureState) -> OffpipeFaults:
    """Return the faults of a test, with those that its markers plan."""
    faults = OffpipeFaults(test)
    test.complaints.append(faults.complaint)
    test.stories.append(faults.complaint)  # a test that fails for this reason does not say so itself
    with heeding(test.item, MARKER):
        for marker in reversed([*test.item.iter_markers(MARKER)]):
            faults.plan_marked(*marker.args, **marker.kwargs)
    return faults


def _require(method: str, name: str, value: object) -> None:
    """Raise UsageError for an argument that is out of bounds."""
    if name == "when":
        if value not in _WHEN:
            raise UsageError(Wrong(method, f'when is "{value}"', f"known: {', '.join(_WHEN)}"))
        return
    least, most = _BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UsageError(Wrong(method, f"{name} is {value!r}", f"at least {least}, at most {most}"))
