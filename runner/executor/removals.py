"""Removes the temporary outputs of one run, each as soon as nothing will read it any more.

The order makes a crash harmless: the commits of all stages that read an output are durable, then `outputs.removed` is,
then the output goes. Recovery redoes those commits, so no stage needs it again. If the run dies before the output is
gone, the next run finds it, and removes it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from runner.plan.digests import Signature
from runner.plan.orphans import aside_of
from runner.record import files
from runner.record.events import REMOVED, OutputsRemoved
from runner.results import GOOD, Removed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.executor.job import RunContext
    from runner.record.markers import OutputIdentity
    from runner.results import StageResult

    AfterSync = Callable[[Callable[[], None]], None]


class Removals:
    """The temporary outputs of the selected stages, and which stages must end before each can go."""

    def __init__(self, run: RunContext, results: Mapping[str, StageResult], after_sync: AfterSync) -> None:
        """`results` are those of the run, and grow. `after_sync` takes a step when all records are durable."""
        planning = run.planning
        self._run = run
        self._temporary = planning.planner.temporary
        self._results = results
        self._after_sync = after_sync
        self._awaited: dict[str, set[str]] = {}  # by path
        self._paths = defaultdict[str, list[str]](list)  # by stage that makes or reads them
        self.removed = Removed()
        selected = planning.plan.decisions.keys()
        for path, maker in () if run.keeps_temporary else self._temporary.makers.items():
            if maker.name in selected:
                self._awaited[path] = {maker.name, *self._temporary.readers[path]} & selected
                for name in self._awaited[path]:
                    self._paths[name].append(path)

    def ended(self, stage: str) -> None:
        """Note that a stage is up to date, and remove what nothing needs any more."""
        due = defaultdict[str, dict[str, Signature]](dict)  # by maker: by path
        for path in self._paths.get(stage, ()):
            self._awaited[path].discard(stage)
            if (signature := self._signature_if_due(path)) is not None:
                due[self._temporary.makers[path].name][path] = signature
        for maker, paths in due.items():
            self._record(maker, paths)

    def reopened(self, stage: str) -> None:
        """Note that a stage that had ended is to be decided again."""
        for path in self._paths.get(stage, ()):
            self._awaited[path].add(stage)

    def stop(self) -> None:
        """Remove nothing more."""
        self._paths.clear()

    def _signature_if_due(self, path: str) -> Signature | None:
        """Return the signature of an output that is there, if every stage that reads it is up to date."""
        place = self._run.spec.output_path(path)
        if self._awaited[path] or not os.path.lexists(place):
            return None
        signature = Signature.of(os.lstat(place))
        if self._temporary.absent(path):
            return None
        planning = self._run.planning
        outside = [name for name in self._temporary.readers[path] if name not in planning.plan.decisions]
        examiner = planning.new_examiner() if outside else planning.examiner
        is_current = partial(planning.planner.is_current, examiner=examiner, selected=self._is_good)
        return signature if all(map(is_current, outside)) else None

    def _is_good(self, stage: str) -> bool | None:
        """Whether a selected stage is up to date; None for any other."""
        if stage not in self._run.planning.plan.decisions:
            return None
        return stage in self._results and self._results[stage].status in GOOD

    def _record(self, maker: str, paths: Mapping[str, Signature]) -> None:
        marker = self._run.planning.planner.markers.of(maker)
        assert marker is not None
        made = {label: output for label, output in marker.outputs.items() if output.path in paths}
        labels, size = {label: output.path for label, output in made.items()}, sum(each.size for each in made.values())
        self._run.log.append(REMOVED, OutputsRemoved(maker, [marker.run, marker.audit_seq], labels, size))
        for output in made.values():
            self._after_sync(partial(self._remove, output, paths[output.path]))

    def _remove(self, output: OutputIdentity, signature: Signature) -> None:
        """Remove an output, unless it was made again or changed since that was recorded."""
        place = self._run.spec.output_path(output.path)
        if self._awaited[output.path] or not os.path.lexists(place) or Signature.of(os.lstat(place)) != signature:
            return
        files.discard_at_once(place, aside_of(place))
        self.removed = Removed(self.removed.outputs + 1, self.removed.size + output.size)
