"""Where the graph and the timeline are drawn, in px. A library lays out the graph; the templates hold the SVG."""

from __future__ import annotations

from collections import defaultdict
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from runner.extras.packages import packages_of
from runner.extras.report.tables import FOLDS, Group

with packages_of("report"):
    import graphlay

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runner.extras.report.run_record import Attempt, RunRecord

WIDTH, LABELS = 960, 200  # of the timeline, and of the names in it
HEIGHT, _LETTER, LONGEST = 44, 7.2, 28  # of a box, and of a letter; characters of a name
_BOXES, _ARROWS, _ROWS, _BARS = 100, 400, 40, 50  # most that can be read; the graph is then laid out within a second
_INSTANCES = 40  # most stages of a graph with a box for each
_SPACING = {"layer_gap": 32, "node_gap": 20, "dummy_gap": 12}
_GAP, _STEP = 16, 4  # between two parts of a run, and of an area


class Drawing(NamedTuple):
    """Groups of stages, and the layout of their boxes, in the same order, and arrows.

    `is_folded`: boxes may hold stages whose names differ in numbers only.
    """

    groups: list[Group]
    layout: graphlay.Layout
    is_folded: bool


class Row(NamedTuple):
    """Attempts under one name. Those of many stages have an `area`: x -> how many were at work, of at most 1.0."""

    name: str
    attempts: Sequence[Attempt]
    stages: int
    area: dict[float, float]


def draw_graph(groups_of: Callable[[Callable[[str], str]], list[Group]]) -> Drawing | None:
    """Return the drawing, given a function from a fold to groups; None for too many boxes or arrows to be read.

    A small graph has a box for each instance, if it is not wider than the page, and so than paper.
    """
    for fold in FOLDS[:-1]:
        groups = groups_of(fold)
        most = _INSTANCES if fold is FOLDS[0] else _BOXES
        if 0 < len(groups) <= most and sum(len(group.needs) for group in groups) <= _ARROWS:
            layout = _laid_out(groups, "topbottom")
            if _width(layout) > WIDTH:
                layout = min(layout, _laid_out(groups, "leftright"), key=_width)
            if fold is not FOLDS[0] or _width(layout) <= WIDTH:
                return Drawing(groups, layout, fold not in FOLDS[:2])
    return None


def _laid_out(groups: Sequence[Group], direction: str) -> graphlay.Layout:
    graph = graphlay.Graph()
    for group in groups:
        letters = max(min(len(group.name), LONGEST) + 6 * group.is_many, 0.85 * len(group.outcome))
        graph.node(group.name, width=max(100, 28 + _LETTER * letters), height=HEIGHT)
    for source, target in ((need, group.name) for group in groups for need in group.needs):
        graph.edge(source, target)
    options = {"effort": "fast", "direction": direction, "routing": {"style": "diagonal"}, "spacing": _SPACING}
    return graphlay.layout(graph, preset="layered", options=options)


def _width(layout: graphlay.Layout) -> float:
    low, high = layout.bounds["min"]["x"], layout.bounds["max"]["x"]
    return float(high - low)


class Timeline:
    """Attempts over time. `parts`: begin, end and x of each part of the run; the time between them is left out."""

    def __init__(self, record: RunRecord) -> None:
        attempts, parts = [*chain.from_iterable(record.attempts.values())], record.parts
        self.gap = min(_GAP, 160 / (len(parts) or 1))
        room = WIDTH - LABELS - 10 - self.gap * (len(parts) - 1)
        self._scale = room / (sum(end - begin for begin, end in parts) or 1.0)
        self.parts: list[tuple[float, float, float]] = []
        x = float(LABELS)
        for begin, end in parts:
            self.parts.append((begin, end, x))
            x += (end - begin) * self._scale + self.gap
        named: dict[str, list[Attempt]] = {}
        for fold in FOLDS:
            named = defaultdict(list)
            for attempt in attempts:
                named[fold(attempt.stage)].append(attempt)
            if len(named) <= _ROWS:
                break
        self.rows = [self._row(name, each) for name, each in named.items()]

    def x(self, part: int, time: float) -> float:
        """Return the place of a time in a part of the run."""
        begin, end, x = self.parts[part]
        return x + (min(max(time, begin), end) - begin) * self._scale

    def _row(self, name: str, attempts: Sequence[Attempt]) -> Row:
        stages, busy = len({attempt.stage for attempt in attempts}), defaultdict[int, float](float)
        for attempt in attempts if stages > 1 or len(attempts) > _BARS else ():
            begin, end = (self.x(attempt.part, time) / _STEP for time in (attempt.began, attempt.ended))
            for step in range(int(begin), int(end) + 1):
                busy[step] += min(end, step + 1) - max(begin, step)
        most = max(busy.values(), default=0) or 1
        return Row(name, attempts, stages, {step * _STEP: share / most for step, share in busy.items()})
