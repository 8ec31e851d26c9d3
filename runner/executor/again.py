"""Stages that run again although they are up to date: an input of another stage is absent, and they make it.

The plan knows some of them. The others show only when a stage that depended on others turns out to have to run. Then
their results are taken back, and that stage waits for them. If they make other bytes than before, the results of the
stages that have read those are taken back, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import Fault, InputError
from runner.plan.decisions import NEEDED, Reason, Run
from runner.results import GOOD

if TYPE_CHECKING:
    from runner.executor.job import Job
    from runner.executor.removals import Removals
    from runner.plan.planner import Planning
    from runner.results import StageResult
    from runner.spec.graph import ReadyQueue


class Again:
    """The stages that run again in one run, or have to be decided again."""

    def __init__(
        self, planning: Planning, results: dict[str, StageResult], ready: ReadyQueue, removals: Removals
    ) -> None:
        """`results` and `ready` are those of the run: this takes back results, and puts stages back."""
        self._planning = planning
        self._results = results
        self._ready = ready
        self._removals = removals
        self._asked: set[tuple[str, str]] = set()  # a stage, and an input of it that was to be made again
        self._outdated: set[str] = set()  # they have read what was made anew since
        self._before: dict[str, dict[str, str]] = {}  # stage that runs again -> path -> digest, as it was made before
        self._reasons: dict[str, tuple[Reason, ...]] = {  # by stage that has yet to run again
            name: decision.reasons
            for name, decision in planning.plan.decisions.items()
            if isinstance(decision, Run) and decision.reasons[0].component == NEEDED
        }

    def concerns(self, stage: str) -> bool:
        """Whether a stage is to be decided although the plan found it up to date."""
        return stage in self._reasons or stage in self._outdated

    def decided(self, job: Job, *, has_run: bool = False) -> bool:
        """Note that a stage was decided from what is on disk now. Return whether it must wait for absent inputs.

        Then it is put back, and so are the stages that make these. Raises InputError if an input was made again for
        this stage, and is absent once more; also if it is absent and the stage `has_run` already.
        """
        name = job.stage.name
        if self.concerns(name):
            marker = self._planning.planner.markers.of(name)
            self._before[name] = {output.path: output.sha256 for output in marker.outputs.values()} if marker else {}
            job.reasons = job.reasons or self._reasons.get(name, ())
        self._outdated.discard(name)
        absent = self._planning.planner.temporary.absent_inputs(name) if job.reasons else {}
        for path, maker in absent.items():
            if has_run or (name, path) in self._asked:
                what = f'"{path}", which stage "{maker}" makes, was removed while the run was at work'
                raise InputError(Fault(f"stage {name}", what, "run again"))
            self._asked.add((name, path))
            self._reasons.setdefault(maker, (Reason(NEEDED, f"{name} needs {path} again"),))
            self._take_back(maker)
        if absent:
            self._put_back(name)
        return bool(absent)

    def committed(self, job: Job) -> None:
        """Take back the results of stages that have read an output which a job has made again, with other bytes."""
        name, graph = job.stage.name, self._planning.graph
        self._reasons.pop(name, None)
        before = self._before.pop(name, None)
        if before is None or job.commit is None:
            return
        changed = {output.path for output in job.commit.outputs.values() if before.get(output.path) != output.sha256}
        for reader in graph.downstream[name]:
            pairs = (pair for pairs in graph.feeds.get(reader, {}).values() for pair in pairs)
            if any(path in changed for _, path in pairs):
                self._outdated.add(reader)
                self._take_back(reader)

    def ended(self, result: StageResult) -> None:
        """Note that a stage has ended. If an input was made anew while it ran, it is to be decided again."""
        if result.status in GOOD and result.name in self._outdated:
            del self._results[result.name]
            self._put_back(result.name)
            return
        self._ready.passed(result.name)
        if result.status in GOOD:
            self._removals.ended(result.name)

    def _take_back(self, stage: str) -> None:
        if stage in self._results and self._results[stage].status in GOOD:  # else it has yet to end, or failed
            del self._results[stage]
            self._removals.reopened(stage)
            self._ready.reopened(stage)
            self._put_back(stage)

    def _put_back(self, stage: str) -> None:
        selected, upstream = self._planning.plan.decisions, self._planning.graph.upstream[stage]
        self._ready.wait_again(stage, sum(name in selected and name not in self._results for name in upstream))
