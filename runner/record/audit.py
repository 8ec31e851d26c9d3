"""The hash-chained log: one canonical JSON record a line, each holding the hash of the one before.

`hash` = SHA-256, or HMAC-SHA-256, over a domain tag and the record without `hash` (`record.seal`). The log of a run and
the ledger over all runs share this format. A log is only ever appended to; what a crash tore off the last line is cut
back, and said. Those who read without the key of a keyed log check its form alone.
"""

from __future__ import annotations

import os
from json import loads
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import canonical, check_numbers, decode_record
from runner.errors import Fault, StateError
from runner.record import files
from runner.record.again import sync_or_take_back, take_back
from runner.record.lines import LONGEST
from runner.record.outputs import CommittedOutputs
from runner.record.seal import PLAIN
from runner.record.shapes import is_record
from runner.record.spelling import COMMIT, GENESIS, spell
from runner.record.state import gone, refuse_newer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runner.record.seal import Seal

DAMAGED = "the record is damaged"
_TAIL = 1 << 16
_BEGIN = b'{"data":{'  # of every record, so that nothing that is none is read to its end


class Position(NamedTuple):
    """Where a record stands in its log: its number, from 0, and its hash."""

    seq: int
    hash: str


def encode_record(
    seq: int, run: str, stamp: str, event: str, data: dict[str, object], prev: str, seal: Seal = PLAIN
) -> tuple[bytes, str]:
    """Return a record's line and its hash.

    ValueError for a payload that whoever reads it would call damaged: a log cannot be mended once that is in it.
    """
    return spell(payload(data), event, run, seq, stamp, prev, seal.hash)


def payload(data: Mapping[str, object]) -> bytes:
    """Return the data of a record as it is spelled, to be appended when there is no time to lose."""
    check_numbers(data)
    return canonical(data)


def parse_record(line: bytes, seal: Seal = PLAIN, key_id: str | None = None) -> dict[str, object] | None:
    """Return the record on a whole line, or None when it is damaged: no record, not canonical, or of another hash.

    `key_id` is that of the log, for records that do not say it themselves; without that key the hash is left alone.
    """
    try:
        record: dict[str, Any] = decode_record(line.decode())
        if not is_record(record):
            return None
        claimed = record.pop("hash")
        body = canonical(record)
        whole = canonical({**record, "hash": claimed}) + b"\n"
    except (ValueError, RecursionError):
        return None
    fitting = seal.of(record["data"].get("keyId", key_id))
    if whole != line or (fitting is not None and fitting.hash(body) != claimed):
        return None
    record["hash"] = claimed
    return record


class AuditLog:
    """The log of one run, open for appending; the pipeline lock makes this process its only writer."""

    def __init__(
        self, path: str, run: str, stamp: Callable[[], str], last: Position | None = None, *, seal: Seal = PLAIN,
        outputs: CommittedOutputs | None = None,
    ) -> None:  # fmt: skip
        """Open the log; `stamp` gives the time as ISO 8601 in UTC. When it goes on, `last` and `outputs` are its own.

        Without `last` there must be no log yet (StateError, EEXIST): two runs of one id never write into one chain.
        """
        self.path = path
        self.run = run
        self._stamp = stamp
        self.last = last or Position(-1, GENESIS)
        self.seal = seal
        self.outputs = outputs or CommittedOutputs()
        self._descriptor = files.open_append(path, new=last is None)
        opened = os.fstat(self._descriptor)
        self._file, self.size, self._durable = (opened.st_dev, opened.st_ino), opened.st_size, opened.st_size

    def append(self, event: str, data: dict[str, object] | bytes, *, sync: bool = False) -> Position:
        """Append one record in one write; with `sync` it is durable when this returns. Bytes are a `payload`.

        StateError when the log is not at its path: what follows would be on no record, and may meet another run.
        """
        if not self.is_in_place():
            raise gone(self.path)
        seq, content = self.last.seq + 1, data if isinstance(data, bytes) else payload(data)
        line, digest = spell(content, event, self.run, seq, self._stamp(), self.last.hash, self.seal.hash)
        files.append(self._descriptor, line, self.path)
        self.size += len(line)
        self.last = Position(seq, digest)
        if event == COMMIT:
            self.outputs.note(loads(content) if isinstance(data, bytes) else data)
        if sync:
            self.sync()
        return self.last

    def is_in_place(self) -> bool:
        """Whether the log that is written is the one at its path."""
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise StateError.from_os(error, self.path, "append to") from error
        return (status.st_dev, status.st_ino) == self._file

    def sync(self) -> None:
        """Make every record so far durable, or take back those that are not."""
        self._durable = sync_or_take_back(self._descriptor, self.path, self._durable)

    def flush(self) -> None:
        """Make durable what is there, in whatever thread; the one that appends tells `flushed` how that ended."""
        files.sync_descriptor(self._descriptor, self.path)

    def flushed(self, size: int, error: Exception | None) -> None:
        """Hear of the end of a `flush` that began at this size; with an error, take back what is not durable, raise."""
        if error is not None:
            take_back(self.path, self._durable)
            raise error
        self._durable = size

    def close(self) -> None:
        """Close the descriptor; the log stays as it is."""
        os.close(self._descriptor)


def read_records(path: str, seal: Seal = PLAIN) -> Iterator[dict[str, object]]:
    """Yield the intact records of a log from its start; a line that is torn or damaged ends them.

    Raises StateError when the log cannot be read, or was written by a newer release.
    """
    key_id = None
    for line in _lines(path):
        record = parse_record(line, seal, key_id)
        if record is None or _leaves_key(record, key_id):
            _refuse_newer_line(line, path)
            return
        refuse_newer(record, path)
        key_id = key_id_of(record, key_id)
        yield record


