"""What of a stage's resources the kernel is made to hold. Without `enforce` they are hints and steer admission only."""

from __future__ import annotations

import math
import os
from typing import Protocol

from runner.values import Value


class Resources(Protocol):
    """What a stage says of its resources (spec.model.Resources)."""

    @property
    def enforce(self) -> bool: ...
    @property
    def cpus(self) -> float | None: ...
    @property
    def memory_mib(self) -> int | None: ...


class Enforced(Value):
    """Limits of one launch: processors it may use, and bytes of address space (RLIMIT_AS)."""

    affinity: list[int] | None = None
    address_space: int | None = None

    def as_json(self) -> dict[str, object]:
        """Return what the kernel holds the stage to, as it stands in the audit log and the metrics."""
        limits = {"affinity": self.affinity, "addressSpaceBytes": self.address_space}
        return {name: value for name, value in limits.items() if value is not None}


NOTHING = Enforced()


def enforced(resources: Resources, turn: int) -> Enforced:
    """Return the limits for a stage, from what the machine lets this process use.

    `turn` numbers the launches of a run: stages side by side get other processors in turn, not all the first ones.
    """
    if not resources.enforce:
        return NOTHING
    affinity = None
    if resources.cpus is not None and hasattr(os, "sched_getaffinity"):
        there = sorted(os.sched_getaffinity(0))
        count = min(len(there), max(1, math.ceil(resources.cpus)))
        affinity = sorted(there[(turn * count + offset) % len(there)] for offset in range(count))
    return Enforced(affinity, resources.memory_mib << 20 if resources.memory_mib else None)
