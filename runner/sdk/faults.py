"""Faults that a test plans for a stage that uses the SDK: it is killed at one of its checkpoints.

PIPELINE_FAULTS, which only tests set, names the file with the plan. Loaded only if it is set.
"""

from __future__ import annotations

import json
import os
import signal

from runner.record import files


class Faults:
    """What is planned: `atCheckpoint` counts from 1, and `when` says on which side of its progress file to kill.

    Each checkpoint leaves a file `PLAN.checkpoint-N`, so that a plan of kind `count` shows how many there are. An
    attempt that resumes from one leaves `PLAN.resumed`.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            plan = json.loads(file.read())
        self._path = path
        self._at = plan["atCheckpoint"] if plan["kind"] == "killAtCheckpoint" else 0
        self._is_before = plan.get("when") == "before"
        self._count = 0

    def resumed(self) -> None:
        """Record that the stage resumes from a checkpoint."""
        files.create(f"{self._path}.resumed", b"")

    def reach(self) -> None:
        """A checkpoint is due: outputs are on disk, and the progress file is not. Kill if so planned."""
        self._count += 1
        if self._is_before:
            self._kill_if_due()

    def passed(self) -> None:
        """The progress file is in place. Record the checkpoint, and kill if so planned."""
        files.create(f"{self._path}.checkpoint-{self._count}", b"")
        if not self._is_before:
            self._kill_if_due()

    def _kill_if_due(self) -> None:
        if self._count == self._at:
            files.create(f"{self._path}.fired", b"")
            os.kill(os.getpid(), signal.SIGKILL)
