"""One pass along a chain of records: each line is judged by itself and against the one before it.

After damage the chain is taken up again where it can be, so that each fault is told once and none hides another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from runner.canonical import canonical, decode_record
from runner.record.audit import Position, key_id_of
from runner.record.spelling import GENESIS, VERSION
from runner.record.state import refuse_newer

if TYPE_CHECKING:
    from runner.record.findings import Findings
    from runner.record.seal import Seal

Record = dict[str, Any]

_FIELDS = {"data": dict, "ev": str, "hash": str, "prev": str, "run": str, "seq": int, "ts": str, "v": int}
_NAMES = _FIELDS.keys()
_HASH = re.compile(r"[0-9a-f]{64}").fullmatch
_LAST_HASH = re.compile(rb'.*"hash":"([0-9a-f]{64})"', re.DOTALL)
_HASH_MEMBER = len(',"hash":""') + 64
_PARSED = 16 << 20  # of a line that cannot be one of ours: so much is looked at to say what is wrong with it


class Chain:
    """The chain of one file. `take` each line; `last` is the newest record.

    `intact`: what that says is what was written; `sound`: it is also in its place, and nothing else was found. `run` is
    what every record is to name, None in the ledger. `key_id` is that of the newest record. `unchecked` is the id of a
    key that nobody gave, so that hashes were left alone.
    """

    def __init__(self, name: str, run: str | None, seal: Seal, findings: Findings) -> None:
        self.name = name
        self.line = 0
        self.last = Position(-1, GENESIS)
        self.intact = self.sound = True
        self.key_id: str | None = None
        self.unchecked: str | None = None
        self._run = run
        self._seal = seal
        self._findings = findings
        self._accepted: set[str] | None = {GENESIS}  # what the next `prev` may be; None: anything

    def damaged(self, field: str, what: str) -> None:
        """Note damage on the present line."""
        self.sound = False
        self._findings.damaged(self.name, self.line, field, what)

    def take(self, line: bytes) -> Record | None:
        """Return the record on the next line if it can be understood, whether or not it is `sound`."""
        self.line += 1
        self.intact = self.sound = True
        record = self._parse(line)
        if record is None:
            self.intact = False
            found = _LAST_HASH.match(line) if len(line) < _PARSED else None
            self.last = Position(self.last.seq + 1, found[1].decode() if found else "")
            self._accepted = {self.last.hash} if found else None
            return None
        hashes = self._check_hash(record, line)
        self.intact = self.sound
        if self._run is not None and record["run"] != self._run:
            self.intact = False
            self.damaged("run", f"is {_shown(record['run'])}, in the log of {self._run}")
        follows = self._check_place(record)
        if follows:
            self.last = Position(record["seq"], record["hash"])
            self._accepted = hashes if self.sound or self._accepted is None else hashes | self._accepted
        return record if follows else None

    # ---- the line by itself ----

    def _parse(self, line: bytes) -> Record | None:
        if not line:
            self.damaged("", "the line is longer than any record")
            return None
        try:
            record = decode_record(line.decode())
        except UnicodeDecodeError:
            self.damaged("", "the line is not UTF-8")
        except RecursionError:
            self.damaged("", "the line is nested deeper than any record")
        except MemoryError:
            self.damaged("", "the line takes more memory than there is")
        except ValueError as error:
            self.damaged("", f"the line is not the JSON of a record: {error}")
        else:
            wrong = _misshapen(record)
            if wrong is None:
                return record  # type: ignore[no-any-return] # JSON that was checked
            self.damaged(*wrong)
        return None

    def _check_hash(self, record: Record, line: bytes) -> set[str]:
        """Check spelling, hash and version; return what the next record may call the hash of this one."""
        claimed = record["hash"]
        try:
            whole = canonical(record) + b"\n"
        except RecursionError:
            self.damaged("data", "is nested deeper than that of any record")
            return {claimed}
        if whole != line:
            self.damaged(_differing(record, line), "is spelled in another way: keys, white space, escapes or numbers")
        at = whole.rindex(b',"hash":"')
        body = whole[:at] + whole[at + _HASH_MEMBER : -1]
        seal = self._seal_of(record)
        computed = claimed if seal is None else seal.hash(body)
        if record["v"] != VERSION:
            self._judge_version(record, seal)
        elif computed != claimed:
            self.damaged("hash", "does not fit the record: one of the two was changed")
        return {claimed, computed}

    def _judge_version(self, record: Record, seal: Seal | None) -> None:
        """Tell a version that was changed from a newer release, which may hash in another way (StateError)."""
        known = {name: value for name, value in record.items() if name != "hash"} | {"v": VERSION}
        if seal is None or seal.hash(canonical(known)) != record["hash"]:
            refuse_newer(record, f"{self.name}:{self.line}")
        self.damaged("v", f"is {record['v']}, where {VERSION} is to be")

    def _seal_of(self, record: Record) -> Seal | None:
        """Return how the record is hashed; None when nobody here can tell, which is told once a file."""
        before, self.key_id = self.key_id, key_id_of(record, self.key_id)
        seal = self._seal.of(self.key_id)
        if self.line > 1 and before != self.key_id and (self._run is not None or before is not None):
            self.damaged("data.keyId", f"is {_key(self.key_id)}, after records {_key(before)}")
        elif seal is None and self._seal.id is not None and self.unchecked is None:
            self.damaged("data.keyId", f"is {_key(self.key_id)}, and the key given is {self._seal.id}")
        if seal is None:
            self.unchecked = self.key_id
        return seal

    # ---- against the one before ----

    def _check_place(self, record: Record) -> bool:
        """Check number and `prev`; False for a record that is here once more, or behind its place."""
        seq, expected = record["seq"], self.last.seq + 1
        if seq < expected:
            self.damaged("seq", f"is {seq}, where {expected} is to be: the record is here again, or moved")
            return False
        if seq > expected:
            gone = f"record {expected} is" if seq == expected + 1 else f"records {expected} to {seq - 1} are"
            self.damaged("seq", f"is {seq}, where {expected} is to be: {gone} missing, or moved")
            self._accepted = None
        elif self._accepted is not None and record["prev"] not in self._accepted:
            self.damaged("prev", "is not the hash of the record before")
        return True


def lost_its_end(rest: bytes) -> bool:
    """Whether what stands behind the last line end is a whole record and one byte more.

    No crash leaves that, but the beginning of a line: the line end was changed.
    """
    line = rest[:-1] + b"\n"
    if len(line) > _PARSED:
        return False
    try:
        record = decode_record(line.decode())
        return _misshapen(record) is None and canonical(record) + b"\n" == line
    except (ValueError, RecursionError):
        return False


def _misshapen(record: object) -> tuple[str, str] | None:
    """Return field and fault of what is JSON and no record."""
    if not isinstance(record, dict):
        return "", "the line holds no JSON object"
    if record.keys() != _NAMES:
        missing = next((name for name in _FIELDS if name not in record), None)
        if missing:
            return missing, "is missing"
        return _shown(next(name for name in record if name not in _FIELDS)), "is no field of a record"
    for name, kind in _FIELDS.items():
        if type(record[name]) is not kind:
            return name, f"is no {'text' if kind is str else 'whole number' if kind is int else 'object'}"
    for name in ("hash", "prev"):
        if not _HASH(record[name]):
            return name, "is not 64 hex digits"
    return None


def _differing(record: Record, line: bytes) -> str:
    """Return the field in which the spelling of a line departs from the canonical one."""
    at = 1
    for name in sorted(record):
        member = canonical({name: record[name]})[1:-1]
        if line[at : at + len(member)] != member:
            return name
        at += len(member) + 1
    return "v"


def _shown(value: object) -> str:
    return f'"{str(value)[:100]}"'


def _key(key_id: str | None) -> str:
    return "not keyed" if key_id is None else f"keyed with {key_id[:64]}"
