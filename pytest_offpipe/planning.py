"""The fixture `offpipe_faults`: what is to happen to which stage, and whether it did."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_offpipe.asked import require_names, require_text, told_plainly
from pytest_offpipe.faults import DISK_FULL, Fault, Injector
from pytest_offpipe.marked import note_heeded, require_arguments
from runner.errors import Fault as Wrong
from runner.errors import UsageError
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_offpipe.onetest import OneTest
    from pytest_offpipe.specs import OffpipeSpec

MARKER = "offpipe_fault"
KINDS = ("disk_full", "exit_code", "kill", "slow")
_WHEN = ("before", "after")
_WHY = {
    "exit": "its stage did not run, or failed by itself",
    "kill": "its stage did not run, or had ended before: give it larger inputs, or an earlier point",
    "killAtCheckpoint": "its stage did not run, has fewer checkpoints, or commits none by runner.sdk",
    "slow": "its stage did not run",
    DISK_FULL: "its stage did not run, failed before, or all that it wrote had room",
}


class OffpipeFaults:
    """Faults for the runs that `offpipe` makes in this test; each comes about once, or so many `times`.

    They are in the order in which they were planned: of those for one stage, the next one is for the attempt after.
    """

    def __init__(self, test: OneTest) -> None:
        self._test = test
        self._faults: list[Fault] = []
        self._kinds: list[str] = []  # by what name each was asked for
        self._spec: OffpipeSpec | None = None

    @cached_property
    def injector(self) -> Injector:
        """What brings them to the stages."""
        return Injector(self._test.directory / "faults", self._faults)

    @told_plainly
    def exit_code(self, stage: str, code: int, times: int = 1, when: str = "before") -> None:
        """Have the stage exit with `code`: `before` its work, or `after` it, with all of it done."""
        if when not in _WHEN:
            raise UsageError(Wrong("exit_code", f'when is "{when}"', f"known: {', '.join(_WHEN)}"))
        _require("exit_code", "code", code, 0, 255)
        _require("exit_code", "times", times, 1, 1000)
        self._plan("exit_code", Fault("exit", stage, {"code": code, "when": when}, times))

    @told_plainly
    def kill(
        self, stage: str, *, at_checkpoint: int | None = None, after_bytes: int | None = None, when: str = "after"
    ) -> None:
        """Kill the stage (SIGKILL) at its n-th checkpoint, or once its outputs hold so many bytes together.

        Checkpoints are those of runner.sdk; `when`: `before` or `after` the progress file is in place.
        """
        if (at_checkpoint is None) == (after_bytes is None):
            raise UsageError(Wrong("kill", "takes one of at_checkpoint and after_bytes"))
        if when not in _WHEN:
            raise UsageError(Wrong("kill", f'when is "{when}"', f"known: {', '.join(_WHEN)}"))
        if at_checkpoint is not None:
            _require("kill", "at_checkpoint", at_checkpoint, 1, 1 << 53)
            self._plan("kill", Fault("killAtCheckpoint", stage, {"atCheckpoint": at_checkpoint, "when": when}))
        elif after_bytes is not None:
            _require("kill", "after_bytes", after_bytes, 0, 1 << 53)
            self._plan("kill", Fault("kill", stage, {"afterBytes": after_bytes}))

    @told_plainly
    def disk_full(self, stage: str, *, after_bytes: int) -> None:
        """Have the disk full once the stage has written so many bytes to its outputs and its TMPDIR.

        They are counted in whole pages of the machine's. There is room again after that attempt. The whole run is then
        in a process of its own, where the pipeline's root is a tmpfs: `plugins` are not heard, and stages run one at a
        time, since they would share the full disk. Where no such disk can be had, the test is skipped with the reason.
        """
        _require("disk_full", "after_bytes", after_bytes, 0, 1 << 39)
        self._plan("disk_full", Fault(DISK_FULL, stage, {"afterBytes": after_bytes}))

    @told_plainly
    def slow(self, stage: str, seconds: float, times: int = 1) -> None:
        """Have the stage start so many seconds late, in real time, as for its time limit."""
        _require("slow", "seconds", seconds, 0, 1 << 20)
        _require("slow", "times", times, 1, 1000)
        self._plan("slow", Fault("slow", stage, {"seconds": seconds}, times))

    @told_plainly
    def corrupt(self, path: str | os.PathLike[str], offset: int = 0) -> None:
        """Flip the bits of one byte of a file at once; an `offset` below 0 counts from its end."""
        with open(path, "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if not -size <= offset < size:
                raise UsageError(Wrong(os.fspath(path), f"has no byte {offset:,}: it holds {size:,}"))
            at = offset % size
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))

    @property
    def unfired(self) -> list[str]:
        """The faults that did not come about, or less often than planned, each with what may be the reason."""
        planned = zip(self._kinds, self._faults, strict=True)
        return [_unfired(kind, fault) for kind, fault in planned if fault.fired < fault.times]

    def wants_disk(self, stages: Sequence[str]) -> bool:
        """Whether a run of these stages needs a disk of its own."""
        return any(one.kind == DISK_FULL and one.stage in stages and one.fired < one.times for one in self._faults)

    def adopt(self, plans: Sequence[list[str]]) -> None:
        """Take over what became of the faults in another process."""
        for fault, found in zip(self._faults, plans, strict=True):
            fault.plans = found

    def complaint(self) -> str:
        """Return what to say of a test whose faults did not all come about."""
        found = self.unfired
        return "\n".join(["planned, and did not happen:", *(f"  {one}" for one in found)]) if found else ""

    def know(self, spec: OffpipeSpec) -> None:
        """Hear which spec the test works with, so that an unknown stage is refused when its fault is planned."""
        self._spec = spec

    def require_known(self, stages: Sequence[str]) -> None:
        """Raise UsageError for a fault still to come whose stage is none of these."""
        require_names([one.stage for one in self._faults if one.fired < one.times], stages, "offpipe_faults")

    def plan_marked(self, markers: Sequence[pytest.Mark]) -> None:
        """Plan what markers `offpipe_fault(kind, stage, **arguments)` say. UsageError for what cannot be."""
        for marker in markers:
            if not marker.args:
                raise UsageError(Wrong(MARKER, "names no kind", f"known: {', '.join(KINDS)}"))
            kind, *arguments = marker.args
            if kind not in KINDS:
                hint = did_you_mean(str(kind), KINDS)
                raise UsageError(Wrong(MARKER, f'no kind "{kind}"', hint))
            plan = getattr(OffpipeFaults, kind)
            require_arguments(f"{MARKER} {kind}", plan, arguments, marker.kwargs)
            plan(self, *arguments, **marker.kwargs)

    def _plan(self, kind: str, fault: Fault) -> None:
        require_text(kind, fault.stage, "the name of a stage")
        if self._spec is not None:
            self._spec.stage(fault.stage)
        self._faults.append(fault)
        self._kinds.append(kind)


def faults_of(test: OneTest, spec: OffpipeSpec | None) -> OffpipeFaults:
    """Return the faults of a test, with those that its markers plan; `spec` is the one that it works with, if known."""
    faults = OffpipeFaults(test)
    test.complaints.append(faults.complaint)
    test.stories.append(faults.complaint)  # what fails for lack of a fault says nothing of it
    if spec is not None:
        faults.know(spec)
    note_heeded(test.item, MARKER)
    wrong = ""
    try:
        faults.plan_marked(list(test.item.iter_markers(MARKER))[::-1])
    except UsageError as error:
        wrong = str(error)
    if wrong:  # the way to here is of no interest
        pytest.fail(wrong, pytrace=False)
    return faults


def _unfired(kind: str, fault: Fault) -> str:
    told = ", ".join(f"{_snake(name)}={value!r}" for name, value in fault.arguments.items())
    often = f", {fault.fired} of {fault.times} times" if fault.times > 1 else ""
    return f"{kind}({fault.stage!r}, {told}){often}: {_WHY[fault.kind]}"


def _snake(name: str) -> str:
    return "".join(f"_{one.lower()}" if one.isupper() else one for one in name)


def _require(kind: str, name: str, value: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UsageError(Wrong(kind, f"{name} is {value!r}", f"at least {least}, at most {most}"))
