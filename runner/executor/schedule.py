"""Which stages may run beside each other, and with which limits; and the results of stages that never started."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault
from runner.plan.decisions import Plan, Skip
from runner.results import BLOCKED, BLOCKED_BY, FAILED, GOOD, SKIPPED, StageResult
from runner.spec.model import value_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.spec.graph import Graph
    from runner.spec.model import Stage

TOLERANCE = 1e-9  # ten stages of 0.1 cpus are one cpu


def blocking(graph: Graph, stage: str, ended: Mapping[str, StageResult]) -> list[str]:
    """Return the direct upstream stages that ended without their outputs."""
    return [name for name in graph.upstream[stage] if name in ended and ended[name].status not in GOOD]


def unstarted(graph: Graph, plan: Plan, ended: Mapping[str, StageResult], *, interrupted: bool) -> list[StageResult]:
    """Return the results of the planned stages that never started, in order: up to date as planned, or blocked.

    A stage is blocked by a failed stage that it needs, or else by the end of the run.
    """
    failed = [name for name, result in ended.items() if result.status == FAILED]
    after = "not started after " + ("the interrupt" if interrupted else f"the failure of {', '.join(failed)}")
    missed = {name for name, result in ended.items() if result.status not in GOOD}  # and below, those that need them
    never_started = []
    for name, decision in plan.decisions.items():
        if name in ended:
            continue
        by = [needed for needed in graph.upstream[name] if needed in missed]
        if by:
            missed.add(name)
        if isinstance(decision, Skip):
            never_started.append(StageResult(name, SKIPPED, key=decision.key))
        else:
            never_started.append(blocked(name, () if interrupted else by, after))
    return never_started


def blocked(name: str, by: Sequence[str], why: str = "") -> StageResult:
    """Return the result of a stage that did not start: blocked `by` stages that it needs, or else because of `why`."""
    why = f"{BLOCKED_BY} {', '.join(by)}" if by else why
    return StageResult(name, BLOCKED, fault=Fault(f"stage {name}", why))


# ---- resources ----


class Needs(NamedTuple):
    """What one attempt may use: processors, MiB of memory, and seconds.

    `position`, from 0, is that of its values in the lists of the spec. `is_cut`: the spec has more `cpus`.
    """

    cpus: float | None = None
    memory_mib: int | None = None
    timeout: float | None = None
    enforce: bool = False
    position: int = 0
    is_cut: bool = False


def needs_at(stage: Stage, position: int, most: float) -> Needs:
    """Return what an attempt of a stage may use. It gets at most `most` processors, unless the kernel sees to it."""
    cpus, memory_mib, _, enforce = stage.resources
    asked = value_at(cpus, position)
    is_cut = asked is not None and asked > most and not enforce
    timeout = value_at(stage.timeout_seconds, position)
    return Needs(int(most) if is_cut else asked, value_at(memory_mib, position), timeout, enforce, position, is_cut)


def admits(capacity: tuple[int, float], running: Sequence[Needs], candidate: Needs) -> bool:
    """Whether an attempt with these needs may start beside the running ones. A stage may always run alone.

    `capacity` is what they share: `-j`, which is both the number of stages and of cpus, and MiB of memory. A stage
    without `cpus` counts as 1. One without `memoryMiB` counts as 0, so that it blocks no others.
    """
    jobs, memory_mib = capacity
    if not running:
        return True
    if len(running) >= jobs:
        return False
    wanted = [*running, candidate]
    cpus = math.fsum(1.0 if needs.cpus is None else needs.cpus for needs in wanted)
    memory = math.fsum(needs.memory_mib or 0 for needs in wanted)
    return cpus <= jobs + TOLERANCE and memory <= memory_mib


class Limits(NamedTuple):
    """The limits that the kernel enforces for one launch: processors, and bytes of address space (RLIMIT_AS)."""

    affinity: list[int] | None = None
    address_space: int | None = None

    def as_json(self) -> dict[str, object]:
        """Return the limits that are set, for the audit log and the metrics."""
        limits = {"affinity": self.affinity, "addressSpaceBytes": self.address_space}
        return {name: value for name, value in limits.items() if value is not None}


def enforced(needs: Needs, turn: int) -> Limits:
    """Return the limits of an attempt, within those of this process; none unless the spec says `enforce`.

    `turn` numbers the launches of a run, so that parallel stages get different processors.
    """
    if not needs.enforce:
        return Limits()
    affinity = None
    if needs.cpus is not None:
        usable = sorted(os.sched_getaffinity(0))
        count = min(len(usable), max(1, math.ceil(needs.cpus)))
        affinity = sorted(usable[(turn * count + offset) % len(usable)] for offset in range(count))
    return Limits(affinity, needs.memory_mib << 20 if needs.memory_mib else None)
