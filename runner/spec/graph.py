"""The graph of stages: an edge for each input that matches an output, and for each of `needs`; and a stable order.

Every walk is iterative, and linear in stages and edges: a chain may have 10,000 links.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, SpecError, UsageError
from runner.spec import globs
from runner.spec.kinds import did_you_mean, show

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence

    from runner.spec.model import Empty, Spec, Stage

Feeds = dict[str, dict[str, tuple[tuple[str, str], ...]]]


class OutputIndex:
    """Finds the outputs that an input means. `producers`: output path -> (stage, output name), the first to declare it.

    Outputs are sorted, so that a glob or a directory is compared only with those that begin with its literal prefix.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        self.producers: dict[str, tuple[str, str]] = {}
        self._unexpanded: list[str] = []  # outputs of templates whose instances are not known
        for stage in stages:
            for name, path in stage.outputs.items():
                self.producers.setdefault(path, (stage.name, name))
            if stage.is_unexpanded:
                self._unexpanded += (path for path in stage.outputs.values() if "*" in path)
        self._sorted = sorted(self.producers)
        self.matches = cache(self._matching)

    def declares(self, path: str) -> bool:
        """Whether a path, relative to the workspace and without a final `/`, is an output."""
        return path in self.producers or f"{path}/" in self.producers

    def holds(self, path: str) -> bool:
        """Whether a path, relative to the workspace, is an output or lies in one."""
        return path in self.producers or any(True for _ in self._enclosing(path))

    def feeding(self, stage: Stage, name: str) -> tuple[tuple[str, str], ...]:
        """Return the (producer, path) of each output that an input of a stage means, each once."""
        return tuple(dict.fromkeys(pair for _, _, path in stage.entries(name) for pair in self.matches(path)))

    def _matching(self, pattern: str) -> tuple[tuple[str, str], ...]:
        """Return the (producer, path) of each output that an input means.

        That is the output with this path. If there is none, these are the outputs that the input's pattern matches, and
        those inside or above it. Outputs of templates whose instances are not known count if it may match them.
        """
        paths: Iterable[str] = [pattern]
        if pattern not in self.producers:
            paths = *self._matches(pattern), *(path for path in self._unexpanded if globs.may_meet(pattern, path))
        return tuple((self.producers[path][0], path) for path in dict.fromkeys(paths))

    def _matches(self, pattern: str) -> Iterator[str]:
        prefix = globs.literal_prefix(pattern)  # without a wildcard, the whole pattern
        yield from self._enclosing(prefix)
        yield from (path for path in self._starting_with(prefix) if globs.may_match(pattern, path))

    def _starting_with(self, prefix: str) -> Iterator[str]:
        position = bisect_left(self._sorted, prefix)
        while position < len(self._sorted) and self._sorted[position].startswith(prefix):
            yield self._sorted[position]
            position += 1

    def _enclosing(self, path: str) -> Iterator[str]:
        return (f"{parent}/" for parent in globs.parents(path) if f"{parent}/" in self.producers)


class Graph(NamedTuple):
    """The stages in an order in which they can run, and the edges between them.

    `upstream` and `downstream`: stage -> its direct neighbours, in spec order. `feeds`: stage -> input -> the
    (producer, output path) pairs that it means, without inputs that no stage makes. `outputs`: of all stages.
    """

    spec: Spec
    order: tuple[Stage, ...]
    upstream: dict[str, tuple[str, ...]]
    downstream: dict[str, list[str]]
    feeds: Feeds
    outputs: OutputIndex


