"""Which stages may run beside each other. Pure."""

from __future__ import annotations

import math
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
