"""What the log of one run says: its parts, its attempts, and how each stage ended.

The log may end anywhere, because the run was killed or is still at work.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import parsed
from runner.paths import is_name, is_stage
from runner.record import events
from runner.results import ADOPTED, FAILED, SKIPPED, SUCCEEDED, ending_of
from runner.spec.graph import Graph, build_graph
from runner.spec.model import Spec, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.audit.archive import Archive, Past
    from runner.record.events import Event
    from runner.record.log import Record

UNENDED = "no end on record"  # of an attempt, and as a status of its stage
DONE = "exit 0"


class Attempt(NamedTuple):
    """One attempt of a stage, in part `part` of the run (from 0). `began` is in seconds since 1970, `delay` in seconds.

    If its end is not on record, `ended` is the end of what is. Otherwise `measured` has what the launcher measured:
    seconds, seconds of CPU, and the bytes of its largest process. `position`: of its values in lists of the spec.
    """

    stage: str
    number: int
    part: int
    delay: float
    began: float
    ended: float
    ending: str = UNENDED
    position: int = 0
    measured: tuple[float, float, int] | None = None

    @property
    def took(self) -> float:
        return self.measured[0] if self.measured else self.ended - self.began


class RunRecord:
    """What the log of `run` says, up to its end or its first damaged record; nothing if there is no such log.

    `opening`: the payload of the newest part's first record; `ended`: how that part ended, None if it did not. `parts`:
    the time of the first and last record of each, in seconds since 1970. By stage: its `attempts` and `status`, and if
    they are on record, `why` it failed, the `reasons` why it ran, its key in `keys`, its commit in `commits`, and the
    position of that in the log in `committed`. `nodes`: how many attempts ended on each worker of a cluster.
    """

    def __init__(self, archive: Archive, run: str, now: float = 0.0) -> None:
        """`now`, in seconds since 1970, is the end of the newest part if the run is at work."""
        self.run = run
        self.opening: Mapping[str, Any] = {}
        self.ended: events.RunEnded | None = None
        self.parts: list[tuple[float, float]] = []
        self.attempts: dict[str, list[Attempt]] = {}
        self.status: dict[str, str] = {}
        self.why: dict[str, str] = {}
        self.reasons: dict[str, list[list[object]]] = {}
        self.keys: dict[str, str] = {}
        self.commits: dict[str, events.StageCommit] = {}
        self.committed: dict[str, int] = {}
        self.nodes: Counter[str] = Counter()
        self.network: list[events.NetworkAttempt] = []
        self.warnings: list[events.RunWarning] = []
        for record, event in archive.events(run):
            self._note(record, event)
        self.parts[-1:] = [(begin, max(now, last)) for begin, last in self.parts[-1:]]
        for attempts in self.attempts.values():
            attempts[:] = [
                attempt._replace(ended=self.parts[attempt.part][1]) if attempt.ending == UNENDED else attempt
                for attempt in attempts
            ]

    @property
    def has_no_work(self) -> bool:
        """Whether it is the log of a run with nothing to do, which names no stages."""
        return self.ended is not None and not self.status and [*self.ended.stages] == [SKIPPED]

    def took(self, past: Past) -> float:
        """Return how many seconds an invocation worked on the run: up to its last record if its end is not known."""
        parts = self.parts[(past.part or 0) - 1 :][:1]
        return sum(end - begin for begin, end in parts) if past.seconds is None else past.seconds

    def _note(self, record: Record, event: Event | None) -> None:
        now, data = datetime.fromisoformat(record["ts"]).timestamp(), record["data"]
        if isinstance(event, events.RunOpened):
            self.opening, self.ended = data, None
            self.parts.append((now, now))
        begin, last = self.parts[-1]
        now = max(now, last)  # the clock may have been set back
        self.parts[-1] = begin, now
        match event:
            case events.RunExpanded():
                self.opening = {**self.opening, **data}
            case events.RunEnded():
                self.ended = event
            case events.RunWarning():
                self.warnings.append(event)
            case events.NetworkAttempt():
                self.network.append(event)
            case events.AttemptStarted(stage=stage):
                delay = (event.delay_micros or 0) / 1e6
                part, position = len(self.parts) - 1, event.position or 0
                attempt = Attempt(stage, event.attempt, part, delay, now, now, position=position)
                self.attempts.setdefault(stage, []).append(attempt)
                self.status[stage], self.reasons[stage] = UNENDED, event.reasons
            case events.AttemptFinished(stage=stage):
                self._end(stage, ending_of(data), now)
                self.nodes.update(filter(None, [data.get("node")]))
                measured = data["micros"] / 1e6, data["cpuMicros"] / 1e6, data["maxRssBytes"]
                self.attempts[stage][-1] = self.attempts[stage][-1]._replace(measured=measured)
            case events.StageFinished(stage=stage) if is_stage(stage):
                self.status[stage], self.why[stage] = event.status, event.why
                if event.status == FAILED and stage in self.attempts and self.attempts[stage][-1].ending == DONE:
                    self._end(stage, f"{DONE}, but failed", self.attempts[stage][-1].ended)
            case events.StageCommit(stage=stage):
                self.status[stage] = ADOPTED if record["ev"] == events.ADOPTED else SUCCEEDED
                self.reasons[stage], self.commits[stage] = event.reasons, event
                self.committed[stage] = record["seq"]
            case events.StageSkipped(stage=stage) if is_stage(stage) and stage not in self.commits:
                self.status[stage], self.keys[stage] = SKIPPED, event.key

    def _end(self, stage: str, ending: str, now: float) -> None:
        self.attempts[stage][-1] = self.attempts[stage][-1]._replace(ending=ending, ended=now)


def find_spec(archive: Archive, opening: Mapping[str, Any], runs: Iterable[str]) -> Mapping[str, Any] | None:
    """Return the effective spec in record 0; None if no log has it.

    The log of a run with nothing to do lacks the spec. The log that record 0 names has it, or the log of one of `runs`.
    """
    firsts = (next(archive.events(run), None) for run in (opening.get("specIn", ""), *runs) if is_name(run))
    openings = chain((opening,), (first[0]["data"] for first in firsts if first))
    holders = (each for each in openings if "spec" in each and each.get("specSha256") == opening.get("specSha256"))
    holder = next(holders, None)
    given: Mapping[str, Any] | None = parsed(holder["spec"].encode()) if holder else None
    return given


def graph_of(archive: Archive, given: Mapping[str, Any]) -> Graph:
    """Return the graph of an effective spec. Its workspace is "" if it is not known."""
    stages = tuple(
        Stage(
            index,
            stage["name"],
            stage["outputs"],
            stage["inputs"],
            needs=tuple(stage["needs"]),
            results=stage.get("results"),
        )
        for index, stage in enumerate(given["stages"])
    )
    workspace = _workspace_of(archive, given["stateDir"])
    return build_graph(Spec("", "", given["name"], "/", workspace, archive.paths, stages, ""))


def _workspace_of(archive: Archive, state_dir: str) -> str:
    """Return the workspace; "" if only a state directory is given that is not where the record says, `state_dir`."""
    if archive.spec:
        return archive.spec.workspace
    workspace = archive.paths.state_dir.removesuffix(f"/{state_dir}")
    return "" if workspace == archive.paths.state_dir else workspace
