"""Faults of stages, and how they get there: by what the launcher is asked to start, and one variable naming a plan."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_offpipe.faults import shim
from runner.sdk.checkpoints import FAULTS_VARIABLE

if TYPE_CHECKING:
    from runner.sandbox.client import Launch

IN_SDK = ("killAtCheckpoint", "count")  # the stage's own process does these, through runner.sdk
DISK_FULL = "diskFull"  # done to the disk that the whole run is on, see disks


@dataclass(slots=True)
class Fault:
    """One fault of a stage, until it has come about in `times` attempts; one that ended before it could does not count.

    `kind` and `arguments` are what is in the plan: exit (code, when), kill or terminate (afterBytes, afterSeconds),
    slow (seconds), killAtCheckpoint (atCheckpoint, when), count, diskFull (afterBytes). `afterSeconds` are counted from
    when something was first seen to read an input: an interpreter's start, and what it loads, are no work of the stage.
    """

    kind: str
    stage: str
    arguments: dict[str, object] = field(default_factory=dict)
    times: int = 1
    plans: list[str] = field(default_factory=list)

    @property
    def fired(self) -> int:
        """In how many attempts it came about."""
        return sum(self.notes("fired"))

    def notes(self, what: str) -> list[bool]:
        """Return for each attempt whether the shim, or the SDK, has noted `what`."""
        return [os.path.exists(f"{plan}.{what}") for plan in self.plans]

    @property
    def checkpoints(self) -> int:
        """How many checkpoints the attempts came to, together."""
        return sum(len(list(Path(plan).parent.glob(f"{Path(plan).name}.checkpoint-*"))) for plan in self.plans)


class Injector:
    """Changes what a launcher is asked to start, as long as faults of that stage are left."""

    def __init__(self, directory: Path, faults: list[Fault]) -> None:
        """`directory` takes the plans; stages must be able to write there, to tell what came about."""
        self.faults = faults
        self._directory = directory

    def due(self, stage: str) -> Fault | None:
        """Return the fault that is for the stage's next attempt."""
        return next((fault for fault in self.faults if fault.stage == stage and fault.fired < fault.times), None)

    def __call__(self, launch: Launch) -> Launch:
        """Return what to start instead."""
        fault = self.due(launch.env["PIPELINE_STAGE"])
        if fault is None:
            return launch
        self._directory.mkdir(parents=True, exist_ok=True)
        plan = str(self._directory / f"{len(list(self._directory.iterdir()))}.json")
        stage_file = json.loads(Path(launch.env["PIPELINE_STAGE_FILE"]).read_bytes())
        content = {"kind": fault.kind, **fault.arguments, "partials": list(stage_file["outputs"].values())}
        if "afterSeconds" in fault.arguments:
            content["inputs"] = [path for paths in stage_file["inputs"].values() for path in paths]
        Path(plan).write_text(json.dumps(content))
        fault.plans.append(plan)
        if fault.kind == DISK_FULL:
            return launch
        env = {**launch.env, FAULTS_VARIABLE: plan}
        if fault.kind in IN_SDK:
            return launch._replace(env=env)
        argv = [sys.executable, "-I", "-S", "-B", str(shim.__file__), launch.program or launch.argv[0], *launch.argv]
        return launch._replace(env=env, argv=argv, program=sys.executable, script=None)
