"""Stages that run again although they are up to date: an input of another stage is absent, and they make it.

The plan knows some of them. The others show only when a stage that depended on others turns out to have to run. Then
their results are taken back, and that stage waits for them. If they make other bytes than before, the results of the
stages that have read those are taken back, too.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from runner.errors import Fault, InputError
from runner.plan.decisions import NEEDED, Reason, Run
from runner.results import GOOD

if TYPE_CHECKING:
    from runner.executor.job import Job, RunContext
    from runner.executor.removals import Removals
    from runner.results import StageResult
    from runner.spec.graph import ReadyQueue

MOST = 10  # stages that make other bytes each time could let each other run again for ever


class Again:
    """The stages that run again in one run, or have to be decided again."""

    def __init__(self, run: RunContext, results: dict[str, StageResult], ready: ReadyQueue, removals: Removals) -> None:
        """`results` and `ready` are those of the run: this takes back results, and lets stages come again."""
        self._run = run
        self._results = results
        self._ready = ready
        self._removals = removals
        self._asked = Counter[tuple[str, str]]()  # how often, for a stage, an input of it was to be made again
        self._outdated: set[str] = set()  # they have read what was made anew since
        self._reasons: dict[str, tuple[Reason, ...]] = {  # by stage: why it runs again; none if it has, or need not
            name: decision.reasons
            for name, decision in run.planning.plan.decisions.items()
            if isinstance(decision, Run) and decision.reasons[0].component == NEEDED
        }

    def concerns(self, stage: str) -> bool:
        """Whether a stage is to be decided although the plan found it up to date."""
        return stage in self._reasons

    def decided(self, job: Job, *, has_run: bool = False) -> bool:
        """Note that a stage was decided from what is on disk now. Return whether it must wait for absent inputs.

        Then it comes again, after the stages that make these. Raises InputError if an input was made again MOST
        times for this stage, and is absent once more; also if it is absent and the stage `has_run` already.
        """
        name, temporary = job.stage.name, self._run.planning.planner.temporary
        self._outdated.discard(name)
        job.reasons = job.reasons or self._reasons.get(name, ())
        absent = temporary.absent_inputs(name) if job.reasons else []
        for path in absent:
            maker = temporary.makers[path]
            if has_run or self._asked[name, path] == MOST:
                what = f'"{path}", which stage "{maker}" makes, was removed while the run was at work'
                raise InputError(Fault(f"stage {name}", what, "run again"))
            self._asked[name, path] += 1
            self._take_back(maker, Reason(NEEDED, f"{name} needs {path} again"))
        if absent:
            self._ready.again(name)
        return bool(absent)

    def commits(self, job: Job) -> None:
        """Take back the results of stages that have read what a job has made again, with other bytes.

        Call it while the planner still has the marker that this commit replaces.
        """
        name, planner = job.stage.name, self._run.planning.planner
        before = planner.markers.of(name)
        if name not in self._reasons or before is None or job.commit is None:
            return
        self._reasons[name] = ()
        same = {(output.path, output.sha256) for output in before.outputs.values()}
        changed = {output.path for output in job.commit.outputs.values() if (output.path, output.sha256) not in same}
        for reader, path in planner.temporary.reads.get(name, ()):
            if path in changed:
                self._outdated.add(reader)
                self._take_back(reader)

    def ended(self, result: StageResult) -> None:
        """Note that a stage has ended. If an input was made anew while it ran, it is to be decided again."""
        if result.status in GOOD and result.name in self._outdated:
            del self._results[result.name]
            self._ready.again(result.name)
            return
        self._ready.passed(result.name)
        if result.status in GOOD:
            self._removals.ended(result.name)

    def _take_back(self, stage: str, *reasons: Reason) -> None:
        self._reasons[stage] = self._reasons.get(stage) or reasons
        if stage in self._results and self._results[stage].status in GOOD:  # else it has yet to end, or failed
            del self._results[stage]
            self._removals.reopened(stage)
            self._ready.again(stage)
