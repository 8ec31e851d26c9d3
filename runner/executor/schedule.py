"""Which stages could start now, and why others never were started in a run that stopped early."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from runner import results
from runner.errors import Fault
from runner.plan.planner import Skip
from runner.results import StageResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from runner.plan.planner import Plan
    from runner.spec.graph import Graph
    from runner.spec.model import Stage

GOOD = (results.SUCCEEDED, results.SKIPPED)


class ReadyQueue:
    """The stages of one run that wait for nothing any more; the first in the spec goes first."""

    def __init__(self, graph: Graph, stages: Sequence[Stage]) -> None:
        self._graph = graph
        self._stages = {stage.name: stage for stage in stages}
        self._waiting = {name: sum(one in self._stages for one in graph.upstream[name]) for name in self._stages}
        self._ready = [(stage.index, stage.name) for stage in stages if not self._waiting[stage.name]]
        heapq.heapify(self._ready)

    def first(self) -> Stage | None:
        """Return the stage whose turn it is, or None."""
        return self._stages[self._ready[0][1]] if self._ready else None

    def take(self, stage: Stage) -> None:
        """Remove the stage that `first` returned."""
        taken = heapq.heappop(self._ready)
        assert taken[1] == stage.name

    def passed(self, name: str) -> None:
        """Note that a stage has ended, however; those that waited for it alone become ready."""
        for one in self._graph.downstream[name]:
            if one in self._waiting:
                self._waiting[one] -= 1
                if not self._waiting[one]:
                    heapq.heappush(self._ready, (self._stages[one].index, one))


def blocking(graph: Graph, stage: str, ended: Mapping[str, StageResult]) -> list[str]:
    """Return the direct upstream stages that ended without what `stage` needs of them."""
    return [one for one in graph.upstream[stage] if one in ended and ended[one].status not in GOOD]


def blocked_text(stages: Iterable[str]) -> str:
    """Return why a stage that needs these, which failed, does not start."""
    return f"{results.BLOCKED_BY} {', '.join(stages)}"


def unstarted(
    graph: Graph, plan: Plan, names: Iterable[str], ended: Mapping[str, StageResult], *, interrupted: bool
) -> Iterator[StageResult]:
    """Yield the result of each stage that was never started: up to date as it was planned, or blocked by the end."""
    for name, why in reasons_unstarted(graph, names, ended, interrupted=interrupted).items():
        decision = plan.decisions[name]
        if isinstance(decision, Skip):
            yield StageResult(name, results.SKIPPED, key=decision.key)
        else:
            yield StageResult(name, results.BLOCKED, fault=Fault(f"stage {name}", why))


def reasons_unstarted(
    graph: Graph, names: Iterable[str], ended: Mapping[str, StageResult], *, interrupted: bool
) -> dict[str, str]:
    """Return, for each of `names`, which are in order, why it was not started: what it needs, or only the run's end."""
    failed = [name for name, result in ended.items() if result.status == results.FAILED]
    idle = "not started after " + ("the interrupt" if interrupted else f"the failure of {', '.join(failed)}")
    missed: set[str] = set()  # those that need what failed, however far away
    found = {}
    for name in names:
        ended_badly = set(blocking(graph, name, ended))
        by = [one for one in graph.upstream[name] if one in missed or one in ended_badly]
        if by:
            missed.add(name)
        found[name] = blocked_text(by) if by and not interrupted else idle
    return found
