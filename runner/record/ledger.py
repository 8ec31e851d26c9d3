"""The ledger: a hash chain over all invocations of a state directory, with the list of open runs.

Every record has the field `open`: the runs that have not succeeded yet. So the next run reads only the last line to
learn which runs to recover and which id to continue.
"""

from __future__ import annotations

import fcntl
import os
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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


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
                raise damaged(path, number + 1, "the record is not keyed, but those before it are")
    return head


class Ledger:
    """Appends to the ledger. A kernel lock on the file, held for one append, lets a no-op run append during a run.

    Once a record is keyed, all later ones must have the same key. Once a record is signed, all later ones must be.
    UsageError for any other.
    """

    def __init__(self, path: str, pipeline: str, stamp: Callable[[], str], seal: Seal = PLAIN) -> None:
        self.path = path
        self.pipeline = pipeline
        self._stamp = stamp
        self._seal = seal

    def append(self, event: str, run: str, log: Position | None, *, sync: bool, **fields: Any) -> str:  # noqa: ANN401
        """Append an event of `run`, with the end of its log if it has one; return the new head.

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


def pruned_commits(path: str) -> dict[str, dict[str, tuple[int, str]]]:
    """Return the runs whose files were pruned, each with the commits that the ledger kept of it.

    The commits are: stage -> record, digest of the marker.
    """
    pruned: dict[str, dict[str, tuple[int, str]]] = {}
    for record in newest_first(path):
        if record["ev"] == events.PRUNED:
            pruned.update((run, {}) for run in record["data"].get("runs") or ())
            for stage, (run, seq, digest) in (record["data"].get("commits") or {}).items():
                pruned.setdefault(run, {})[stage] = (seq, digest)
    return pruned


def pruned_removals(path: str) -> Iterator[tuple[str, str, int, str, str]]:
    """Yield what the ledger kept of removals in pruned logs: stage, run and record of the commit, path, remover."""
    for record in newest_first(path):
        for removed, (stage, run, seq, remover) in (record["data"].get("removed") or {}).items():
            yield stage, run, seq, removed, remover


def newest_first(path: str, most: int | None = None) -> Iterator[Record]:
    """Yield the lines of a ledger, the newest first; with `most`, only those in its last `most` bytes.

    Checks no hashes, so that a long history costs no time. Skips a torn last line, and damaged ones.
    """
    for line in islice(tail(path, most), 1, None):  # without the torn one
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):  # `verify` finds it damaged
            record = parsed(line)
            is_entry = events.is_ledger_entry(record["ev"], record["data"])
            if is_entry and is_name(record["run"]) and isinstance(record["ts"], str):
                yield record
