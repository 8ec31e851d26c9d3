"""What stages may use: which of them may run side by side, and the limits that the kernel enforces."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.spec.model import Resources

TOLERANCE = 1e-9  # ten stages of 0.1 cpus are one cpu


class Capacity(NamedTuple):
    """What there is to give: cpus, MiB of memory, and how many stages at once (`-j`)."""

    cpus: float
    memory_mib: float
    jobs: int

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
        return cpus <= self.cpus + TOLERANCE and memory <= self.memory_mib


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
