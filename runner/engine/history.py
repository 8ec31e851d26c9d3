"""What earlier runs have written into their logs: events, how stages failed, which networks were refused."""

from __future__ import annotations

import os
from contextlib import suppress
from json import loads
from typing import TYPE_CHECKING, Any, NamedTuple

from runner import results
from runner.engine.session import Session
from runner.errors import Fault, StateError, UsageError
from runner.record import events
from runner.record.audit import last_record, read_records, tail
from runner.results import NetworkCalls, network_text
from runner.spec.graph import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.engine import Options
    from runner.record.audit import Record
    from runner.record.events import Event

_RUNS_READ = 8  # of those that are open, the newest; each of them is read whole
_LEDGER_READ = 1 << 24  # bytes of its end, for the last success: more than 30,000 runs without one
_FAILED = "failed with "


class Failure(NamedTuple):
    """How a stage failed: in which run, when (as the record has it), and why."""

    run: str
    time: str
    why: str


class Part:
    """A run since it began, or went on the last time: when that was, when it ended, and what went wrong in it.

    `failed`: stage -> why. `unstarted` and `interrupted` are stages. `working`: stage -> the number of an attempt
    that has not ended on record, and since when (after a kill nothing is at work). `refused`: networks.
    """

    __slots__ = ("began", "ended", "failed", "interrupted", "refused", "unstarted", "working")

    def __init__(self, began: str | None = None) -> None:
        self.began = began
        self.ended: str | None = None
        self.failed: dict[str, str] = {}
        self.unstarted: list[str] = []
        self.interrupted: list[str] = []
        self.working: dict[str, tuple[object, str]] = {}
        self.refused: list[events.NetworkAsked] = []


def last_part(session: Session, run: str) -> Part:
    """Return what the log of a run says of its newest part, up to the first damaged record (see `verify`)."""
    part = Part()
    with suppress(StateError):
        for record, event in _events(session, run):
            time = record["ts"]
            match event:
                case events.RunOpened():
                    part = Part(time)
                case events.RunEnded():
                    part.ended = time
                case events.AttemptStarted():
                    part.working[event.stage] = (event.attempt, time)
                case events.AttemptFinished():
                    part.working.pop(event.stage, None)
                case events.NetworkAsked():
                    part.refused.append(event)
                case events.StageFinished(status=results.FAILED):
                    part.failed[event.stage] = event.why.removeprefix(_FAILED)
                case events.StageFinished(status=results.BLOCKED):
                    part.unstarted.append(event.stage)
                case events.StageFinished(status=results.INTERRUPTED):
                    part.interrupted.append(event.stage)
    return part


def last_failures(session: Session, stages: Iterable[str]) -> dict[str, Failure]:
    """Return how each of `stages`, which are pending, failed last, as far as the newest open runs say.

    Stages that were complete since are left out: what makes them pending came later.
    """
    failures: dict[str, Failure] = {}
    pending = set(stages)
    for run in session.head.open_runs[-_RUNS_READ:]:
        with suppress(StateError):
            for record, event in _events(session, run):
                match event:
                    case events.StageCommit():
                        failures.pop(event.stage, None)
                    case events.StageFinished(status=results.FAILED) if event.stage in pending:
                        failures[event.stage] = Failure(run, record["ts"], event.why.removeprefix(_FAILED))
    return {stage: failure for stage, failure in failures.items() if not _was_complete(session, stage, failure)}


def last_success(ledger: str) -> tuple[str, str] | None:
    """Return the last run that succeeded and when it ended.

    The search begins at the ledger's end and checks no hashes, so a long history costs no time. A damaged record is
    passed over.
    """
    for line in tail(ledger, _LEDGER_READ):
        if any(b'"ev":"%b"' % event.encode() in line for event in (events.CLOSED, events.NOOP)):
            try:
                record = loads(line)
                return str(record["run"]), str(record["ts"])
            except (ValueError, KeyError, TypeError):
                continue
    return None


def find_log(spec_path: str, options: Options, stage: str, run: str | None, attempt: int | None) -> str:
    """Return the path of the log of a stage's attempt in `run`; default: the last attempt, of the last run that has it.

    UsageError for a stage that is not there, that was not started, or that has no such attempt on record.
    """
    session = Session(spec_path, options)
    paths = session.spec.paths
    marker = session.marker(stage)
    runs = [run] if run else [*reversed(session.head.open_runs), *([marker.run] if marker else [])]
    for run_id in runs:
        number = 0
        for _, event in _events(session, run_id):
            if isinstance(event, events.AttemptStarted) and event.stage == stage and attempt in (None, event.attempt):
                number = event.attempt
        if number:
            return paths.log(run_id, stage, number)
    select(session.graph, (stage,))  # raises for an unknown name, and says which is meant
    what = f"has no attempt {attempt} on record" if attempt else "was not started" if run else "was never started"
    raise UsageError(Fault(f"stage {stage}", f"{what} in the run {run}" if run else what))


def read_events(spec_path: str, options: Options, run: str | None) -> Iterator[str]:
    """Yield the audit log of a run (default: the last one), a line an event. UsageError when there is no such run."""
    session = Session(spec_path, options)
    paths = session.spec.paths
    last = last_record(paths.ledger, session.seal) if run is None else None
    chosen = run or (last["run"] if last else None)
    if not chosen or not os.path.exists(paths.audit(chosen)):
        raise UsageError(Fault("", f'no run "{chosen}"' if chosen else "no run yet"))
    for record, event in _events(session, chosen):
        yield f"{record['ts']} {record['ev']} {_subject(record['data'], event)}".rstrip()


def _events(session: Session, run: str) -> Iterator[tuple[Record, Event | None]]:
    """Yield each record of a run with its event, None where it has another shape."""
    for record in read_records(session.spec.paths.audit(run), session.seal):
        try:
            yield record, events.decode(record["ev"], record["data"])
        except ValueError:
            yield record, None


def _was_complete(session: Session, stage: str, failure: Failure) -> bool:
    """Whether a stage was completed after it had failed, in whatever run: its marker is younger."""
    from datetime import datetime

    try:
        completed = os.stat(session.spec.paths.marker(stage)).st_mtime
        return completed > datetime.fromisoformat(failure.time).timestamp()
    except (OSError, ValueError):
        return False


def calls_of(event: events.NetworkAsked) -> str:
    """Return what asked for which network, as text."""
    return network_text([NetworkCalls(event.program, event.family, event.count, is_probe=False)])


def _subject(data: dict[str, Any], event: Event | None) -> str:
    shown = [str(data[name]) for name in ("stage", "attempt", "exit", "signal", "status") if data.get(name) is not None]
    if isinstance(event, events.NetworkAsked):
        shown += [calls_of(event), event.action]
    elif shown and data.get("why"):
        shown[-1:] = [f"{shown[-1]}: {data['why']}"]
    return " ".join(shown)
