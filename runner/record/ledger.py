"""The ledger: a hash chain over all runs of a state directory, with the list of open runs.

Every record has the field `open`: the runs that have not succeeded yet. So the next run reads only the last line to
learn which runs to recover and which id to continue.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.record import files
from runner.record.audit import (
    BEGIN,
    Position,
    changed_meanwhile,
    cut_torn_line,
    damaged,
    encode_record,
    intact_record,
    key_id_of,
    last_record,
    lines_of,
    position_of,
)
from runner.record.events import CLOSED, OPENED, LedgerEntry, decode
from runner.record.seal import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.record.seal import Seal


class LedgerHead(NamedTuple):
    """The last record of the ledger: its position, pipeline, open runs (oldest first) and key id."""

    position: Position = BEGIN
    pipeline: str = ""
    open_runs: tuple[str, ...] = ()
    key_id: str | None = None


def read_head(path: str, seal: Seal = PLAIN) -> LedgerHead:
    """Return the head of the ledger at `path`, or an empty head if there is no ledger yet.

    Skips a torn last line (the next `append` cuts it), so reading needs no lock. StateError for a damaged one.
    """
    record = last_record(path, seal)
    head = LedgerHead()
    if record:
        try:
            entry = decode(record["ev"], record["data"])
        except ValueError:
            entry = None
        if not isinstance(entry, LedgerEntry):
            raise damaged(path, record["seq"] + 1)
        head = LedgerHead(position_of(record), entry.pipeline, tuple(entry.open), key_id_of(record))
    if seal.id and not head.key_id:  # then no record may be keyed: a keyed one is followed by keyed ones only
        for number, line in enumerate(lines_of(path), 1):
            if b'"keyId":"' in line and line.endswith(b"\n"):
                raise damaged(path, number + 1, "the record is not keyed, as those before it")
    return head


class Ledger:
    """Appends to the ledger. A kernel lock on the file, held for one append, lets a no-op run append during a run.

    Once a record is keyed, all later ones have the same key: UsageError for any other.
    """

    def __init__(self, path: str, pipeline: str, stamp: Callable[[], str], seal: Seal = PLAIN) -> None:
        self.path = path
        self.pipeline = pipeline
        self._stamp = stamp
        self._seal = seal

    def head(self) -> str:
        """Return the hash of the last record, which is printed at the end of a run."""
        return read_head(self.path, self._seal).position.hash

    def append(self, event: str, run: str, log: Position, *, sync: bool) -> str:
        """Append that `run` was opened, closed or had nothing to do, with the end of its log; return the new head.

        StateError if `run` is to be closed and is not open: the ledger was replaced.
        """
        descriptor = files.open_append(self.path)
        try:
            with files.naming(self.path, "lock"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            cut_torn_line(self.path)
            head = read_head(self.path, self._seal)
            self._seal.refuse_other(head.key_id, self.path)
            if event == CLOSED and run not in head.open_runs:
                raise changed_meanwhile(self.path)
            open_runs = open_after(head.open_runs, event, run)
            entry = LedgerEntry(self.pipeline, open_runs, log.seq, log.hash, self._seal.id)
            seq, prev = head.position.seq + 1, head.position.hash
            line, digest = encode_record(seq, run, self._stamp(), event, entry, prev, self._seal)
            files.append_line(descriptor, line, self.path, sync=sync)
        finally:
            os.close(descriptor)
        return digest


def open_after(open_runs: tuple[str, ...], event: str, run: str) -> tuple[str, ...]:
    """Return the runs that are open after this event of `run`, the newest last."""
    others = tuple(other for other in open_runs if other != run)
    return (*others, run) if event == OPENED else others if event == CLOSED else open_runs


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
