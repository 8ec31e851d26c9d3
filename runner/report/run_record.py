"""What the log of one run says: its parts, its attempts, and how each stage ended.

The log may end anywhere (a kill, a run at work), and anybody may have written it: what has no known shape is left out.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import parsed
from runner.errors import SpecError
from runner.paths import is_name, is_stage
from runner.record import events
from runner.results import ADOPTED, SKIPPED, SUCCEEDED
from runner.spec.graph import build_graph
from runner.spec.model import Spec, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runner.engine.history import Archive
    from runner.record.audit import Record
    from runner.record.events import Event
    from runner.spec.graph import Graph

UNENDED = "no end on record"  # of an attempt, and as a status of its stage
_OPENING = {  # fields of the record that begins a part
    **dict.fromkeys(("host", "user", "spec", "specIn", "specSha256"), str), "argv": list, "isolation": dict,
    "versions": dict,
}  # fmt: skip
_MALFORMED = (SpecError, KeyError, TypeError, ValueError, AttributeError, RecursionError)  # of a spec no run wrote


class Attempt(NamedTuple):
    """One attempt of a stage, in part `part` of the run (from 0). `began` is in seconds since 1970, `delay` in seconds.

    If its end is not on record, `ended` is the end of what is.
    """

    stage: str
    number: int
    part: int
    delay: float
    began: float
    ended: float
    ending: str = UNENDED

    @property
    def took(self) -> float:
        return self.ended - self.began


class RunRecord:
    """What the log of `run` says, up to its end or its first damaged record; nothing if there is no such log.

    `opening`: the payload of the newest part's first record; `ended`: how that part ended, None if it did not. `parts`:
    begin and last record of each, in seconds since 1970. `attempts`: by stage and number. By stage: the `status`, and
    as far as they are there `why` it failed, the `reasons` why it ran (unchecked), its `keys`, and its `commits`.
    """

    def __init__(self, archive: Archive, run: str, now: float = 0.0) -> None:
        """`now`, in seconds since 1970, is until when a run at work has come."""
        self.run = run
        self.opening: Mapping[str, Any] = {}
        self.ended: events.RunEnded | None = None
        self.parts: list[tuple[float, float]] = []
        self.attempts: dict[tuple[str, int], Attempt] = {}
        self.status: dict[str, str] = {}
        self.why: dict[str, str] = {}
        self.reasons: dict[str, object] = {}
        self.keys: dict[str, str] = {}
        self.commits: dict[str, events.StageCommit] = {}
        self.network: list[events.NetworkAttempt] = []
        self.warnings: list[events.RunWarning] = []
        for record, event in archive.events(run):
            self._note(record, event)
        self.parts[-1:] = [(begin, max(now, last)) for begin, last in self.parts[-1:]]
        for place, attempt in self.attempts.items():
            if attempt.ending == UNENDED:
                self.attempts[place] = attempt._replace(ended=self.parts[attempt.part][1])

    @property
    def has_no_work(self) -> bool:
        """Whether it is the log of a run with nothing to do, which names no stages."""
        stages: object = self.ended and self.ended.stages  # unchecked
        return not self.status and isinstance(stages, dict) and [*stages] == [SKIPPED]

    def _note(self, record: Record, event: Event | None) -> None:
        now = max(seconds_of(record["ts"]) or 0.0, *(self.parts[-1] if self.parts else ()), 0.0)
        if isinstance(event, events.RunOpened):
            data, self.ended = record["data"], None
            self.opening = {name: data[name] for name, kind in _OPENING.items() if isinstance(data.get(name), kind)}
            self.parts.append((now, now))
        elif not self.parts:
            return  # it does not begin as a log does
        self.parts[-1] = self.parts[-1][0], now
        match event:
            case events.RunEnded():
                self.ended = event
            case events.RunWarning():
                self.warnings.append(event)
            case events.NetworkAttempt():
                self.network.append(event)
            case events.AttemptStarted(stage=stage, attempt=number):
                delay: object = event.delay_micros  # unchecked
                waited = delay / 1e6 if isinstance(delay, int) else 0.0
                self.attempts[stage, number] = Attempt(stage, number, len(self.parts) - 1, waited, now, now)
                self.status[stage], self.reasons[stage] = UNENDED, event.reasons
            case events.AttemptFinished(stage=stage):
                ended = record["data"].get("attempt")
                if isinstance(ended, int) and (place := (stage, ended)) in self.attempts:
                    self.attempts[place] = self.attempts[place]._replace(ended=now, ending=_ending(record["data"]))
            case events.StageFinished(stage=stage) if is_stage(stage):
                self.status[stage], self.why[stage] = event.status, event.why
            case events.StageCommit(stage=stage):
                self.status[stage] = ADOPTED if record["ev"] == events.ADOPTED else SUCCEEDED
                self.reasons[stage], self.commits[stage] = event.reasons, event
            case events.StageSkipped(stage=stage) if is_stage(stage) and stage not in self.commits:
                self.status[stage], self.keys[stage] = SKIPPED, event.key


def seconds_of(time: str | None) -> float | None:
    """Return the time of a record in seconds since 1970; None if it is none."""
    try:
        return datetime.fromisoformat(time or "").timestamp()
    except (ValueError, OverflowError):
        return None


def _ending(data: Mapping[str, Any]) -> str:
    if failure := data.get("failedToStart"):
        return f"could not start: {failure}"
    return "time limit" if data.get("timedOut") else str(data.get("signal") or f"exit {data.get('exit')}")


def find_graph(archive: Archive, opening: Mapping[str, Any], runs: Iterable[str]) -> Graph | None:
    """Return the graph of the spec in record 0; None if no log has that spec, or no run can have had it.

    After a run with nothing to do, another log has the spec: the one that record 0 names, or one of `runs`.
    """
    text = opening.get("spec")
    if opening and text is None:
        firsts = (next(archive.events(str(run)), None) for run in (opening.get("specIn"), *runs) if is_name(run))
        data = (first[0]["data"] for first in firsts if first)
        same = (each for each in data if each.get("specSha256") == opening.get("specSha256"))
        text = next((each["spec"] for each in same if "spec" in each), None)
    try:
        given: Any = parsed(str(text).encode())
        stages = tuple(
            Stage(index, stage["name"], stage["outputs"], stage["inputs"], needs=tuple(stage["needs"]))
            for index, stage in enumerate(given["stages"])
        )
        return build_graph(Spec("", "", given["name"], "/", "/", archive.paths, stages, ""))
    except _MALFORMED:
        return None
