"""Which stages could start now: all that they need has passed. The first in the spec goes first."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.spec.graph import Graph
    from runner.spec.model import Stage


class Frontier:
    """The stages of one run that wait for nothing any more. A stage is looked at, then taken; then it may pass."""

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
