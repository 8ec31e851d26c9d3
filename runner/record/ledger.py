"""The ledger: a hash chain over all invocations of a state directory, with the list of open runs.

Every record has the field `open`: the runs that have not succeeded yet. So the next run reads only the last line to
learn which runs to recover and which id to continue.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import SIGNED, parsed
from runner.paths import is_name
from runner.record import events, files
from runner.record.log import (
    BEGIN,
    Position,
    Record,
    changed_meanwhile,
    cut_torn_line,
    damaged,
    intact_record,
    key_id_of,
    last_record,
    lines_of,
    position_of,
    tail,
)
from runner.record.seal import PLAIN, Seal
from runner.results import FAILED, INTERRUPTED, REFUSED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_READ = 1 << 24  # bytes at the end that are searched for the last success: more than 20,000 runs
SIGNALLED = 128  # exit codes above are a signal's


class LedgerHead(NamedTuple):
    """The last record of the ledger: its position, pipeline, open runs (oldest first), and the ids of both keys."""

    position: Position = BEGIN
    pipeline: str = ""
    open_runs: tuple[str, ...] = ()
    key_id: str | None = None
    signer: str | None = None


def read_head(path: str, seal: Seal = PLAIN) -> LedgerHead:
    """Return the head of the ledger at `path`, or an empty head if there is no ledger yet.

    Skips a torn last line (the next `append` cuts it), so reading needs no lock. StateError for a damaged one.
    """
    record = last_record(path, seal)
    head = LedgerHead()
    if record:
        data, signer = record["data"], record["data"].get("signer")
        if not events.is_ledger_entry(record["ev"], data):
            raise damaged(path, record["seq"] + 1)
        if signer and record["ev"] != SIGNED:
            raise damaged(path, record["seq"] + 1, "the record has no signature")
        position, open_runs = position_of(record), tuple(data["open"])
        head = LedgerHead(position, data["pipeline"], open_runs, key_id_of(record), signer)
    if seal.id and not head.key_id:  # then no record may be keyed: a keyed one is followed by keyed ones only
        for number, line in enumerate(lines_of(path), 1):
            if b'"keyId":"' in line and line.endswith(b"\n"):
                raise damaged(path, number + 1, "the record is not keyed, as those before it")
    return head


class Ledger:
    """Appends to the ledger. A kernel lock on the file, held for one append, lets a no-op run append during a run.

    Once a record is keyed, all later ones have the same key, and once records are signed, so are all later ones:
    UsageError for any others.
    """

    def __init__(self, path: str, pipeline: str, stamp: Callable[[], str], seal: Seal = PLAIN) -> None:
        self.path = path
        self.pipeline = pipeline
        self._stamp = stamp
        self._seal = seal

    def append(self, event: str, run: str, log: Position | None, *, sync: bool, **fields: Any) -> str:  # noqa: ANN401
        """Append an event of `run`, with the end of its log, if it has one; return the new head.

        `fields` are those of `LedgerEntry` from `part` on. The line and its signature, if there is one, are one write.

        StateError if `run` is to be closed and is not open: the ledger was replaced.
        """
        descriptor = files.open_append(self.path)
        try:
            with files.naming(self.path, "lock"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            head = read_head(self.path, self._seal)
            cut_torn_line(self.path)
            self._seal.refuse_other(self.path, head.key_id, head.signer)
            if event == events.CLOSED and run not in head.open_runs:
                raise changed_meanwhile(self.path)
            open_runs = open_after(head.open_runs, event, run)
            place = log or (None, None)
            entry = events.LedgerEntry(self.pipeline, open_runs, self._seal.id, *place, **fields)
            seq, prev = head.position.seq + 1, head.position.hash
            lines, digest = self._seal.entry(events.encode(entry), event, run, seq, self._stamp(), prev)
            files.append_line(descriptor, lines, self.path, sync=sync)
        finally:
            os.close(descriptor)
        return digest


def open_after(open_runs: tuple[str, ...], event: str, run: str) -> tuple[str, ...]:
    """Return the runs that are open after this event of `run`, the newest last."""
    others = tuple(other for other in open_runs if other != run)
    if event == events.OPENED:
        return (*others, run)
    return others if event in (events.CLOSED, events.SUPERSEDED) else open_runs


def refuse_replaced_log(path: str, run: str, beginnings: Mapping[int, str], log: str, seal: Seal) -> None:
    """Raise StateError unless the log of an open run begins as the ledger at `path` says. Checks keyed ledgers only.

    `beginnings`: number and hash of each record of the log that begins a part of the run.
    """
    if not seal.id:  # without a key, a process that can replace the log can change the ledger, too
        return
    opened: dict[str, Any] = {}
    for line in lines_of(path):
        if b'"ev":"opened"' in line and (record := intact_record(line, seal)) and record["run"] == run:
            opened = record["data"]
    if beginnings.get(opened.get("logSeq", -1)) != opened.get("logHash", ""):
        raise damaged(log, 1, "the log is not the one that the ledger knows")


# ---- the past --------------------------------------------------------------------------------------------------------


RUNNING, KILLED = "running", "did not end"
_MOST_WARNINGS = 20  # texts of an invocation; the log of a run has all
_MORE = re.compile(r"and ([1-9][0-9,]{0,20}) more")


def brief_warnings(texts: Sequence[str]) -> list[str]:
    """Return what the ledger keeps of the warnings of an invocation: the first texts, and how many more there were."""
    more = len(texts) - _MOST_WARNINGS
    return [*texts[:_MOST_WARNINGS], *([f"and {more:,} more"] if more > 0 else [])]


class Past(NamedTuple):
    """An invocation on record. Times are as in records.

    `outcome`: succeeded, failed or interrupted; refused, before it opened a run; running, or did not end. `part` counts
    the invocations that worked on the run; None if this one had nothing to do. `stages` are counts by status, `fault`
    is the first, `warnings` are as `brief_warnings` returned them, `by` is the run that did the work of this one, which
    went no further. `pruned` is when the files of the run were removed, empty if they were not.
    """

    run: str
    outcome: str
    began: str
    ended: str | None = None
    exit_code: int | None = None
    part: int | None = None
    verb: str = "run"
    stages: Mapping[str, int] = {}
    fault: str | None = None
    warnings: Sequence[str] = ()
    by: str | None = None
    pruned: str = ""

    @property
    def name(self) -> str:
        """The run, with the number of its part from the second on: `RUN#2`."""
        return f"{self.run}#{self.part}" if self.part and self.part > 1 else self.run

    @property
    def warning_count(self) -> int:
        """The number of warnings, also of those without a text here."""
        kept, more = self.warnings[:_MOST_WARNINGS], map(_MORE.fullmatch, self.warnings[_MOST_WARNINGS:])
        return len(kept) + sum(int(found[1].replace(",", "")) for found in more if found)

    @property
    def seconds(self) -> float | None:
        """The time from begin to end, None if one is not known."""
        from datetime import datetime

        with suppress(ValueError, TypeError):  # no time, or one without a zone
            return (datetime.fromisoformat(self.ended or "") - datetime.fromisoformat(self.began)).total_seconds()
        return None

    @property
    def is_good(self) -> bool:
        """Whether there is nothing to look into."""
        return self.outcome in (SUCCEEDED, RUNNING)


def past_invocations(path: str, *, is_running: bool = False, since: str = "") -> Iterator[Past]:
    """Yield the invocations in a ledger, the newest last line first, down to the time `since`.

    Reads from the end and checks no hashes, so that a long history costs no time; skips damaged lines. `is_running`:
    the newest run that did not end is at work.
    """
    ended: set[tuple[str, object]] = set()
    closed: dict[str, str] = {}  # run -> time, by the next run: it was killed after the end of its log
    by: dict[str, str] = {}
    pruned: dict[str, str] = {}  # run -> time
    for record in _newest_first(path):
        event, run, time, data = (record[name] for name in ("ev", "run", "ts", "data"))
        if time < since:
            return
        part, invocation, past = data.get("part"), data.get("invocation"), None
        if event == events.SUPERSEDED:
            by[run] = data.get("by")
        elif invocation:
            ended.add((run, part))
            pruned.update(dict.fromkeys(data.get("runs") or (), time))
            past = _ended(record, part, invocation)
        elif event == events.CLOSED:
            closed[run] = time
        elif event == events.OPENED and run in closed:
            past = Past(run, SUCCEEDED, time, closed.pop(run), 0)
        elif event == events.OPENED and (run, part) not in ended:
            past = Past(run, RUNNING if is_running else KILLED, time, part=part)
            is_running = False
        if past:
            yield past._replace(by=by.pop(run, None), pruned=pruned.get(run, ""))


def _ended(record: Mapping[str, Any], part: int | None, invocation: Mapping[str, Any]) -> Past:
    code, is_refusal = invocation["exitCode"], part is None and record["ev"] == events.ENDED
    outcome = SUCCEEDED if code == 0 else REFUSED if is_refusal else FAILED
    if code > SIGNALLED:
        outcome = INTERRUPTED
    began, verb, stages, warnings = (invocation[name] for name in ("began", "verb", "stages", "warnings"))
    fault = invocation.get("fault")
    return Past(record["run"], outcome, began, record["ts"], code, part, verb, stages, fault, warnings)


def pruned_commits(path: str) -> dict[str, dict[str, tuple[int, str]]]:
    """Return the runs whose files were pruned, each with its commits: stage -> record, digest of the marker."""
    pruned: dict[str, dict[str, tuple[int, str]]] = {}
    for record in _newest_first(path):
        if record["ev"] == events.PRUNED:
            pruned.update((run, {}) for run in record["data"].get("runs") or ())
            for stage, (run, seq, digest) in (record["data"].get("commits") or {}).items():
                pruned.setdefault(run, {})[stage] = (seq, digest)
    return pruned


def last_run(path: str) -> Mapping[str, Any] | None:
    """Return the newest line of a ledger that an invocation with a log wrote, or None. Checks no hashes."""
    records = (record for record in _newest_first(path) if record["ev"] != events.SUPERSEDED)
    return next((record for record in records if "logHash" in record["data"]), None)


def last_success(path: str) -> tuple[str, str] | None:
    """Return the last run that succeeded, and the time of its end. Checks no hashes, and skips damaged lines."""
    records = (record for record in _newest_first(path, _READ) if record["ev"] in (events.CLOSED, events.NOOP))
    return next(((record["run"], record["ts"]) for record in records), None)


def _newest_first(path: str, most: int | None = None) -> Iterator[Record]:
    for line in islice(tail(path, most), 1, None):  # without the torn one
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):  # `verify` finds it damaged
            record = parsed(line)
            is_entry = events.is_ledger_entry(record["ev"], record["data"])
            if is_entry and is_name(record["run"]) and isinstance(record["ts"], str):
                yield record
