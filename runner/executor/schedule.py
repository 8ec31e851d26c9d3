"""Which stages could start now, and within which limits; why others never started in a run that stopped early."""

from __future__ import annotations

import heapq
import math
import os
from typing import TYPE_CHECKING, NamedTuple

from runner import results
from runner.errors import Fault
from runner.plan.planner import Skip
from runner.results import StageResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.plan.planner import Plan
    from runner.spec.graph import Graph
    from runner.spec.model import Resources, Stage

GOOD = (results.SUCCEEDED, results.SKIPPED)
TOLERANCE = 1e-9  # ten stages of 0.1 cpus are one cpu


class ReadyQueue:
    """The stages of one run that wait for nothing any more; the first in the spec goes first."""

    def __init__(self, graph: Graph, stages: Sequence[Stage]) -> None:
        self._graph = graph
        self._stages = {stage.name: stage for stage in stages}
        self._waiting = {name: sum(needed in self._stages for needed in graph.upstream[name]) for name in self._stages}
        self._ready = [(stage.index, stage.name) for stage in stages if not self._waiting[stage.name]]
        heapq.heapify(self._ready)

    def take(self) -> Stage | None:
        """Remove and return the stage whose turn it is, or None."""
        return self._stages[heapq.heappop(self._ready)[1]] if self._ready else None

    def passed(self, name: str) -> None:
        """Note that a stage has ended, whatever its status; those that waited for it alone become ready."""
        for waiting in self._graph.downstream[name]:
            if waiting in self._waiting:
                self._waiting[waiting] -= 1
                if not self._waiting[waiting]:
                    heapq.heappush(self._ready, (self._stages[waiting].index, waiting))


def blocking(graph: Graph, stage: str, ended: Mapping[str, StageResult]) -> list[str]:
    """Return the direct upstream stages that ended without what `stage` needs of them."""
    return [name for name in graph.upstream[stage] if name in ended and ended[name].status not in GOOD]


def unstarted(
    graph: Graph, plan: Plan, names: Iterable[str], ended: Mapping[str, StageResult], *, interrupted: bool
) -> list[StageResult]:
    """Return the results of `names`, in order, which were never started: up to date as planned, or blocked.

    A stage is blocked by what it needs, if that failed, or else by the end of the run.
    """
    failed = [name for name, result in ended.items() if result.status == results.FAILED]
    after = "not started after " + ("the interrupt" if interrupted else f"the failure of {', '.join(failed)}")
    missed = {name for name, result in ended.items() if result.status not in GOOD}  # and those that need them
    found = []
    for name in names:
        by = [needed for needed in graph.upstream[name] if needed in missed]
        if by:
            missed.add(name)
        decision = plan.decisions[name]
        if isinstance(decision, Skip):
            found.append(StageResult(name, results.SKIPPED, key=decision.key))
        else:
            found.append(blocked(name, () if interrupted else by, after))
    return found


def blocked(name: str, by: Sequence[str], why: str = "") -> StageResult:
    """Return the result of a stage that did not start: it is blocked `by` others, which it needs, or else `why`."""
    why = f"{results.BLOCKED_BY} {', '.join(by)}" if by else why
    return StageResult(name, results.BLOCKED, fault=Fault(f"stage {name}", why))


# ---- resources ----


class Capacity(NamedTuple):
    """What there is to give: MiB of memory, and how many stages at once (`-j`), which is also how many cpus."""

    jobs: int
    memory_mib: float

    def admit(self, running: Iterable[Resources], candidate: Resources) -> bool:
        """Whether `candidate` may start beside what runs. Alone it always may; without cpus it counts as 1.

        A stage that says nothing of memory counts as none: what it takes is unknown, and must not stop others.
        """
        beside = list(running)
        if not beside:
            return True
        if len(beside) >= self.jobs:
            return False
        wanted = [*beside, candidate]
        cpus = math.fsum(1.0 if needs.cpus is None else needs.cpus for needs in wanted)
        memory = math.fsum(needs.memory_mib or 0 for needs in wanted)
        return cpus <= self.jobs + TOLERANCE and memory <= self.memory_mib


class Limits(NamedTuple):
    """What the kernel enforces for one launch: processors that it may use, and bytes of address space (RLIMIT_AS)."""

    affinity: list[int] | None = None
    address_space: int | None = None

    def as_json(self) -> dict[str, object]:
        """Return the limits that are set, as they stand in the audit log and the metrics."""
        limits = {"affinity": self.affinity, "addressSpaceBytes": self.address_space}
        return {name: value for name, value in limits.items() if value is not None}


UNLIMITED = Limits()


def enforced(needs: Resources, turn: int) -> Limits:
    """Return the limits of a stage, within what this process may use: none, unless its spec says `enforce`.

    `turn` numbers the launches of a run, so that stages that run together get different processors.
    """
    if not needs.enforce:
        return UNLIMITED
    affinity = None
    if needs.cpus is not None and hasattr(os, "sched_getaffinity"):
        there = sorted(os.sched_getaffinity(0))
        count = min(len(there), max(1, math.ceil(needs.cpus)))
        affinity = sorted(there[(turn * count + offset) % len(there)] for offset in range(count))
    return Limits(affinity, needs.memory_mib << 20 if needs.memory_mib else None)
