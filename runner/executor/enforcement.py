"""What of a stage's resources the kernel is made to hold. Without `enforce` they are hints and steer admission only."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from runner.spec.model import Resources


class Enforced(NamedTuple):
    """Limits of one launch: processors it may use, and bytes of address space (RLIMIT_AS)."""

    affinity: list[int] | None
    address_space: int | None

    def as_json(self) -> dict[str, object]:
        """Return what the kernel holds the stage to, as it stands in the audit log and the metrics."""
        limits = {"affinity": self.affinity, "addressSpaceBytes": self.address_space}
        return {name: value for name, value in limits.items() if value is not None}


def enforced(resources: Resources) -> Enforced:
    """Return the limits for a stage, from what the machine lets this process use."""
    if not resources.enforce:
        return Enforced(None, None)
    affinity = None
    if resources.cpus is not None and hasattr(os, "sched_getaffinity"):
        affinity = sorted(os.sched_getaffinity(0))[: max(1, math.ceil(resources.cpus))]
    return Enforced(affinity, resources.memory_mib << 20 if resources.memory_mib else None)
