"""For stage authors: the files of a stage, and loops over lines that resume after a kill without losing a line.

    from runner import sdk

    with sdk.stage() as stage:
        with stage.lines("text", to="text") as job:
            for line in job:
                job.write(line.upper())

Loaded in every Python stage, so importing it must cost next to nothing: no dataclasses, typing, json or pathlib.
"""

from __future__ import annotations

from runner.sdk.context import Stage, Transient, stage
from runner.sdk.job import Job

__all__ = ["Job", "Stage", "Transient", "stage"]