def read_chain(path: str, seal: Seal = PLAIN) -> Iterator[dict[str, object]]:
    """Yield every record of a log whose torn last line was cut; StateError at the first that the chain does not bear.

    For those who act on what a log tells: what stands behind a damaged line must not be lost in silence.
    """
    last, key_id = Position(-1, GENESIS), None
    for number, line in enumerate(_lines(path), 1):
        record, last = _follow(line, last, path, seal, key_id, number)
        if number > 1 and key_id is None and key_id_of(record) is not None:
            raise damaged(path, number, "the record is keyed, after records that are not")
        key_id = key_id_of(record, key_id)
        yield record


def _lines(path: str) -> Iterator[bytes]:
    """Yield the lines of a log, none where there is no log. StateError when it cannot be read."""
    try:
        with open(files.open_regular(path), "rb") as log:
            yield from log
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error


def cut_torn_line(path: str) -> int:
    """Cut what follows the last line end of a log, and return how many bytes that were."""
    _, whole, size = _last_lines(path)
    if whole != size:
        files.truncate(path, whole)
    return size - whole


def last_record(path: str, seal: Seal = PLAIN, *, torn: bool = True) -> dict[str, object] | None:
    """Return the last record of a log, or None when there is none; a torn line is passed over, or None unless `torn`.

    Raises StateError when that record is damaged, or does not follow the one before it: nothing may be chained to what
    nobody can vouch for.
    """
    lines, whole, size = _last_lines(path)
    if not lines or (whole != size and not torn):
        return None
    key_id = _key_id_at(path)
    before = Position(-1, GENESIS)
    if len(lines) > 1:
        record, before = _follow(lines[0], None, path, seal, key_id)
        key_id = key_id_of(record, key_id)
    return _follow(lines[-1], before, path, seal, key_id)[0]


def key_id_of(record: dict[str, object], before: str | None = None) -> str | None:
    """Return the id of the key that a record says it is keyed with; one that does not say is as those `before` it."""
    data = record.get("data")
    found = data.get("keyId", before) if isinstance(data, dict) else before
    return found if found is None else str(found)


def _leaves_key(record: dict[str, object], key_id: str | None) -> bool:
    """Whether a record is not keyed as those before it, under `key_id`: without that key anybody can make one."""
    return key_id is not None and key_id_of(record, key_id) != key_id


def _key_id_at(path: str) -> str | None:
    """Return the id of the key in record 0: that of a whole log, or of a ledger that was keyed from its first line."""
    with files.naming(path, "read"), open(files.open_regular(path), "rb") as log:
        try:
            begin = log.read(len(_BEGIN))
            record = loads(begin + log.readline(LONGEST)) if begin == _BEGIN else None
        except (ValueError, RecursionError):
            return None
    return key_id_of(record) if isinstance(record, dict) else None


def _follow(
    line: bytes, last: Position | None, path: str, seal: Seal, key_id: str | None, number: int = 0
) -> tuple[dict[str, object], Position]:
    """Return the record on a line and its position; StateError when it is not intact, or does not follow `last`.

    `number` is the line's, or 0 for one of the last lines, which is counted when it must be named.
    """
    record = parse_record(line, seal, key_id)
    if record is None:
        _refuse_newer_line(line, path)
        raise _damaged(line, path, number, DAMAGED)
    refuse_newer(record, path)
    if _leaves_key(record, key_id):
        raise _damaged(line, path, number, f"the record is not keyed with {key_id}, as those before it")
    if last is not None and (record["seq"], record.get("prev")) != (last.seq + 1, last.hash):
        raise _damaged(line, path, number, "the record does not follow the one before it")
    return record, Position(int(str(record["seq"])), str(record["hash"]))


def damaged(path: str, number: int, what: str = DAMAGED) -> StateError:
    """Return the error of those who will not build upon line `number` of a log, or, 0, upon what it ends with."""
    hint = "restore it from a copy, or move the state directory away to start anew"
    return StateError(Fault(f"{path}:{number}" if number else path, what, hint))


def _damaged(line: bytes, path: str, number: int, what: str) -> StateError:
    if not number:
        with files.naming(path, "read"), open(files.open_regular(path), "rb") as log:
            number = max(at for at, one in enumerate(log, 1) if one == line)
    return damaged(path, number, what)


def _last_lines(path: str) -> tuple[list[bytes], int, int]:
    """Return the last two lines that have their line ends (or fewer), the offset behind them, and the file's size."""
    try:
        with open(files.open_regular(path), "rb") as log:
            size = log.seek(0, os.SEEK_END)
            span = _TAIL
            while span <= 2 * LONGEST:
                start = max(0, size - span)
                log.seek(start)
                tail = log.read(size - start)
                end = tail.rfind(b"\n") + 1
                begin = tail.rfind(b"\n", 0, max(0, end - 1)) + 1
                before = tail.rfind(b"\n", 0, max(0, begin - 1)) + 1
                if start == 0 or before:
                    return [line for line in (tail[before:begin], tail[begin:end]) if line], start + end, size
                span *= 4
        raise damaged(path, 0, "ends with a longer line than any run writes")
    except FileNotFoundError:
        return [], 0, 0
    except OSError as error:
        raise StateError.from_os(error, path, "read") from error


def _refuse_newer_line(line: bytes, path: str) -> None:
    """Raise StateError for a line that only looks damaged, because a newer release hashes or spells records anew."""
    try:
        record = loads(line)
    except (ValueError, RecursionError):
        return
    if isinstance(record, dict):
        refuse_newer(record, path)
