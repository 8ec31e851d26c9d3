"""Where the stages of one run write, and what of it a later attempt continues with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.paths import partial_path
from runner.record import files
from runner.record.checkpoints import adopt, discard_checkpoint, find_partials, keep_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runner.executor.job import Job
    from runner.record.checkpoints import Checkpoint
    from runner.spec.model import Spec, Stage


class Partials:
    """The partials and checkpoints of the stages of one run."""

    def __init__(self, spec: Spec, tags: Mapping[str, Mapping[str, str]]) -> None:
        """`tags`: of all attempts that open runs tell of, stage -> tag -> key."""
        self._spec = spec
        self._tags = {stage: dict(known) for stage, known in tags.items()}
        self._listings: dict[str, list[str]] = {}  # what was in a directory when this run first came to it

    def progress(self, stage: Stage) -> str:
        """Return the path of the stage's progress file."""
        return self._spec.paths.progress(stage.name)

    def real(self, stage: Stage) -> dict[str, str]:
        """Return, per output, where it will be."""
        return {name: self._spec.output_path(path) for name, path in stage.outputs.items()}

    def of(self, job: Job) -> dict[str, str]:
        """Return, per output, the partial of the job's present attempt."""
        return {name: partial_path(path, job.tag) for name, path in self.real(job.stage).items()}

    def make_room(self, stage: Stage) -> None:
        """Before an attempt without a checkpoint: remove what lies there, of another history and whatever tag.

        So all that is there when this attempt has written a checkpoint is its own.
        """
        if not os.path.lexists(self.progress(stage)):
            for found in find_partials(self.real(stage), self._listings).values():
                for path in found:
                    files.discard(path)

    def checkpoint(self, job: Job) -> Checkpoint | None:
        """Return what the next attempt can resume from, and remove what else lies there."""
        return self._keep(job.stage, job.fingerprint.key) if os.path.lexists(self.progress(job.stage)) else None

    def hand_over(self, job: Job, checkpoint: Checkpoint | None) -> None:
        """Give an attempt, which is on record by now, the partials of its checkpoint."""
        stage = job.stage
        self._tags.setdefault(stage.name, {})[job.tag] = job.fingerprint.key
        if checkpoint:
            adopt(checkpoint, self.real(stage), job.tag)
        if stage.stdout:
            files.touch(job.partials[stage.stdout])

    def sweep(self, job: Job) -> None:
        """Remove what an attempt left, but for what a checkpoint vouches for.

        A stage that could not even be decided has no key: whatever checkpoint it has is for the next run to judge.
        """
        self._keep(job.stage, job.fingerprint.key or None)

    def _keep(self, stage: Stage, key: str | None) -> Checkpoint | None:
        return keep_checkpoint(self.progress(stage), key, self.real(stage), self._tags.get(stage.name, {}))

    def discard(self, job: Job) -> None:
        """Remove the partials and the checkpoint of an attempt whose outputs nobody may have."""
        discard_checkpoint(self.progress(job.stage), self.real(job.stage))

    def forget(self, stage: Stage) -> None:
        """Remove the checkpoint, and all partials with it, of an attempt at what the stage is no longer to be."""
        if os.path.lexists(self.progress(stage)):
            discard_checkpoint(self.progress(stage), self.real(stage))
