"""What of a stage's resources the kernel is made to hold. Without `enforce` they are hints and steer admission only."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from runner.spec.model import Resources


class Enforced(NamedTuple):
    """Limits of one launch: processors it may use, bytes of address space (RLIMIT_AS), and niceness."""

    affinity: list[int] | None
    address_space: int | None
    nice: int | None


def enforced(resources: Resources) -> Enforced:
    """Return the limits for a stage, from what the machine lets this process use."""
    if not resources.enforce:
        return Enforced(None, None, None)
    affinity = None
    if resources.cpus is not None and hasattr(os, "sched_getaffinity"):
        affinity = sorted(os.sched_getaffinity(0))[: max(1, math.ceil(resources.cpus))]
    return Enforced(affinity, resources.memory_mib << 20 if resources.memory_mib else None, None)
