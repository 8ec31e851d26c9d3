"""The ledger: a hash chain over all runs of a state directory, and the list of those that are not closed.

Every record carries `open`, the runs that have not succeeded yet, so that the next run finds what it must recover
and which id it goes on under by reading one line, however many runs came before.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, cast

from runner.errors import StateError
from runner.record import files
from runner.record.again import PAGE, sync_or_take_back, write_again
from runner.record.audit import (
    Position,
    cut_torn_line,
    damaged,
    encode_record,
    key_id_of,
    last_record,
    parse_record,
)
from runner.record.seal import PLAIN
from runner.record.shapes import is_head
from runner.record.spelling import GENESIS
from runner.record.state import gone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.record.seal import Seal

OPENED, CLOSED, NOOP = "opened", "closed", "noop"


class LedgerHead:
    """The last record of the ledger: its position, pipeline, key, and the runs still open, oldest first."""

    __slots__ = ("key_id", "open_runs", "pipeline", "position")

    def __init__(
        self, position: Position, pipeline: str, open_runs: tuple[str, ...], key_id: str | None = None
    ) -> None:
        self.position = position
        self.pipeline = pipeline
        self.open_runs = open_runs
        self.key_id = key_id


def read_head(path: str, seal: Seal = PLAIN) -> LedgerHead:
    """Return the head of the ledger at `path`; an empty one, of no pipeline, when there is none yet.

    A torn last line is passed over (the next `append` cuts it), so reading needs no lock. StateError for a damaged one.
    """
    head = _head(last_record(path, seal), path)
    if seal.id is not None and head.key_id is None:  # not once the first keyed record is in it
        _refuse_keyed_before(path)
    return head


class Ledger:
    """Appends to the ledger; a kernel lock on the file, held for one append, lets a no-op run write beside a run.

    Once a record is keyed, all later ones are, with the same key: UsageError for any other.
    """

    def __init__(self, path: str, pipeline: str, stamp: Callable[[], str], seal: Seal = PLAIN) -> None:
        self.path = path
        self.pipeline = pipeline
        self._stamp = stamp
        self._seal = seal

    def head(self) -> str:
        """Return the hash of the last record, as it is printed at the end of a run."""
        return read_head(self.path, self._seal).position.hash

    def append(self, event: str, run: str, log: Position, *, sync: bool) -> LedgerHead:
        """Append that `run` was opened, closed or had nothing to do, with its log's end; return the new head.

        StateError for the end of a run that is not open: its ledger is another one now.
        """
        descriptor = files.open_append(self.path)
        try:
            with files.naming(self.path, "lock"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            cut_torn_line(self.path)
            head = read_head(self.path, self._seal)
            self._seal.refuse_other(head.key_id, self.path)
            if event == CLOSED and run not in head.open_runs:
                raise gone(self.path)
            open_runs = open_after(head.open_runs, event, run)
            data: dict[str, object] = {
                "pipeline": self.pipeline, "open": list(open_runs), "logSeq": log.seq, "logHash": log.hash,
                "keyId": self._seal.id,
            }  # fmt: skip
            seq = head.position.seq + 1
            line, digest = encode_record(seq, run, self._stamp(), event, data, head.position.hash, self._seal)
            before = os.fstat(descriptor).st_size
            if sync:  # who wrote the last lines may have been killed, or hindered by the disk, before they were on it
                write_again(self.path, max(0, before - PAGE))
            files.append(descriptor, line, self.path)
            if sync:
                sync_or_take_back(descriptor, self.path, before)
        finally:
            os.close(descriptor)
        return LedgerHead(Position(seq, digest), self.pipeline, open_runs, self._seal.id)


def refuse_untold(path: str, run: str, beginnings: Mapping[int, str], log: str, seal: Seal) -> None:
    """Raise StateError unless the log of an open run has the beginning that the ledger has, where those are keyed.

    `beginnings`: number and hash of each in the log. For whoever has not the key can put a whole log in its place.
    """
    if seal.id is None:
        return
    found: dict[str, object] = {}
    with files.naming(path, "read"), open(files.open_regular(path), "rb") as ledger:
        for line in ledger:
            if b'"ev":"opened"' in line and (record := parse_record(line, seal)) and record["run"] == run:
                found = cast("dict[str, object]", record["data"])
    if beginnings.get(cast("int", found.get("logSeq"))) != found.get("logHash", ""):
        raise damaged(log, 1, "the log is not the one that the ledger knows")


def open_after(open_runs: tuple[str, ...], event: str, run: str) -> tuple[str, ...]:
    """Return which runs are open once this event of `run` is in the ledger, the newest last."""
    others = tuple(one for one in open_runs if one != run)
    return (*others, run) if event == OPENED else others if event == CLOSED else open_runs


def _refuse_keyed_before(path: str) -> None:
    """Raise StateError for a ledger with a keyed record that others follow, which anybody can have made."""
    try:
        with open(files.open_regular(path), "rb") as ledger:
            for number, line in enumerate(ledger, 1):
                if b'"keyId":"' in line and line.endswith(b"\n"):
                    raise damaged(path, number + 1, "the record is not keyed, as those before it")
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error


def _head(record: dict[str, object] | None, path: str) -> LedgerHead:
    if record is None:
        return LedgerHead(Position(-1, GENESIS), "", ())
    data = record["data"]
    assert isinstance(data, dict)
    if not is_head(data):
        raise damaged(path, int(str(record["seq"])) + 1)
    return LedgerHead(
        Position(int(str(record["seq"])), str(record["hash"])), data["pipeline"], tuple(data["open"]),
        key_id_of(record),
    )  # fmt: skip
