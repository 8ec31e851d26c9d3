"""The check of the whole record of a state directory, in one pass along the ledger. Writes nothing, takes no lock.

Memory holds the open runs, three numbers for each record of the ledger, and the committed outputs of one log. A run may
be at work during the check, so markers are read before the logs, and the ledger is read to its new end before a log is
called unknown.
"""

from __future__ import annotations

import os
import re
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from runner.audit.findings import Findings, Markers
from runner.audit.run_log import LEDGER, Chain, Reference, RunLog, key_words, lost_its_end
from runner.canonical import GENESIS, KEY_VARIABLE, SIGNED
from runner.errors import (
    EXIT_DAMAGED,
    EXIT_INVALID,
    EXIT_OK,
    EXIT_PENDING,
    DamagedRecordError,
    Fault,
    PendingError,
    StateError,
    UsageError,
)
from runner.paths import is_name
from runner.record.events import CLOSED, ENDED, NOOP, OPENED, PRUNED, SUPERSEDED
from runner.record.ledger import open_after, pruned_commits, pruned_removals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runner.reading import Lines
    from runner.record.log import Record
    from runner.record.seal import Seal
    from runner.record.signatures import PublicKey

_NOT_GIVEN = "a key that was not given"
_VERDICTS = {EXIT_OK: "intact", EXIT_INVALID: "unchecked", EXIT_PENDING: "incomplete", EXIT_DAMAGED: "damaged"}
_SHOWN = 64  # characters of a key id, which anybody can write
_LOG = re.compile(r"audit_(.+)\.jsonl")
_NAMED = re.compile(rb'.*"run":"([A-Za-z0-9][A-Za-z0-9._-]{0,99})"', re.DOTALL)


