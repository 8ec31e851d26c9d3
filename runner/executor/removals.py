"""Removes the temporary outputs of one run, each as soon as nothing will read it any more.

The order makes a crash harmless: the commits of all stages that read an output are durable, then `outputs.removed` is,
then the output goes. Recovery redoes those commits, so no stage needs it again. If the run dies before the output is
gone, the next run finds it, and removes it.

A stage that is not selected counts like one that is: it has ended when all that it needs has, if it is up to date then.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from runner.plan.digests import Signature
from runner.plan.orphans import aside_of
from runner.record import files
from runner.record.events import REMOVED, OutputsRemoved
from runner.results import Removed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from runner.executor.job import RunContext
    from runner.record.markers import OutputIdentity

    AfterSync = Callable[[Callable[[], None]], None]


class Waiting:
    """What waits until each of several stages is up to date. `stages`: by what waits for them."""

    def __init__(self, stages: Mapping[str, set[str]]) -> None:
        self.stages = stages
        self._waiting = defaultdict[str, list[str]](list)  # by stage
        for each, names in stages.items():
            for name in names:
                self._waiting[name].append(each)

    def ended(self, stage: str) -> list[str]:
        """Note that a stage is up to date, and return what waits for none any more."""
        for each in self._waiting.get(stage, ()):
            self.stages[each].discard(stage)
        return [each for each in self._waiting.get(stage, ()) if not self.stages[each]]

    def reopened(self, stage: str) -> list[str]:
        """Note that a stage is to be decided again, and return what waits for it."""
        for each in self._waiting.get(stage, ()):
            self.stages[each].add(stage)
        return self._waiting.get(stage, [])


class Removals:
    """The temporary outputs of the selected stages, and which stages must end before each can go."""

    def __init__(self, run: RunContext, after_sync: AfterSync) -> None:
        """`after_sync` takes a step when all records are durable."""
        self._run = run
        self._after_sync = after_sync
        self.removed = Removed()
        self.replan(())

    def replan(self, ended: Iterable[str]) -> None:
        """Take the planning of the run, in which these stages are up to date by now."""
        planning = self._run.planning
        self._planner = planning.planner
        self._temporary = temporary = planning.planner.temporary
        selected = {} if self._run.keeps_temporary else planning.plan.decisions
        made = {
            path: {maker, *temporary.readers[path]} for path, maker in temporary.makers.items() if maker in selected
        }
        self._outputs = Waiting(made)
        outside = temporary.outside(selected)
        self._outside = Waiting({reader: needed for reader, (needed, _) in outside.items()})
        self._others = {reader: others for reader, (_, others) in outside.items()}
        for stage in ended:
            self.ended(stage)

    def ended(self, stage: str) -> None:
        """Note that a stage is up to date, and remove what nothing needs any more."""
        for name in (stage, *filter(self._is_current, self._outside.ended(stage))):
            for path in self._outputs.ended(name):
                self._record(path)

    def reopened(self, stage: str) -> None:
        """Note that a stage that had ended is to be decided again."""
        for name in (stage, *self._outside.reopened(stage)):
            self._outputs.reopened(name)

    def _is_current(self, reader: str) -> bool:
        """Whether a stage that is not selected is up to date, now that all selected ones that it needs are."""
        examiner = self._run.planning.new_examiner()
        return all(self._planner.is_current(name, examiner) for name in self._others[reader])

    def _record(self, path: str) -> None:
        """Record that an output is about to be removed, if it is there, and remove it once that is durable."""
        marker = self._planner.markers.of(self._temporary.makers[path])
        signature = Signature.at(self._run.spec.output_path(path))
        if not marker or not signature or not self._temporary.is_removable(path):
            return
        for label, output in marker.outputs.items():
            if output.path == path:
                commit = [marker.run, marker.audit_seq]
                self._run.log.append(REMOVED, OutputsRemoved(marker.stage, commit, {label: path}, output.size))
                self._after_sync(partial(self._remove, output, signature))

    def _remove(self, output: OutputIdentity, signature: Signature) -> None:
        """Remove an output, unless it was made again or changed since that was recorded."""
        place = self._run.spec.output_path(output.path)
        if self._outputs.stages[output.path] or Signature.at(place) != signature:
            return
        files.discard_at_once(place, aside_of(place))
        self.removed = Removed(self.removed.outputs + 1, self.removed.size + output.size)
