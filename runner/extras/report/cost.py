"""What the stages of a run cost, and the longest chain of attempts, which no larger `-j` can shorten."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.extras.report.run_record import UNENDED, RunRecord
from runner.extras.report.tables import marker_of
from runner.paths import is_name
from runner.record.state import read_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from runner.audit.archive import Archive
    from runner.extras.report.run_record import Attempt
    from runner.extras.report.tables import Group
    from runner.paths import StatePaths
    from runner.spec.graph import Graph

_MIB = 1 << 20


class Cost(NamedTuple):
    """What a group of stages cost. `runs` made its attempts. Bytes are None if they are not on record.

    `limit`: the MiB that the attempt with the largest process asked for, if it did.
    """

    attempts: Sequence[Attempt]
    runs: Sequence[str]
    inputs: int | None
    outputs: int | None
    limit: int | None = None

    @property
    def seconds(self) -> float:
        return sum(attempt.took for attempt in self.attempts)

    @property
    def cpu(self) -> float:
        """The seconds of CPU, without those of attempts whose end is not on record."""
        return sum(attempt.measured[1] for attempt in self.attempts if attempt.measured)

    @property
    def largest(self) -> int:
        """The MiB of the largest process, rounded up; 0 if it is not on record."""
        return max((-(-_memory(attempt) // _MIB) for attempt in self.attempts), default=0)

    @property
    def is_open(self) -> bool:
        return any(attempt.ending == UNENDED for attempt in self.attempts)


class Costs:
    """The cost of the run in `record`, whose effective spec is `given`.

    A run with nothing to do has no attempts. If it `is_newest`, each stage has those of the run that made its outputs.
    """

    def __init__(
        self, archive: Archive, record: RunRecord, given: Mapping[str, Any] | None, *, is_newest: bool
    ) -> None:
        self._paths = archive.paths
        self._own = record
        self._is_newest = is_newest
        self._given = {stage["name"]: stage for stage in given["stages"]} if given else {}
        self._earlier = cache(lambda run: RunRecord(archive, run))
        self._metrics = metrics_of(archive.paths)

    def of(self, group: Group) -> Cost:
        """Return what a group cost."""
        sources = {stage: self._source(stage) for stage in group.stages}
        attempts = [attempt for stage, source in sources.items() for attempt in source.attempts.get(stage, ())]
        commits = [source.commits[stage] for stage, source in sources.items() if stage in source.commits]
        known = [
            size for stage, source in sources.items() if (size := self._input_bytes(source.run, stage)) is not None
        ]
        largest = max(attempts, key=_memory, default=None)
        return Cost(
            attempts,
            [*{source.run: None for stage, source in sources.items() if stage in source.attempts}],
            sum(known) if known else None,
            sum(output.size for commit in commits for output in commit.outputs.values()) if commits else None,
            self._limit(largest) if largest and largest.measured else None,
        )

    def _source(self, stage: str) -> RunRecord:
        """Return the record of the run whose attempts count for a stage."""
        if not self._own.has_no_work:
            return self._own
        marker = marker_of(self._own, stage, self._paths, is_newest=self._is_newest)
        return self._earlier(marker.run) if marker and is_name(marker.run) else self._own

    def _input_bytes(self, run: str, stage: str) -> int | None:
        """Return the size of the inputs of a stage as in the metrics, which a killed run lacks."""
        size = self._metrics(run, stage).get("inputBytes")
        return size if isinstance(size, int) else None

    def _limit(self, attempt: Attempt) -> int | None:
        values: Any = self._given.get(attempt.stage, {}).get("resources", {}).get("memoryMiB")
        limit: int | None = values[min(attempt.position, len(values) - 1)] if isinstance(values, list) else values
        return limit


def metrics_of(paths: StatePaths) -> Callable[[str, str], Mapping[str, Any]]:
    """Return a function that returns the metrics of a run and a stage, empty if there are none."""
    read = cache(lambda run: read_metrics(paths, run).get("stages") if is_name(run) else None)

    def metrics(run: str, stage: str) -> Mapping[str, Any]:
        stages = read(run)
        entry = stages.get(stage) if isinstance(stages, dict) else None
        return entry if isinstance(entry, dict) else {}

    return metrics


def longest_chain(record: RunRecord, graph: Graph) -> list[tuple[str, float]]:
    """Return the critical path of a run: the stages that need each other and whose attempts took longest together.

    Each has the seconds of its attempts and of the waits before them. Stages without attempts are left out.
    """
    own = {stage: sum(each.delay + each.took for each in attempts) for stage, attempts in record.attempts.items()}
    until: dict[str, float] = {}
    before: dict[str, str] = {}
    for stage in graph.order:
        if upstream := graph.upstream[stage.name]:
            before[stage.name] = max(upstream, key=until.__getitem__)
        until[stage.name] = own.get(stage.name, 0.0) + until.get(before.get(stage.name, ""), 0.0)
    chain = []
    name = max(until, key=until.__getitem__, default=None)
    while name is not None:
        chain.append(name)
        name = before.get(name)
    return [(stage, own[stage]) for stage in reversed(chain) if stage in own]


def _memory(attempt: Attempt) -> int:
    """Return the bytes of the largest process of an attempt; 0 if they are not on record."""
    return attempt.measured[2] if attempt.measured else 0