class Verification(Chain):
    """The check of one state directory, along the chain of its ledger, and its findings.

    `head`: the hash of the ledger's last record, None before the first run. `keyed_from`: the first keyed line of the
    ledger. `expected_line`: the line with the expected head, if any. `missing_key`: that of the ledger or of a log.
    `known`: whether the requested run exists. `outputs`: the number of outputs that were read. `pruned`: the number of
    runs whose files were removed by `prune`. `signer`: the id of the key that signs, according to the last record. With
    public keys, `signatures` has the first and the newest line that each has signed, by its id; `signed_line` is the
    newest of all; `is_covered` says whether the signatures cover every record, also of the logs.
    """

    def __init__(
        self,
        directory: str,
        seal: Seal,
        run: str | None = None,
        expect_head: str | None = None,
        shown: str = "",
        public_keys: Iterable[PublicKey] = (),
    ) -> None:
        """With `run`, check the whole ledger, but only the log of that run. With `public_keys`, also check signatures.

        `shown` is the directory as messages name it.
        """
        super().__init__(directory, "", seal, Findings(shown))
        self.damage, self.incomplete, self.notes = self.findings.damage, self.findings.incomplete, self.findings.notes
        self.directory = shown
        self.pipeline = ""
        self.runs = self.records = self.pruned = 0
        self.keyed_from: int | None = None
        self.expected_line: int | None = None
        self.outputs: int | None = None
        self.signer: str | None = None
        self.signatures: dict[str, tuple[int, int]] = {}
        self.signed_line: int | None = None
        self.is_covered = True
        self.known = False
        self.markers: Markers
        self._public_keys = {key.id: key for key in public_keys}
        self._only = run
        self._expected = expect_head
        # There may be very many records, so texts that are only compared are kept as their `hash`.
        self._heads = {hash(GENESIS)}
        self._ended: set[int] = set()
        self._specs: dict[int, int | None] = {}  # by run: the digest of the spec in its log; None: unreadable
        self._on_damaged_lines: set[int] = set()  # runs
        self._open: dict[str, list[Reference]] = {}
        self._pruned: dict[str, dict[str, tuple[int, str]]] = {}
        self._claimed: list[Any] | None = []  # the open runs, according to the last record

    @property
    def head(self) -> str | None:
        return self.last.hash if self.line else None

    @property
    def lacks_public_key(self) -> bool:
        """Whether all that is wrong is that the public key of the signer was not given."""
        return bool(self.damage) and all(damage.what.endswith(_NOT_GIVEN) for damage in self.damage)

    @property
    def exit_code(self) -> int:
        """6 if damaged, 2 if a key is missing and the form is sound, 3 if incomplete, else 0."""
        if self.damage:
            return DamagedRecordError.exit_code
        if self.missing_key is not None:
            return UsageError.exit_code
        return PendingError.exit_code if self.incomplete else EXIT_OK

    @property
    def verdict(self) -> str:
        """The exit code as a word."""
        return _VERDICTS[self.exit_code]

    def fault(self) -> Fault | None:
        """Return why hashes were not checked; None if they were."""
        if self.missing_key is None:
            return None
        hint = f"name the file that holds the key in {KEY_VARIABLE}"
        return Fault(self.directory, f"keyed with {self.missing_key}: without that key only the form was checked", hint)

    def require_intact(self, undone: str) -> None:
        """Raise DamagedRecordError for damage, UsageError for a missing key, PendingError if a signature is missing.

        `undone` says in the message what was not done.
        """
        if self.damage:
            first = self.damage[0]
            raise DamagedRecordError(Fault(first.place, f"{first.what}; {undone}", "see `offpipe verify`"))
        if fault := self.fault():
            raise UsageError(fault)
        if not self.is_covered:
            what = f"no signature covers its last records: a run is at work, or was killed; {undone}"
            raise PendingError(Fault(self.directory, what, "the next run signs them"))

    def check(self) -> None:
        """Check everything. StateError for a file that cannot be read, or that a newer release wrote."""
        self.markers = Markers(self._directory, self.findings, self._only)
        with suppress(StateError):  # below, `open` reports what is wrong with the file
            self._pruned = pruned_commits(f"{self._directory}/{LEDGER}")
            self.pruned = len(self._pruned)
            for stage, run, seq, path, remover in pruned_removals(f"{self._directory}/{LEDGER}"):
                self.markers.note_removed(stage, (run, seq), (path,), remover)
        lines = self.open()
        with lines or nullcontext():
            self._read_ledger(lines)
            if lines is not None and lost_its_end(lines.rest):
                self.findings.damaged(LEDGER, self.line + 1, "", "the line has no line end")
            elif lines is not None and lines.rest:
                what = f"its last {len(lines.rest)} bytes are the beginning of a line; the next run cuts them off"
                self.findings.unfinished(LEDGER, what)
            for run, opened in self._open.items():
                self._check_open(run, opened)
            self._check_unknown(lines)
        self.markers.report()
        if not self.line and self.damage and not self.findings.has(LEDGER):
            self.findings.damaged(LEDGER, 0, "", "is missing" if lines is None else "is empty")
        self._check_head()
        if self._public_keys and not self.findings.has(LEDGER):
            self._check_end_signed()
        self.records += self.line

    # ---- along the ledger ----

    def _read_ledger(self, lines: Lines | None) -> None:
        for line in lines or ():
            record = self.check_line(line)
            if record is not None:
                self._check_entry(record)
            else:
                self._claimed = None
                if (named := _NAMED.match(line)) is not None:  # so the ledger may name this run
                    self._on_damaged_lines.add(hash(named[1].decode()))
            if self.last.hash == self._expected:
                self.expected_line = self.line

    def _check_entry(self, record: Record) -> None:
        event, run = record["ev"], record["run"]
        if self.keyed_from is None and self.key_id is not None:
            self.keyed_from = self.line
        reference = self._check_fields(record) if self.intact else None
        claimed = record["data"].get("open")
        self._claimed = claimed if isinstance(claimed, list) else None
        self._heads.add(hash(record["hash"]))
        if self.intact:
            self._check_signature(record)
        if not is_name(run):
            return
        if event in {OPENED, CLOSED, NOOP, SUPERSEDED} and hash(run) in self._ended:
            self.damaged("run", f"{run} appears again, though it was closed before")
        if event == OPENED:
            self._open.setdefault(run, []).extend([reference] if reference else [])
        elif event == ENDED and reference:
            if run not in self._open and not self.doubt:
                self.damaged("run", f"{run} has ended, though it was not open")
            self._open.get(run, []).append(reference)
        elif event in {CLOSED, NOOP, SUPERSEDED}:
            opened = self._open.pop(run, None)
            if event != NOOP and opened is None and not self.doubt:
                self.damaged("run", f"{run} is closed, though it was not open")
            self._ended.add(hash(run))
            log = self._check_log(run, opened or [], reference, self.line)
            if log is not None and event == NOOP and reference and not log.is_noop:
                what = f"is not the log of a run without work, though line {self.line} of the ledger says so"
                self.findings.damaged(log.name, 0, "", what)

    def _check_fields(self, record: Record) -> Reference | None:
        """Check the fields of a record of the ledger; return its reference to a log, if that is reliable."""
        data, event, run = record["data"], record["ev"], record["run"]
        before = self._claimed if self.sound else None
        if event not in {OPENED, CLOSED, NOOP, ENDED, SUPERSEDED, PRUNED, SIGNED}:
            self.damaged("ev", "is not an event of the ledger")
        if not is_name(run) or run.lower() == "ledger":
            self.damaged("run", "cannot be the name of a run")
        if before is not None and data.get("open") != list(open_after(tuple(before), event, run)):
            self.damaged("data.open", "does not follow from the record before")
        pipeline = data.get("pipeline")
        if not isinstance(pipeline, str) or self.pipeline not in {"", pipeline}:
            self.damaged("data.pipeline", f'differs from "{self.pipeline}" in the records before')
        else:
            self.pipeline = pipeline
        seq, digest = data.get("logSeq"), data.get("logHash")
        if event in {ENDED, PRUNED, SIGNED} and seq is digest is None:
            return None  # a refusal has no log
        if type(seq) is not int or not isinstance(digest, str):
            self.damaged("data.logSeq", "and logHash do not name a record")
            return None
        return Reference(self.line, event, seq, digest, self.key_id)

    # ---- signatures ----

    def _check_signature(self, record: Record) -> None:
        """Check the signer in a record of the ledger; with public keys, check the signature of a record `signed`."""
        before, self.signer = self.signer, str(record["data"].get("signer") or "")[:_SHOWN] or None
        if self.signer is None:
            if before:
                self.damaged("data.signer", f"is missing, but the records before it are signed with {before}")
        elif (key := self._public_keys.get(self.signer)) is None:
            if self._public_keys and self.signer != before:
                self.damaged("data.signer", f"is {self.signer}, {_NOT_GIVEN}")
        elif record["ev"] == SIGNED and key.has_signed(record):
            self._check_unsigned(self.line - 2)  # it belongs to the line before it
            self.signatures[key.id] = (self.signatures.get(key.id, (self.line,))[0], self.line)
            self.signed_line = self.line
        elif record["ev"] == SIGNED:
            self.damaged("data.signature", "does not match: this record or one before it was changed")

    def _check_unsigned(self, last: int) -> None:
        """Check that every line up to `last` has a signature of its own."""
        if unsigned := last - (self.signed_line or last):
            what = f"is missing for {unsigned} of the lines after line {self.signed_line}"
            self.findings.damaged(LEDGER, self.line, "data.signature", what)

    def _check_end_signed(self) -> None:
        """Check that a signature covers the ledger, except for a last line as a kill leaves it."""
        if self.signed_line is None:
            self.findings.damaged(LEDGER, 0, "", "has no signature")
        elif self.line > self.signed_line:
            self.is_covered = False
            self._check_unsigned(self.line - 1)
            what = f"line {self.line} has no signature: its write was cut short, or another process added it"
            self.findings.unfinished(LEDGER, f"{what}; the next run removes it")

    # ---- the logs ----

    def _check_log(self, run: str, opened: list[Reference], end: Reference | None, line: int = 0) -> RunLog | None:
        """Check the log of a run that `line` of the ledger names; None if it is missing, or not requested."""
        if self._only not in (None, run):
            return None
        self.known = run == self._only
        if run in self._pruned and not os.path.lexists(f"{self._directory}/audit_{run}.jsonl"):
            for stage, (seq, digest) in self._pruned[run].items():
                self.markers.note_digest(stage, run, seq, digest, opened[-1].line if opened else line)
            return None
        heads = None if self.doubt else self._heads
        log = RunLog(self._directory, run, opened, end, self._seal, self.findings, self.markers, heads)
        is_there = log.check()
        self._check_spec(log)
        self.runs += 1
        self.records += log.line
        self.missing_key = self.missing_key or log.missing_key
        for reference in (*opened, *([end] if end else ())):
            if log.key_id not in (None, reference.key_id):  # a key id can be written without the key
                keyed = key_words(reference.key_id)
                what = f"is {key_words(log.key_id)}, but line {reference.line} of the ledger is {keyed}"
                self.findings.damaged(log.name, 1, "data.keyId", what)
                break
        if is_there:
            return log
        if line and not os.path.lexists(f"{self._directory}/{log.name}"):  # anything else in its place was reported
            self.findings.damaged(log.name, 0, "", f"is missing, but line {line} of the ledger names it")
        return None

    def _check_spec(self, log: RunLog) -> None:
        """Check that the run which record 0 names holds the spec, unless a fault there is already reported."""
        if log.spec is None or log.has_spec:
            self._specs[hash(log.run)] = None if log.spec is None else hash(log.spec[1])
        elif self._only is None and not self.doubt:
            holder, digest = log.spec
            if holder and self._specs.get(hash(holder), "") not in (None, hash(digest)):
                self.findings.damaged(log.name, 1, "data.specIn", "is not an earlier run whose record 0 has that spec")

    def _check_open(self, run: str, opened: list[Reference]) -> None:
        log = self._check_log(run, opened, None, opened[-1].line if opened else self.line)
        if log is None:
            return
        what = "the run has not succeeded yet; it is at work, or the next run resumes it"
        if log.ended:
            what = "the run was killed after its end and before the ledger's line of it, or that line was cut off"
        if self._public_keys and opened and log.last.seq > opened[-1].seq:
            self.is_covered = False
            what += f"; no signature covers its records after {opened[-1].seq}"
        self.findings.unfinished(log.name, what)

    def _check_unknown(self, lines: Lines | None) -> None:
        """Check the logs that the ledger does not name: a kill came before its line, or they are forged."""
        for entry in os.scandir(self._directory):
            named = _LOG.fullmatch(entry.name)
            run = named[1] if named else "ledger"
            if run == "ledger" or self._only not in (None, run) or self._names(run):
                continue
            self._read_ledger(lines)  # it may have grown
            if self._names(run):
                continue
            if not is_name(run):
                self.findings.damaged(entry.name, 0, "", "does not have the name of a run's log")
            elif (log := self._check_log(run, [], None)) is not None:
                self._report_unknown(log)

    def _names(self, run: str) -> bool:
        return run in self._open or hash(run) in self._ended or hash(run) in self._on_damaged_lines

    def _report_unknown(self, log: RunLog) -> None:
        if log.worked or (log.ended and not log.is_noop):
            self.findings.damaged(log.name, 0, "", "is not in the ledger: forged, or the ledger's line was removed")
        elif log.first_head == self.last.hash:
            what = "its run has just begun, or died before it did any work, or the ledger's last line was cut off"
            self.findings.unfinished(log.name, f"is not in the ledger: {what}")
        else:
            self.findings.remark(log.name, "is not in the ledger: its run died before it did any work")

    def _check_head(self) -> None:
        if self._seal.id is not None and self.line and self.key_id is None:
            what = f"is null, but the key given is {self._seal.id}: a forger needs no key to rewrite such a ledger"
            self.findings.damaged(LEDGER, self.line, "data.keyId", what)
        if self._expected in (None, self.last.hash):
            return
        what = f"the head is {self.last.hash}, but no line has the expected head"
        if line := self.expected_line:
            more = self.line - line
            what = f"the head expected is that of line {line}; {more} {'record was' if more == 1 else 'records were'}"
            what += f" appended since, the head is {self.last.hash}"
        self.findings.damaged(LEDGER, self.line, "hash", what)