class ReadyQueue:
    """Stages whose upstream stages have all ended, in the order of the spec, but some of them `first`."""

    def __init__(self, graph: Graph, stages: Sequence[Stage], first: Container[str] = ()) -> None:
        self._taken: set[str] = set()
        self._stages: dict[str, Stage] = {}
        self.replace(graph, stages, first, ())

    def replace(self, graph: Graph, stages: Sequence[Stage], first: Container[str], passed: Iterable[str]) -> None:
        """Take another graph, in which these stages have `passed`. Those that were taken, and have not, stay taken.

        A template that was open comes again, if its instances are still not known.
        """
        self._taken -= {stage.name for stage in self._stages.values() if stage.is_open}
        self._graph = graph
        self._passed = {*passed}
        self._stages = {stage.name: stage for stage in stages}
        pending = self._stages.keys() - self._passed
        self._waiting = {name: sum(needed in pending for needed in graph.upstream[name]) for name in pending}
        self._position = {
            stage.name: (stage.name not in first, number) for number, stage in enumerate(graph.spec.stages)
        }
        ready = (name for name, number in self._waiting.items() if not number and name not in self._taken)
        self._ready = [(self._position[name], name) for name in ready]
        heapify(self._ready)

    def take(self) -> Stage | None:
        """Remove and return the next stage, or None."""
        if not self._ready:
            return None
        _, name = heappop(self._ready)
        self._taken.add(name)
        return self._stages[name]

    def passed(self, name: str) -> None:
        """Note that a stage has ended, with whatever status. Stages that waited only for it become ready."""
        self._passed.add(name)
        for waiting in self._graph.downstream[name]:
            if self._waiting.get(waiting):
                self._waiting[waiting] -= 1
                self._put_if_ready(waiting)

    def again(self, name: str) -> None:
        """Let a stage come again that was taken, or has passed. Stages that still wait then wait for it, too."""
        for waiting in self._graph.downstream[name] if name in self._passed else ():
            if self._waiting.get(waiting):
                self._waiting[waiting] += 1
        self._passed.discard(name)
        needed = self._stages.keys() & self._graph.upstream[name]
        self._waiting[name] = len(needed - self._passed)
        self._put_if_ready(name)

    def _put_if_ready(self, name: str) -> None:
        self._taken.discard(name)
        if not self._waiting[name]:
            heappush(self._ready, (self._position[name], name))


def build_graph(spec: Spec) -> Graph:
    """Return the graph. Raises SpecError with every cycle, from producer to consumer: `a -> b -> a`."""
    index, find = OutputIndex(spec.stages), stage_finder(spec)
    position = {stage.name: number for number, stage in enumerate(spec.stages)}
    upstream: dict[str, tuple[str, ...]] = {}
    downstream: dict[str, list[str]] = {stage.name: [] for stage in spec.stages}
    feeds: Feeds = {}
    for stage in spec.stages:
        names = () if stage.missing else stage.inputs  # what its instances may read could make a cycle
        fed = {name: pairs for name in names if (pairs := index.feeding(stage, name))}
        if stage.is_open:  # an instance may read what another one makes; only its value shows it
            fed = {name: tuple(pair for pair in pairs if pair[0] != stage.name) for name, pairs in fed.items()}
        if fed:
            feeds[stage.name] = fed
        before = set(chain.from_iterable(map(find, (*stage.needs, *stage.sources))))
        before.update(producer for pairs in fed.values() for producer, _ in pairs)
        upstream[stage.name] = tuple(sorted(before, key=position.__getitem__))
        for name in upstream[stage.name]:
            downstream[name].append(stage.name)
    graph, order = Graph(spec, (), upstream, downstream, feeds, index), []
    queue = ReadyQueue(graph, spec.stages)
    while ready := queue.take():
        order.append(ready)
        queue.passed(ready.name)
    if len(order) < len(spec.stages):
        stuck = {stage.name for stage in spec.stages} - {stage.name for stage in order}
        raise SpecError(*_cycles(spec, upstream, stuck))
    return graph._replace(order=tuple(order))


def select(graph: Graph, names: Sequence[str]) -> tuple[Stage, ...]:
    """Return the named stages and all that they need, in order; without names, all.

    A template without instances, or an unknown instance, means the stages that make the values of the template: there
    may be instances then. UsageError for other unknown names.
    """
    if not names:
        return graph.order
    find = stage_finder(graph.spec)
    meant = {name: find(name) or makers_of(graph.spec, name) for name in names}
    refuse_unknown(graph.spec, [name for name in names if not meant[name]])
    wanted = set(chain.from_iterable(meant.values()))
    for stage in reversed(graph.order):  # what a stage needs comes after it here
        if stage.name in wanted:
            wanted.update(graph.upstream[stage.name])
    return tuple(stage for stage in graph.order if stage.name in wanted)


