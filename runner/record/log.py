"""The hash-chained log: each line is one canonical JSON record, with the hash of the record before.

`hash` = SHA-256, or HMAC-SHA-256, over a domain tag and the record without `hash` (`record.seal`). The log of a run and
the ledger over all runs share this format. Records are only appended; if a crash tore the last line, it is cut off.
Readers without the key of a keyed log check only its form.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.canonical import GENESIS, SIGNED, VERSION, canonical, check_numbers, parsed, spell
from runner.errors import Fault, StateError
from runner.paths import is_name
from runner.reading import LONGEST, open_regular
from runner.record import files
from runner.record.events import CommittedOutputs, Event, StageCommit, encode
from runner.record.seal import PLAIN, Seal
from runner.record.state import decode_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DAMAGED = "the record is damaged"
_BLOCK = 1 << 16
_BEGIN = b'{"data":{'  # of every record
_HASH = re.compile(r"[0-9a-f]{64}").fullmatch
_HASH_MEMBER = len(',"hash":""') + 64
_NOT_CANONICAL = "is not in canonical spelling: keys, white space, escapes or numbers"
_KINDS = {str: "a string", int: "a whole number", dict: "an object"}

Record = dict[str, Any]  # as a line of a log holds it, with these fields
_FIELDS = {"data": dict, "ev": str, "hash": str, "prev": str, "run": str, "seq": int, "ts": str, "v": int}


class Flaw(NamedTuple):
    """A fault in one field of a line; `field` is "" for the whole line."""

    field: str
    what: str


class DamagedError(StateError):
    """A log is damaged; no record behind the damage is used."""


class Position(NamedTuple):
    """The position of a record in its log: its number, counted from 0, and its hash."""

    seq: int
    hash: str


BEGIN = Position(-1, GENESIS)  # the position in a log without records

# ---- one line --------------------------------------------------------------------------------------------------------


def encode_record(
    seq: int, run: str, stamp: str, event: str, data: Event | Mapping[str, object], prev: str, seal: Seal = PLAIN
) -> tuple[bytes, str]:
    """Return a record's line and its hash; `data` is the event, or its payload.

    ValueError for a payload that readers would call damaged: nobody can repair a log.
    """
    payload = encode(data) if isinstance(data, tuple) else data
    check_numbers(payload)
    return spell(payload, event, run, seq, stamp, prev, seal.hash)


def parse(line: bytes) -> Record | Flaw:
    """Return the record on a whole line, or its flaw. `check` compares the record with its hash."""
    if not line:
        return Flaw("", "the line is longer than any record")
    try:
        value = parsed(line)
        check_numbers(value)
    except (ValueError, RecursionError, MemoryError) as error:
        return Flaw("", f"the line is not the JSON of a record: {str(error) or 'no memory'}")
    if not isinstance(value, dict):
        return Flaw("", "the line is not a JSON object")
    return _misshapen(value) or value


def _misshapen(value: dict[str, object]) -> Flaw | None:
    for name, kind in _FIELDS.items():
        if name not in value:
            return Flaw(name, "is missing")
        if type(value[name]) is not kind:
            return Flaw(name, f"is not {_KINDS[kind]}")
    if len(value) > len(_FIELDS):
        return Flaw(f'"{next(name for name in value if name not in _FIELDS)[:100]}"', "is not a field of a record")
    for name in ("hash", "prev"):
        if not _HASH(str(value[name])):
            return Flaw(name, "is not 64 hex digits")
    return None


def check(record: Record, line: bytes, seal: Seal | None) -> tuple[str, list[Flaw]]:
    """Return the right hash of a record, and the flaws of its line: spelling, version, hash.

    `seal` None stands for a missing key: then the hash in the record is accepted.
    """
    claimed = record["hash"]
    try:
        whole = canonical(record) + b"\n"
    except RecursionError:
        return claimed, [Flaw("data", "is nested more deeply than any record")]
    flaws = [] if whole == line else [Flaw(_first_difference(record, line), _NOT_CANONICAL)]
    at = whole.rindex(b',"hash":"')
    computed = claimed if seal is None else seal.hash(whole[:at] + whole[at + _HASH_MEMBER : -1])
    if record["v"] != VERSION:
        flaws.append(Flaw("v", f"is {record['v']}, not {VERSION}"))
    elif computed != claimed:
        flaws.append(Flaw("hash", "does not match the record: one of the two was changed"))
    return computed, flaws


def _first_difference(record: Record, line: bytes) -> str:
    """Return the first field whose spelling is not canonical."""
    at = 1
    for name, value in sorted(record.items()):
        member = canonical({name: value})[1:-1]
        if line[at : at + len(member)] != member:
            return name
        at += len(member) + 1
    return "v"


def intact_record(line: bytes, seal: Seal = PLAIN, key_id: str | None = None) -> Record | None:
    """Return the record on a whole line, or None if it is damaged.

    `key_id` is the id of the log's key, for records that name none. Without that key the hash is not checked.
    """
    record = parse(line)
    if isinstance(record, Flaw) or not is_name(record["run"]):
        return None
    its_seal = seal.of(record["data"].get("keyId", key_id))
    if its_seal is None and was_unkeyed(record):
        return None
    return None if check(record, line, its_seal)[1] else record


def was_unkeyed(record: Record) -> bool:
    """Whether a record has the hash of one without a key: as it is, or before somebody wrote a key id into it."""
    data, body = record["data"], {name: value for name, value in record.items() if name != "hash"}
    with suppress(RecursionError):  # `check` finds it damaged
        bodies = (canonical({**body, "data": {**data, "keyId": key_id}}) for key_id in (data.get("keyId"), None))
        return record["hash"] in map(PLAIN.hash, bodies)
    return False


def key_id_of(record: Record, before: str | None = None) -> str | None:
    """Return the key id in a record. A record without the field has the same key as the records `before` it."""
    key_id = record["data"].get("keyId", before)
    return None if key_id is None else str(key_id)


def position_of(record: Record) -> Position:
    return Position(record["seq"], record["hash"])


# ---- appending -------------------------------------------------------------------------------------------------------


class EventFile:
    """The file of `--events`. If it takes no more (full disk, slow reader), the run goes on without it."""

    def __init__(self, path: str, warn: Callable[[Fault], None]) -> None:
        """Open the file for appending; StateError if that fails. `warn` is called when it takes no more."""
        self._path = path
        self._warn = warn
        self._descriptor: int | None = files.open_append(path)

    def append(self, lines: bytes) -> None:
        """Append lines, without ever waiting for the reader of a pipe."""
        if self._descriptor is None:
            return
        try:
            files.append(self._descriptor, lines, self._path)
        except StateError as error:
            os.close(self._descriptor)
            self._descriptor = None
            self._warn(Fault(self._path, f"{error.faults[0].what}; it gets no more events"))


class AuditLog:
    """The log of one run, open for appending; the pipeline lock makes this process its only writer."""

    def __init__(
        self,
        path: str,
        run: str,
        stamp: Callable[[], str],
        last: Position | None = None,
        *,
        seal: Seal = PLAIN,
        outputs: CommittedOutputs | None = None,
        events: EventFile | None = None,
    ) -> None:
        """Open the log; `stamp` gives the time as ISO 8601 in UTC, and `events` gets a copy of each record.

        For an existing log, pass `last` and `outputs`. Without `last` the log must not exist (StateError, EEXIST), so
        that two runs of one id never write into one chain.
        """
        self.path = path
        self.run = run
        self._stamp = stamp
        self.last = last or BEGIN
        self.seal = seal
        self.outputs = outputs or CommittedOutputs()
        self._events = events
        self._descriptor = files.open_append(path, new=last is None)
        opened = os.fstat(self._descriptor)
        self._file, self.size, self._durable = (opened.st_dev, opened.st_ino), opened.st_size, opened.st_size

    def append(self, event: str, data: Event | Mapping[str, object], *, sync: bool = False) -> Position:
        """Append the record of an event, or of its payload, in one write; with `sync`, it is durable when this returns.

        StateError if another process changed the log: later records would be lost, or mixed with another run's.
        """
        self.refuse_changed()
        seq = self.last.seq + 1
        line, digest = encode_record(seq, self.run, self._stamp(), event, data, self.last.hash, self.seal)
        files.append(self._descriptor, line, self.path)
        self.size += len(line)
        self.last = position = Position(seq, digest)
        if isinstance(data, StageCommit):
            self.outputs.note(data)
        if sync:
            self.sync()
        if self._events:
            self._events.append(line)
        return position

    def refuse_changed(self) -> None:
        """Raise StateError unless the open log is still at its path, with the length that this run wrote."""
        size = self._size_at_path()
        if size != self.size:
            how = "removed or replaced" if size is None else "cut" if size < self.size else "extended"
            raise changed_meanwhile(self.path, how)

    def is_in_place(self) -> bool:
        """Whether the open log is still at its path."""
        return self._size_at_path() is not None

    def _size_at_path(self) -> int | None:
        with files.naming(self.path, "append to"), suppress(FileNotFoundError, NotADirectoryError):
            status = os.stat(self.path)
            if (status.st_dev, status.st_ino) == self._file:
                return status.st_size
        return None

    def sync(self) -> None:
        """Make every record so far durable, or remove the records that are not."""
        self._durable = files.sync_or_take_back(self._descriptor, self.path, self._durable)

    def flush(self) -> None:
        """Make the log durable, in any thread; the appending thread then calls `flushed`."""
        files.sync_descriptor(self._descriptor, self.path)

    def flushed(self, size: int, error: Exception | None) -> None:
        """Note the end of a `flush` that began at this size; after an error, cut the log back, and raise the error."""
        if error is not None:
            files.take_back(self.path, self._durable)
            raise error
        self._durable = size

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_records(path: str, seal: Seal = PLAIN) -> Iterator[Record]:
    """Yield the records of a log up to the first that is torn, damaged or out of place.

    Raises StateError if the log cannot be read, or was written by a newer release.
    """
    with suppress(DamagedError):
        yield from read_chain(path, seal)


def read_chain(path: str, seal: Seal = PLAIN) -> Iterator[Record]:
    """Yield every record of a log whose torn last line was cut; StateError at the first that breaks the chain.

    For callers that act on the log: records behind a damaged line must not be lost silently.
    """
    last, key_id = BEGIN, None
    for number, line in enumerate(lines_of(path), 1):
        record = _follow(line, last, path, seal, key_id, number)
        last, key_id = position_of(record), key_id_of(record, key_id)
        yield record


def last_record(path: str, seal: Seal = PLAIN, *, torn: bool = True) -> Record | None:
    """Return the last record of a log, or None. Skips a torn last line; with `torn` False, returns None for it.

    StateError if the record is damaged, or does not follow the one before it: nothing may be chained to it.
    """
    ends = tail(path)
    rest, lines = next(ends, b""), list(islice(ends, 2))
    if not lines or (rest and not torn):
        return None
    record, key_id = None, _key_id_at(path)
    for line in reversed(lines):
        last = position_of(record) if record else BEGIN if len(lines) == 1 else None
        record = _follow(line + b"\n", last, path, seal, key_id)
        key_id = key_id_of(record, key_id)
    return record


def tail(path: str, most: int | None = None) -> Iterator[bytes]:
    """Yield the torn last line of a log (b"" if it is whole), then its lines, the last one first, without line ends.

    A line whose signature is missing is torn, too, since both are one write. Yields nothing if there is no log. With
    `most`, reads only its last `most` bytes. StateError if it is unreadable.
    """
    pieces = _pieces(path, most)
    ends = list(islice(pieces, 2))
    if len(ends) == 2 and _lacks_signature(ends[1]):
        ends = [ends[1] + b"\n" + ends[0]]
    yield from ends
    yield from pieces


def _lacks_signature(line: bytes) -> bool:
    """Whether a last line needs a signature behind it: it belongs to a signed ledger, and is not a signature."""
    if b'"signer":"' in line:
        with suppress(ValueError, KeyError, TypeError, RecursionError):  # the reader of the line finds the damage
            record = parsed(line)
            return record["ev"] != SIGNED and "signer" in record["data"]
    return False


def _pieces(path: str, most: int | None) -> Iterator[bytes]:
    """Yield what lies between the line ends of a log, the last piece first."""
    with files.naming(path, "read"), suppress(FileNotFoundError), open(open_regular(path), "rb") as log:
        start, rest, block = log.seek(0, os.SEEK_END), b"", _BLOCK
        lowest = max(0, start - most) if most else 0
        while start > lowest and len(rest) <= LONGEST:
            end, start = start, max(lowest, start - block)
            log.seek(start)
            rest, *lines = (log.read(end - start) + rest).split(b"\n")  # `rest` may lack its beginning
            yield from reversed(lines)
            block = _BLOCK if lines else 2 * block
        if start > lowest:
            raise damaged(path, 0, "ends with a line that is longer than any run writes")
        if start == 0:
            yield rest


def cut_torn_line(path: str) -> int:
    """Cut off the torn last line of a log; return the number of bytes."""
    torn = len(next(tail(path), b""))
    if torn:
        with files.naming(path, "read"):
            size = os.stat(path).st_size
        files.truncate(path, size - torn)
    return torn


def damaged(path: str, number: int, what: str = DAMAGED) -> DamagedError:
    """Return the error for damage in line `number` of a log; 0 stands for its end."""
    hint = "restore it from a copy, or move the state directory away to start anew"
    return DamagedError(Fault(f"{path}:{number}" if number else path, what, hint))


def changed_meanwhile(path: str, how: str = "removed or replaced") -> StateError:
    """Return the error of a run whose log or ledger another process changed."""
    hint = "run again; if that finds it damaged, see `offpipe verify`"
    return StateError(Fault(path, f"was {how} while the run was at work", hint))


def lines_of(path: str) -> Iterator[bytes]:
    """Yield the lines of a log; none if there is no log. StateError if it cannot be read."""
    with files.naming(path, "read"), suppress(FileNotFoundError), open(open_regular(path), "rb") as log:
        yield from log


def _key_id_at(path: str) -> str | None:
    """Return the key id in record 0: that of the whole log, or of the whole ledger if its first line is keyed."""
    with files.naming(path, "read"), open(open_regular(path), "rb") as log:
        begin = log.read(len(_BEGIN))
        record = parse(begin + log.readline(LONGEST)) if begin == _BEGIN else None
    return key_id_of(record) if isinstance(record, dict) else None


def _follow(line: bytes, last: Position | None, path: str, seal: Seal, key_id: str | None, number: int = 0) -> Record:
    """Return the record on a line; StateError if it is damaged, or does not follow `last` (None: not checked).

    `number` is the line number; 0 stands for one of the last lines, whose number is counted only for the error.
    """
    record = intact_record(line, seal, key_id)
    if record is None:
        decode_object(line, path)  # refuses the record of a newer release, which hashes or spells it in another way
        what = DAMAGED
    elif key_id is not None and key_id_of(record, key_id) != key_id:  # anybody can write such a record
        what = f"the record is not keyed with {key_id}, but those before it are"
    elif number > 1 and key_id is None and key_id_of(record) is not None:
        what = "the record is keyed, but those before it are not"
    elif last is not None and (record["seq"], record["prev"]) != (last.seq + 1, last.hash):
        what = "the record does not follow the one before it"
    else:
        return record
    raise damaged(path, number or max(at for at, other in enumerate(lines_of(path), 1) if other == line), what)
