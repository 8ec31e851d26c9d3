"""One pass along the log of a run: checks each line, its place in the chain, and the ledger's references to it.

After damage the check resumes where it can, so that each fault is reported once and none hides another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from runner.canonical import END, GENESIS, START, VERSION, canonical
from runner.hashing import sha256_of
from runner.reading import Lines, NotRegularError, read_small
from runner.record import events
from runner.record.log import BEGIN, Flaw, Position, Record, check, key_id_of, parse, position_of, was_unkeyed
from runner.record.state import MOST_METRICS, refuse_newer
from runner.results import listed

if TYPE_CHECKING:
    from collections.abc import Container

    from runner.audit.findings import Findings, Markers
    from runner.record.seal import Seal

LEDGER = "audit_ledger.jsonl"
_LAST_HASH = re.compile(rb'.*"hash":"([0-9a-f]{64})"', re.DOTALL)
_IDLE = frozenset((*events.OPENINGS, events.RECOVERED, events.WARNING, END))  # the only events of a run without work
_COMMITS = frozenset((events.COMMIT, events.ADOPTED))
_CHECKED = frozenset((*_COMMITS, events.REMOVED, events.EXPANDED, *events.OPENINGS, *events.ENDINGS))
_NAMED = 10  # stages in a remark
_PARSED = 16 << 20  # bytes; no run writes longer lines, so they are not parsed


class Reference(NamedTuple):
    """A line of the ledger: its event and key id, and the record of a log that it refers to."""

    line: int
    event: str
    seq: int
    hash: str
    key_id: str | None


class Chain:
    """The chain of one file: call `check_line` with each line; `last` is the newest record.

    `intact`: that record is as it was written; `sound`: it is also in its place, and has no other fault. `doubt`: an
    earlier record was not sound. `run`: the run that every record must name, "" in the ledger. `key_id`: the key id of
    the newest record. `missing_key`: the id of a missing key, without which hashes were not checked.
    """

    def __init__(self, directory: str, run: str, seal: Seal, findings: Findings) -> None:
        self.name = f"audit_{run}.jsonl" if run else LEDGER
        self.run = run
        self.line = 0
        self.last = BEGIN
        self.intact = self.sound = True
        self.doubt = False
        self.key_id: str | None = None
        self.missing_key: str | None = None
        self.findings = findings
        self._directory = directory
        self._seal = seal
        self._accepted: set[str] | None = {GENESIS}  # allowed values of the next `prev`; None: any

    def open(self) -> Lines | None:
        """Open the file; None if it is missing, or is not a regular file, which is damage."""
        try:
            return Lines(f"{self._directory}/{self.name}")
        except FileNotFoundError:
            pass
        except NotRegularError as error:
            self.findings.damaged(self.name, 0, "", error.what)
        return None

    def damaged(self, field: str, what: str) -> None:
        """Report damage in the current line."""
        self.sound = False
        self.findings.damaged(self.name, self.line, field, what)

    def check_line(self, line: bytes) -> Record | None:
        """Return the record on the next line, `sound` or not; None if it cannot be parsed, or is a repetition."""
        self.line += 1
        self.intact = self.sound = True
        record = parse(line)
        if isinstance(record, Flaw):
            self.damaged(*record)
            self.intact, self.doubt = False, True
            named = _LAST_HASH.match(line) if len(line) < _PARSED else None
            self.last = Position(self.last.seq + 1, named[1].decode() if named else "")
            self._accepted = {self.last.hash} if named else None
            return None
        seal = self._seal_of(record)
        if record["v"] != VERSION:
            self._refuse_newer(record, seal)
        computed, flaws = check(record, line, seal)
        for flaw in flaws:
            self.damaged(*flaw)
        self.intact = self.sound
        if self.run not in ("", record["run"]):
            self.intact = False
            self.damaged("run", f'is "{record["run"][:100]}", in the log of {self.run}')
        is_next = self._follows(record, {record["hash"], computed})
        self.doubt = self.doubt or not self.sound
        return record if is_next else None

    def _refuse_newer(self, record: Record, seal: Seal | None) -> None:
        """Raise StateError for a record of a newer release, which has another hash; not if only `v` was changed."""
        ours = {**record, "v": VERSION}
        del ours["hash"]
        if seal is None or seal.hash(canonical(ours)) != record["hash"]:
            refuse_newer(record, f"{self.name}:{self.line}")

    def _seal_of(self, record: Record) -> Seal | None:
        """Return the seal of the record; None if its key is missing. Another key is damage, reported once per file."""
        before, key_id = self.key_id, key_id_of(record, self.key_id)
        seal = self._seal.of(key_id)
        if seal is None and was_unkeyed(record):
            self.damaged("data.keyId", f"is {key_words(key_id)}, but the hash is that of a record without a key")
            return None
        self.key_id = key_id
        if self.line > 1 and before != self.key_id and (self.run or before is not None):
            self.damaged("data.keyId", f"is {key_words(self.key_id)}, but the records before are {key_words(before)}")
        elif seal is None and self._seal.id is not None and self.missing_key is None:
            self.damaged("data.keyId", f"is {key_words(self.key_id)}, but the key given is {self._seal.id}")
        if seal is None:
            self.missing_key = self.key_id
        return seal

    def _follows(self, record: Record, hashes: set[str]) -> bool:
        """Check the number and `prev`; False for a record that is repeated, or stands later than its place."""
        seq, expected = record["seq"], self.last.seq + 1
        if seq < expected:
            self.damaged("seq", f"is {seq}, not {expected}: the record is a repetition, or was moved")
            return False
        if seq > expected:
            self.damaged("seq", f"is {seq}, not {expected}: records between are missing, or were moved")
            self._accepted = None
        elif self._accepted is not None and record["prev"] not in self._accepted:
            self.damaged("prev", "is not the hash of the record before")
        self.last = position_of(record)
        self._accepted = hashes if self.sound or self._accepted is None else hashes | self._accepted
        return True


class RunLog(Chain):
    """The check of one log. `opened` and `end` are the ledger's references to it; no `end`: the run is open.

    `heads`: the `hash` of each hash in the ledger so far; None if the ledger is in doubt. `check` sets whether the run
    `worked` and `ended`; the number of its `warnings`; `first_head`, the ledger's head in record 0; and `spec`: the run
    whose log has the spec ("" if none has, because it is very long) and the spec's digest, or None if record 0 is not
    sound.
    """

    def __init__(
        self,
        directory: str,
        run: str,
        opened: list[Reference],
        end: Reference | None,
        seal: Seal,
        findings: Findings,
        markers: Markers,
        heads: Container[int] | None,
    ) -> None:
        super().__init__(directory, run, seal, findings)
        self.first_head = ""
        self.spec: tuple[str, str] | None = None
        self.has_spec = self.ended = self.worked = False
        self.warnings = 0
        self._opened = {reference.seq: reference for reference in opened}
        self._end = end
        self._order = 0  # the line of the ledger that opened the present part of the run
        self._markers = markers
        self._heads = heads
        self._outputs = events.CommittedOutputs()
        self._unsealed: dict[str, None] = {}  # sealed stages that ran without a view
        self._event = ""  # of the record before
        self._metrics: str | None = None  # the digest in it

    @property
    def is_noop(self) -> bool:
        """Whether this is the log of a run without work: it begins and ends, and has only warnings in between."""
        return not self.worked and self.line - self.warnings == 2

    def check(self) -> bool:
        """Read the log to its end; False if it is missing, or is not a regular file."""
        lines = self.open()
        if lines is None:
            return False
        with lines:
            for line in lines:
                self._check_record(self.check_line(line))
            if lines.rest and (self._end is not None or lost_its_end(lines.rest)):
                self.findings.damaged(self.name, self.line + 1, "", "the line has no line end")
            if self._unsealed:
                what = f"sealed stages ran unsealed (--sealed best-effort): {listed([*self._unsealed], _NAMED)}"
                self.findings.remark(self.name, what)
            self._check_references()
            if self._metrics is not None:
                self._check_metrics(lines)
        return True

    def _check_record(self, record: Record | None) -> None:
        before, self._event, self._metrics = self._event, "" if record is None else record["ev"], None
        if record is None or (self._event in _COMMITS and not self.intact):
            self._markers.note_damaged(self.run, self.last.seq)
        if record is None:
            return
        self._check_order(record, before)
        self.worked = self.worked or self._event not in _IDLE
        self.ended = self.ended or self._event == END
        self.warnings += self._event == events.WARNING
        if (reference := self._opened.pop(record["seq"], None)) is not None:
            self._check_reference(record, reference)
        if self._event == events.ATTEMPT_STARTED and self.intact and record["data"].get("sealed") is False:
            self._unsealed[str(record["data"].get("stage"))] = None
        if self._event in _CHECKED and (self._event not in _COMMITS or self.intact):
            self._check_event(record)

    def _check_order(self, record: Record, before: str) -> None:
        event = record["ev"]
        if event == START and self.line > 1:
            self.damaged("ev", "is run.start, which only record 0 can be")
        elif self.line == 1 and event != START and record["seq"] == 0:
            self.damaged("ev", "is not run.start, which record 0 always is")
        elif before == END:
            self.damaged("ev", "comes after run.end, which is always the last record")
        elif before == events.STOPPED and event not in {events.RESUMED, events.RECOVERED}:
            self.damaged("ev", "comes after run.stopped, where a run can only be resumed")

    def _check_reference(self, record: Record, reference: Reference) -> None:
        begins = reference.event == events.OPENED
        if begins:
            self._order = reference.line
        if record["hash"] != reference.hash and self.sound:
            self.damaged("hash", f"differs from line {reference.line} of the ledger: the log was rewritten")
        elif record["ev"] not in (events.OPENINGS if begins else (events.STOPPED,)) and self.sound:
            what = f"does not {'begin' if begins else 'end'} a part of the run"
            self.damaged("ev", f"{what}, though line {reference.line} of the ledger says so")

    def _check_event(self, record: Record) -> None:
        try:
            event = events.decode(record["ev"], record["data"])
        except ValueError:
            if self.intact:
                self.damaged("data", f"does not have the fields of {record['ev']}")
            return
        if isinstance(event, events.RunOpened):
            self._check_opening(event, is_first=record["ev"] == START)
        elif isinstance(event, events.RunExpanded) and self.sound:
            self._check_digest(event.spec, event.spec_sha256)
        elif isinstance(event, events.RunEnded) and not self.doubt:
            self._check_end(event, record["seq"] + 1)
        elif isinstance(event, events.StageCommit):
            self._outputs.note(event)
            self._markers.note(self.run, record["seq"], event, self._order, closed=self._end is not None)
        elif isinstance(event, events.OutputsRemoved):
            self._markers.note_removed(event.stage, event.commit, event.outputs.values(), self.run)

    def _check_opening(self, event: events.RunOpened, *, is_first: bool) -> None:
        head, has_spec = str(event.ledger_head), isinstance(event.spec, str)
        if is_first:
            self.first_head = head
        if self.sound and self._heads is not None and hash(head) not in self._heads:
            self.damaged("data.ledgerHead", "is not the hash of a record of the ledger")
        if not self.sound:
            return
        if has_spec:
            self._check_digest(str(event.spec), event.spec_sha256)
        if is_first and self.sound:
            self.has_spec = has_spec
            holder = self.run if has_spec else "" if event.spec_in is None else str(event.spec_in)
            self.spec = holder, str(event.spec_sha256)

    def _check_digest(self, spec: str, sha256: str) -> None:
        if sha256_of(spec.encode("utf-8", "backslashreplace")) != sha256:
            self.damaged("data.specSha256", "is not the digest of the spec in the same record")

    def _check_end(self, event: events.RunEnded, records: int) -> None:
        self._metrics = str(event.metrics_sha256)
        outputs, sha256 = self._outputs.totals()
        if event.records != records:
            self.damaged("data.records", f"is not {records}, the number of records up to this one")
        if event.outputs != outputs:
            self.damaged("data.outputs", f"is not {outputs}, the number of outputs in the commits of this log")
        if event.outputs_sha256 != sha256:
            self.damaged("data.outputsSha256", "is not the digest of the outputs in the commits of this log")

    def _check_references(self) -> None:
        last, end = self.last, self._end
        for missing in self._opened.values():
            what = f"ends with record {last.seq}, but line {missing.line} of the ledger refers to record {missing.seq}"
            self.damaged("seq", what)
        if end is None:
            return
        where = f"line {end.line} of the ledger"
        if self._event != END and end.event != events.SUPERSEDED:
            self.damaged("ev", f"the log does not end with run.end, though {where} closes the run")
        elif last.seq != end.seq:
            self.damaged("seq", f"ends with record {last.seq}, but {where} closes it at record {end.seq}")
        elif last.hash != end.hash:
            self.damaged("hash", f"differs from {where}: the log was rewritten")

    def _check_metrics(self, lines: Lines) -> None:
        """Compare the metrics with the last record, unless a run at work has replaced them in the meantime."""
        where, name, what = f"line {self.line} of {self.name}", f"metrics_{self.run}.json", ""
        try:
            if sha256_of(read_small(f"{self._directory}/{name}", MOST_METRICS)) != self._metrics and not lines.grown():
                what = f"does not have the digest in {where} (data.metricsSha256): it was changed"
        except FileNotFoundError:
            what = f"is missing, but {where} names it"
        except NotRegularError as error:
            what = error.what
        if what:
            self.findings.damaged(name, 0, "", what)


def lost_its_end(rest: bytes) -> bool:
    """Whether the bytes after the last line end are a whole record and one more byte.

    A crash leaves only the beginning of a line, so somebody changed the line end.
    """
    line = rest[:-1] + b"\n"
    record = parse(line) if len(line) <= _PARSED else None
    return isinstance(record, dict) and not check(record, line, None)[1]


def key_words(key_id: str | None) -> str:
    return "not keyed" if key_id is None else f"keyed with {key_id[:64]}"