def name_finder(names: Sequence[str], unexpanded: Collection[str] = ()) -> Callable[[str], Sequence[str]]:
    """Return a function that takes a selector, and returns those of the `names` that it selects, in order.

    A selector is the name of a stage, the name of a template, which selects all of its instances, or a pattern. The
    instances of `unexpanded` templates are not known: the name of one selects the template.
    """
    exact = {name: [name] for name in names}
    for name in names:
        if "@" in name:
            exact.setdefault(name.partition("@")[0], []).append(name)

    @cache
    def find(selector: str) -> Sequence[str]:
        if selector in exact:
            return exact[selector]
        template, at, _ = selector.partition("@")
        known = filter(globs.compile_glob(selector).match, names) if globs.is_glob(selector) else ()
        return (*known, *filter(globs.compile_glob(template).match, unexpanded if at else ()))

    return find


def stage_finder(spec: Spec) -> Callable[[str], Sequence[str]]:
    """Return the name finder for the stages of a spec, some of which may be templates without known instances."""
    return name_finder(spec.names, [stage.name for stage in spec.stages if stage.is_unexpanded])


def select_empty(spec: Spec, selectors: Sequence[str]) -> list[Empty]:
    """Return the stages without instances that the selectors mean, also by the name of an instance; without, all."""
    empty = {each.stage.name: each for each in spec.empty}
    find = name_finder([*empty], [*empty])
    names = chain.from_iterable(map(find, selectors)) if selectors else empty
    return [empty[name] for name in dict.fromkeys(names)]


def unknown_names(spec: Spec, selectors: Collection[str]) -> list[str]:
    """Return the selectors that mean no stage of a spec, nor one without instances."""
    if not selectors:
        return []  # a finder for 10,000 stages takes milliseconds
    find = stage_finder(spec)
    return [name for name in selectors if not (find(name) or select_empty(spec, [name]))]


def makers_of(spec: Spec, selector: str) -> set[str]:
    """Return the stages that make the values of the templates that a selector names, also by an instance."""
    is_meant = globs.compile_glob(selector.partition("@")[0]).match
    named = (stage for stage in spec.declared if stage.sources and is_meant(stage.name.partition("@")[0]))
    return {source for stage in named for source in stage.sources}


def refuse_unknown(spec: Spec, selectors: Collection[str], where: str = "") -> None:
    """Raise UsageError for the selectors that mean no stage of a spec, nor one without instances."""
    if unknown := unknown_names(spec, selectors):
        raise UsageError(*(Fault(where, *unknown_name(name, spec.declared)) for name in unknown))


def without_needs_of_empty(spec: Spec) -> Iterator[Stage]:
    """Yield the stages of a spec without those `needs` that mean only stages without instances."""
    find = stage_finder(spec)
    for stage in spec.stages:
        needs = tuple(needed for needed in stage.needs if find(needed) or not select_empty(spec, [needed]))
        yield stage if needs == stage.needs else stage._replace(needs=needs)


def select_names(names: Sequence[str], selectors: Sequence[str]) -> list[str]:
    """Return the names that the selectors select; without selectors, all."""
    find = name_finder(names)
    return [*chain.from_iterable(map(find, selectors))] if selectors else list(names)


def unknown_name(name: str, stages: Iterable[Stage]) -> tuple[str, str]:
    """Return the text of the fault for a name that no stage has, and a hint."""
    template, at, _ = name.partition("@")
    known = [stage.name for stage in stages if at and stage.template == template]
    hint = did_you_mean(name, known or dict.fromkeys(stage.template or stage.name for stage in stages))
    if name.endswith(".json"):
        hint = "a run takes one spec"
    elif any(other.startswith(f"{name},") for other in known):
        hint = f"did you mean '{name},*'?"
    return f"no stage named {show(name)}", hint


def _cycles(spec: Spec, upstream: Mapping[str, tuple[str, ...]], stuck: set[str]) -> list[Fault]:
    """Return a fault for each cycle: from each stuck stage, follow its first stuck upstream until a stage repeats."""
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
    position = {stage.name: number for number, stage in enumerate(spec.stages)}
    first = min(range(len(names)), key=lambda place: position[names[place]])
    circle = [*names[first:], *names[:first], names[first]]
    if len(circle) > 12:
        circle = [*circle[:6], "...", *circle[-5:]]
    where = f"{spec.shown}#/stages/{spec.stages[position[names[first]]].index}"
    return Fault(where, f"a cycle: {' -> '.join(circle)}", "no stage can come before itself, by files or by needs")
