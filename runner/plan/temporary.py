"""Temporary outputs: those that a run removes as soon as every stage that reads them is up to date.

Such an output may be absent while its stage is up to date: its marker has its digest, which is all that a plan needs of
it. `Temporary.absent` is where this is decided, for plans and for the executor.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.plan.decisions import NEEDED, Adopt, Blocked, Decision, Depends, Reason, Run, Skip
from runner.plan.digests import DigestCache, present_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from runner.record.markers import Marker, OutputIdentity
    from runner.spec.graph import Graph
    from runner.spec.model import Stage

    Selected = Callable[[str], bool | None]


class Temporary:
    """The temporary outputs of a pipeline, from its graph and its present markers. `makers`: path -> its stage."""

    def __init__(self, graph: Graph, cache: DigestCache, marker_of: Callable[[str], Marker | None]) -> None:
        self.makers = {
            stage.outputs[label]: stage for stage in graph.spec.stages if not stage.missing for label in stage.temporary
        }
        self._graph = graph
        self._cache = cache
        self._marker_of = marker_of
        self.stages: dict[str, Stage] = {stage.name: stage for stage in graph.spec.stages} if self.makers else {}
        self.readers: dict[str, list[str]] = {path: [] for path in self.makers}
        for stage in graph.spec.stages if self.makers else ():
            for path in self._read_by(stage.name):
                self.readers[path].append(stage.name)

    def all_readers(self) -> set[str]:
        """Return the stages that read a temporary output."""
        return {name for names in self.readers.values() for name in names}

    def identity(self, path: str) -> OutputIdentity | None:
        """Return what the marker of its stage says of a temporary output."""
        marker = self._marker_of(self.makers[path].name)
        outputs = marker.outputs.values() if marker else ()
        return next((output for output in outputs if output.path == path), None)

    def absent(self, path: str) -> OutputIdentity | None:
        """Return a temporary output that is absent although its stage has made it; None for any other path.

        What is in its place, and is not what the marker describes, is not the output.
        """
        identity = self.identity(path) if path in self.makers else None
        if identity is None:
            return None
        present = present_digest(self._graph.spec.output_path(path), identity, self._cache)
        return None if present == identity.sha256 else identity

    def absent_inputs(self, stage: str) -> dict[str, str]:
        """Return the absent outputs that a stage reads, by path, each with the stage that makes it."""
        return {path: self.makers[path].name for path in self._read_by(stage) if self.absent(path)}

    def warnings(self) -> Iterator[Fault]:
        """Yield a warning for each file that is in the place of a temporary output, and is something else."""
        for path, maker in self.makers.items():
            if os.path.lexists(self._graph.spec.output_path(path)) and self.absent(path):
                what = f'"{path}" is not what stage "{maker.name}" made: it stays, and no stage gets it'
                yield Fault(self._graph.spec.shown, what, "move it away; it is replaced if that stage has to run")

    def _read_by(self, stage: str) -> Iterator[str]:
        return (path for _, path in self._pairs(stage) if path in self.makers) if self.makers else iter(())

    def _pairs(self, stage: str) -> Iterable[tuple[str, str]]:
        return dict.fromkeys(pair for pairs in self._graph.feeds.get(stage, {}).values() for pair in pairs)

    # ---- what a plan decides -----------------------------------------------------------------------------------------

    def run_again(self, decisions: dict[str, Decision]) -> None:
        """Change the decisions of stages that are up to date, but whose absent outputs other stages need.

        The stages that read what they make again then depend on them.
        """
        pending = deque(name for name, decision in decisions.items() if isinstance(decision, Run | Depends))
        while pending and self.makers:
            name = pending.popleft()
            runs = isinstance(decisions[name], Run)
            for path, maker in self.absent_inputs(name).items():
                if runs and not isinstance(decisions[maker], Run):
                    decisions[maker] = Run((Reason(NEEDED, f"{name} needs {path} again"),))
                    pending.append(maker)
                    pending.extend(self._unsettle(maker, decisions))
                elif isinstance(decisions[maker], Skip):
                    decisions[maker] = Depends((), (f"{name} may need {path} again",))
                    pending.append(maker)

    def _unsettle(self, maker: str, decisions: dict[str, Decision]) -> Iterator[str]:
        """Let the stages that are up to date depend on what a stage makes again, and yield them."""
        unsettled = [maker]
        while unsettled:
            upstream = unsettled.pop()
            for name in self._graph.downstream[upstream]:
                reads = any(made == upstream for made, _ in self._pairs(name))
                decision = decisions.get(name)
                needed = decision.needed if isinstance(decision, Depends) else ()
                if reads and (isinstance(decision, Skip | Adopt) or decision == Depends((), needed)):
                    decisions[name] = Depends((upstream,), needed)
                    unsettled.append(name)
                    yield name

    def removable(
        self, decisions: Mapping[str, Decision], is_current: Callable[[str, Selected], bool]
    ) -> Iterator[str]:
        """Yield the temporary outputs that a run removes if all of its stages succeed.

        `is_current` says of a stage that is not selected whether it is up to date, as `Planner.is_current` does.
        """

        def selected(name: str) -> bool | None:
            return isinstance(decisions[name], Skip) if name in decisions else None

        for path, maker in self.makers.items():
            decision = decisions.get(maker.name, Blocked(()))
            inside = [decisions[name] for name in self.readers[path] if name in decisions]
            outside = [name for name in self.readers[path] if name not in decisions]
            if any(isinstance(each, Blocked) for each in (decision, *inside)):
                continue
            if outside and not (isinstance(decision, Skip) and all(is_current(name, selected) for name in outside)):
                continue
            if isinstance(decision, Run) or not self.absent(path):
                yield path
