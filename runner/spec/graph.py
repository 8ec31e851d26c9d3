"""The graph of a pipeline's stages: edges from outputs matched to inputs and from `needs`, and a stable order.

Every walk is iterative and linear in stages and edges, since a chain may have 10,000 links.
"""

from __future__ import annotations

from functools import cache
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, SpecError, UsageError
from runner.spec.globs import (
    bare,
    compile_glob,
    is_glob,
    literal_directory,
    literal_prefix,
    may_match_below,
    parents,
    starting_with,
)
from runner.spec.kinds import did_you_mean, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from runner.spec.model import Spec, Stage

Edges = dict[str, tuple[str, ...]]
Feeds = dict[str, dict[str, tuple[tuple[str, str], ...]]]


class OutputIndex:
    """All outputs of a pipeline, and which of them an input means. `producers`: output path -> (stage, output name).

    The first to declare an output is its producer. Outputs are kept sorted, so that a glob or a directory looks only at
    those that begin with its literal prefix.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        self.producers: dict[str, tuple[str, str]] = {}
        for stage in stages:
            for name, path in stage.outputs.items():
                self.producers.setdefault(path, (stage.name, name))
        self._sorted = sorted(self.producers)
        self._directories = {path for path in self._sorted if path.endswith("/")}
        self.matches = cache(self._meant)

    def _meant(self, pattern: str) -> tuple[tuple[str, str], ...]:
        """Return the (producer, path) of each output that an input means.

        That is the output of this very path, or else what lies in, over or matches it.
        """
        if pattern in self.producers:
            return ((self.producers[pattern][0], pattern),)
        return tuple((self.producers[path][0], path) for path in self._matches(pattern))

    def _matches(self, pattern: str) -> Iterator[str]:
        if is_glob(pattern):
            prefix = literal_prefix(pattern)
            # Outputs over the literal part are not among those that begin with it, except the one that just is it.
            yield from (path for path in self._enclosing(literal_directory(pattern) + "/x") if path != prefix)
            for path in starting_with(self._sorted, prefix):
                if self._may_match(path, pattern):
                    yield path
        else:
            yield from self._enclosing(pattern)
            if pattern.endswith("/"):
                yield from starting_with(self._sorted, pattern)

    def _may_match(self, path: str, pattern: str) -> bool:
        """Whether the output is, lies in, or may hold what the glob matches; one ending in `/` matches directories."""
        if path in self._directories and may_match_below(pattern, bare(path)):
            return True
        matches = compile_glob(pattern).match
        if pattern.endswith("/"):
            return any(matches(f"{parent}/") for parent in parents(path))
        return path not in self._directories and matches(path) is not None

    def _enclosing(self, path: str) -> Iterator[str]:
        if self._directories:
            yield from (parent + "/" for parent in parents(path) if parent + "/" in self._directories)


class Graph(NamedTuple):
    """Stages in the order they can run in, and what leads to what.

    `upstream` and `downstream`: stage -> its direct neighbours, in spec order. `feeds`: stage -> input -> the
    (producer, output path) pairs that it means; an input that no stage produces is not in it. `producers`: output
    path as declared -> (stage, output name).
    """

    spec: Spec
    order: tuple[Stage, ...]
    upstream: Edges
    downstream: Edges
    feeds: Feeds
    producers: dict[str, tuple[str, str]]


def build_graph(spec: Spec) -> Graph:
    """Return the graph; raises SpecError with every cycle found: `a -> b -> a`, from producer to consumer."""
    index = OutputIndex(spec.stages)
    position = {stage.name: stage.index for stage in spec.stages}
    upstream: Edges = {}
    followers: dict[str, list[str]] = {stage.name: [] for stage in spec.stages}
    feeds: Feeds = {}
    for stage in spec.stages:
        fed = {name: pairs for name, pattern in stage.inputs.items() if (pairs := index.matches(pattern))}
        if fed:
            feeds[stage.name] = fed
        before = {*stage.needs, *(producer for pairs in fed.values() for producer, _ in pairs)}
        upstream[stage.name] = tuple(sorted(before, key=position.__getitem__))
        for name in upstream[stage.name]:
            followers[name].append(stage.name)
    downstream = {name: tuple(names) for name, names in followers.items()}
    order = _order(spec.stages, upstream, downstream)
    if len(order) < len(spec.stages):
        stuck = {stage.name for stage in spec.stages} - {stage.name for stage in order}
        raise SpecError(*_cycles(spec, upstream, stuck))
    return Graph(spec, order, upstream, downstream, feeds, index.producers)


def select(graph: Graph, names: Sequence[str]) -> tuple[Stage, ...]:
    """Return the named stages and everything they need, in order; no names mean all. UsageError for unknown names."""
    if not names:
        return graph.order
    unknown = [name for name in names if name not in graph.upstream]
    if unknown:
        known = graph.upstream
        raise UsageError(*(Fault("", f"no stage named {show(name)}", did_you_mean(name, known)) for name in unknown))
    wanted = set(names)
    pending = list(wanted)
    while pending:
        for name in graph.upstream[pending.pop()]:
            if name not in wanted:
                wanted.add(name)
                pending.append(name)
    return tuple(stage for stage in graph.order if stage.name in wanted)


def _order(stages: Sequence[Stage], upstream: Edges, downstream: Edges) -> tuple[Stage, ...]:
    """Return the topological order that has the smallest index first among the ready; short when there are cycles."""
    waiting = {name: len(before) for name, before in upstream.items()}
    position = {stage.name: stage.index for stage in stages}
    ready = [stage.index for stage in stages if not waiting[stage.name]]
    heapify(ready)
    order = []
    while ready:
        stage = stages[heappop(ready)]
        order.append(stage)
        for name in downstream[stage.name]:
            waiting[name] -= 1
            if not waiting[name]:
                heappush(ready, position[name])
    return tuple(order)


def _cycles(spec: Spec, upstream: Mapping[str, tuple[str, ...]], stuck: set[str]) -> list[Fault]:
    """Follow from each stuck stage its first stuck upstream: that way ends in a cycle, and each cycle is met once."""
    faults = []
    visited: set[str] = set()
    for stage in spec.stages:
        trail: dict[str, int] = {}
        name = stage.name
        while name in stuck and name not in visited:
            visited.add(name)
            trail[name] = len(trail)
            name = next(before for before in upstream[name] if before in stuck)
        if name in trail:
            faults.append(_cycle_fault(spec, list(trail)[trail[name] :][::-1]))
    return faults


def _cycle_fault(spec: Spec, names: list[str]) -> Fault:
    index = {stage.name: stage.index for stage in spec.stages}
    first = min(range(len(names)), key=lambda place: index[names[place]])
    circle = [*names[first:], *names[:first], names[first]]
    if len(circle) > 12:
        circle = [*circle[:6], "...", *circle[-5:]]
    where = f"{spec.shown}#/stages/{index[names[first]]}"
    return Fault(where, f"a cycle: {' -> '.join(circle)}", "no stage can come before itself, by files or by needs")
