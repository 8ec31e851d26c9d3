"""Temporary outputs: those that a run removes as soon as every stage that reads them is up to date.

Such an output may be absent while its stage is up to date: its marker has its digest, which is all that a plan needs of
it. `Temporary.absent` is where this is decided, for plans and for the executor.
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from itertools import chain
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.plan.decisions import NEEDED, Adopt, Blocked, Decision, Depends, Reason, Run, Skip
from runner.plan.digests import DigestCache, present_digest
from runner.spec.globs import may_meet

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from runner.record.markers import Marker, OutputIdentity
    from runner.spec.graph import Graph
    from runner.spec.model import Stage


class Temporary:
    """The temporary outputs of a pipeline, from its graph and its present markers.

    `makers`: path -> the stage that makes it. `readers`: path -> the stages that read it. `inputs`: stage -> the
    temporary outputs that it reads. `reads`: stage -> the stages that read any output of it, each with the path.
    """

    def __init__(self, graph: Graph, cache: DigestCache, marker_of: Callable[[str], Marker | None]) -> None:
        self.makers = {
            stage.outputs[label]: stage.name
            for stage in graph.spec.stages
            if not stage.is_unexpanded
            for label in stage.temporary
        }
        self._graph = graph
        self._cache = cache
        self._marker_of = marker_of
        self.stages: dict[str, Stage] = {stage.name: stage for stage in graph.spec.stages} if self.makers else {}
        self.readers: dict[str, list[str]] = {path: [] for path in self.makers}
        self.inputs = defaultdict[str, list[str]](list)
        self.reads = defaultdict[str, list[tuple[str, str]]](list)
        for reader, labels in graph.feeds.items() if self.makers else ():
            for maker, path in dict.fromkeys(chain.from_iterable(labels.values())):
                self.reads[maker].append((reader, path))
                if path in self.makers:
                    self.readers[path].append(reader)
                    self.inputs[reader].append(path)
        for stage in (stage for stage in self.stages.values() if stage.missing):  # its instances may read it
            for path, readers in self.readers.items():
                if any(may_meet(pattern, path) for _, _, pattern in stage.entries()):
                    readers.append(stage.name)

    def absent(self, path: str) -> OutputIdentity | None:
        """Return a temporary output that is absent although its stage has made it; None for any other path.

        What is in its place, and is not what the marker describes, is not the output.
        """
        output = self._made(path)
        present = output and present_digest(self._graph.spec.output_path(path), output, self._cache)
        return output if output and present != output.sha256 else None

    def is_removable(self, path: str) -> bool:
        """Whether a temporary output is there, and is itself what its stage made: a run removes nothing else."""
        output = self._made(path)
        return bool(output and output.is_itself(self._graph.spec.output_path(path)) and not self.absent(path))

    def _made(self, path: str) -> OutputIdentity | None:
        """Return a temporary output as its stage has made it; None for any other path."""
        marker = self._marker_of(self.makers[path]) if path in self.makers else None
        outputs = marker.outputs.values() if marker else ()
        return next((output for output in outputs if output.path == path), None)

    def absent_inputs(self, stage: str) -> list[str]:
        """Return the absent outputs that a stage reads, by their paths."""
        return [path for path in self.inputs.get(stage, ()) if self.absent(path)]

    def warnings(self) -> Iterator[Fault]:
        """Yield a warning for each file that is in the place of a temporary output, and is something else."""
        for path, maker in self.makers.items():
            if os.path.lexists(self._graph.spec.output_path(path)) and self.absent(path):
                what = f'"{path}" is not what stage "{maker}" made: it stays, and no stage gets it'
                yield Fault(self._graph.spec.shown, what, "move it away; it is replaced if that stage has to run")

    # ---- what a plan decides -----------------------------------------------------------------------------------------

    def run_again(self, decisions: dict[str, Decision]) -> None:
        """Change the decisions of stages that are up to date, but whose absent outputs other stages need.

        The stages that read what they make again then depend on them.
        """
        pending = deque(name for name, decision in decisions.items() if isinstance(decision, Run | Depends))
        while pending and self.makers:
            name = pending.popleft()
            runs = isinstance(decisions[name], Run)
            for path in self.absent_inputs(name):
                maker = self.makers[path]
                if runs and not isinstance(decisions[maker], Run):
                    decisions[maker] = Run((Reason(NEEDED, f"{name} needs {path} again"),))
                    pending += [maker, *self._unsettle(maker, decisions)]
                elif isinstance(decisions[maker], Skip):
                    decisions[maker] = Depends((), (f"{name} may need {path} again",))
                    pending.append(maker)

    def _unsettle(self, maker: str, decisions: dict[str, Decision]) -> Iterator[str]:
        """Let the stages that are up to date depend on what a stage makes again, and yield them."""
        unsettled = [maker]
        while unsettled:
            upstream = unsettled.pop()
            for name in dict(self.reads.get(upstream, ())):
                decision = decisions.get(name)
                needed = decision.needed if isinstance(decision, Depends) else ()
                if isinstance(decision, Skip | Adopt) or decision == Depends((), needed):
                    decisions[name] = Depends((upstream,), needed)
                    unsettled.append(name)
                    yield name

    def removable(self, decisions: Mapping[str, Decision], is_current: Callable[[str], bool]) -> Iterator[str]:
        """Yield the temporary outputs that a run removes if all of its stages succeed.

        `is_current`: of a stage that is not selected, apart from all that it needs.
        """
        outside = self.outside(decisions)
        current = {
            name
            for name, (selected, others) in outside.items()
            if all(isinstance(decisions[each], Skip) for each in selected) and all(map(is_current, others))
        }
        for path, maker in self.makers.items():
            ends = [decisions.get(name, Blocked(())) for name in (maker, *self.readers[path]) if name not in current]
            if any(isinstance(decision, Blocked) for decision in ends):
                continue
            if isinstance(decisions[maker], Run | Adopt) or self.is_removable(path):
                yield path

    def outside(self, selected: Container[str]) -> dict[str, tuple[set[str], set[str]]]:
        """Return the stages that are not `selected`, but read what a selected one makes.

        Each with the selected stages that it needs, and with those that are not selected, itself among them.
        """
        readers = (self.readers[path] for path, maker in self.makers.items() if maker in selected)
        return {name: self._needs(name, selected) for name in dict.fromkeys(chain(*readers)) if name not in selected}

    def _needs(self, stage: str, selected: Container[str]) -> tuple[set[str], set[str]]:
        inside, outside, pending = set[str](), {stage}, [stage]
        while pending:
            needed = {*self._graph.upstream[pending.pop()]}
            inside |= {name for name in needed if name in selected}
            pending += needed - inside - outside
            outside |= needed - inside
        return inside, outside
