"""Why stages were never started in a run that stopped early. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner import results
from runner.errors import Fault
from runner.plan.planner import Skip
from runner.results import StageResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runner.plan.planner import Plan
    from runner.spec.graph import Graph

GOOD = (results.SUCCEEDED, results.SKIPPED)


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
