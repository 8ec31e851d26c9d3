"""The whole record of a state directory, checked in one pass along the ledger. Writes nothing, takes no lock.

It keeps in memory the open runs and three numbers for each record of the ledger, and of a log what its commits add up
to. A run may work meanwhile: markers are read before the logs, and the ledger is read to its new end before a log is
called unknown.
"""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from runner.canonical import GENESIS, KEY_VARIABLE
from runner.errors import EXIT_DAMAGED, EXIT_INVALID, EXIT_OK, EXIT_PENDING, Fault
from runner.paths import is_name
from runner.record.events import CLOSED, NOOP, OPENED
from runner.record.ledger import open_after
from runner.record.verify_log import LEDGER, Chain, Reference, RunLog, key_words, lost_its_end
from runner.record.verify_state import Findings, Markers

if TYPE_CHECKING:
    from runner.reading import Lines
    from runner.record.audit import Record
    from runner.record.seal import Seal
    from runner.record.verify_state import Damage, Remark

_LOG = re.compile(r"audit_(.+)\.jsonl")
_NAMED = re.compile(rb'.*"run":"([A-Za-z0-9][A-Za-z0-9._-]{0,99})"', re.DOTALL)


class Verification(Chain):
    """The check of one state directory, along the chain of its ledger, and what it found.

    `head` is the hash of the ledger's last record, None before the first run; `keyed_from` the first keyed line of the
    ledger; `expected_line` the line that has the head that is expected, if there is one. `unchecked` is the id of a key
    that nobody gave, so that only the form of keyed records was checked. `known`: whether the requested run is there.
    `outputs`: how many were read.
    """

    def __init__(
        self, directory: str, seal: Seal, run: str | None = None, expect_head: str | None = None, shown: str = ""
    ) -> None:
        """With `run`, only its log is checked; the ledger is always checked whole. Files are named below `shown`."""
        super().__init__(directory, "", seal, Findings(shown))
        self.directory = shown
        self.damage: tuple[Damage, ...] = ()
        self.incomplete: tuple[Remark, ...] = ()
        self.notes: tuple[Remark, ...] = ()
        self.pipeline = ""
        self.runs = self.records = 0
        self.keyed_from: int | None = None
        self.expected_line: int | None = None
        self.outputs: int | None = None
        self.known = False
        self.markers: Markers
        self._only = run
        self._expected = expect_head
        self._log_key: str | None = None  # a missing key of a log
        # There may be very many records, so only `hash` is kept of texts to be compared.
        self._heads = {hash(GENESIS)}
        self._ended: set[int] = set()
        self._specs: dict[int, int | None] = {}  # by run: the digest of the spec that its log holds; None: unreadable
        self._vague: set[int] = set()  # runs on damaged lines
        self._open: dict[str, list[Reference]] = {}
        self._claimed: list[Any] | None = []  # what is open, as the last record says

    @property
    def head(self) -> str | None:
        return self.last.hash if self.line else None

    @property
    def hidden(self) -> int:
        """How much more damage there is than `damage` holds."""
        return self.findings.hidden

    @property
    def unchecked(self) -> str | None:
        return self.missing_key or self._log_key

    @property
    def exit_code(self) -> int:
        """6 damaged, 2 sound in form but for a key that was not given, 3 incomplete, else 0."""
        if self.damage:
            return EXIT_DAMAGED
        if self.unchecked is not None:
            return EXIT_INVALID
        return EXIT_PENDING if self.incomplete else EXIT_OK

    def fault(self) -> Fault | None:
        """Return what kept hashes from being checked, if they were not."""
        if self.unchecked is None:
            return None
        hint = f"name the file that holds the key in {KEY_VARIABLE}"
        return Fault(self.directory, f"keyed with {self.unchecked}: without that key only the form was checked", hint)

    def check(self) -> None:
        """Check everything. StateError for what cannot be read, or was written by a newer release."""
        self.markers = Markers(self._directory, self.findings, self._only)
        lines = self.open()
        with lines or nullcontext():
            self._take_ledger(lines)
            if lines is not None and lost_its_end(lines.rest):
                self.findings.damaged(LEDGER, self.line + 1, "", "the line has no line end")
            elif lines is not None and lines.rest:
                what = f"its last {len(lines.rest)} bytes are the beginning of a line; the next run cuts them off"
                self.findings.unfinished(LEDGER, what)
            for run, opened in self._open.items():
                self._check_open(run, opened)
            self._check_unknown(lines)
        self.markers.judge()
        if not self.line and self.findings.damage and not self.findings.has(LEDGER):
            self.findings.damaged(LEDGER, 0, "", "is missing" if lines is None else "is empty")
        self._check_head()
        self.records += self.line
        damage, incomplete, notes = self.findings.damage, self.findings.incomplete, self.findings.notes
        self.damage, self.incomplete, self.notes = tuple(damage), tuple(incomplete), tuple(notes)

    # ---- along the ledger ----

    def _take_ledger(self, lines: Lines | None) -> None:
        for line in lines or ():
            record = self.take(line)
            if record is not None:
                self._take(record)
            else:
                self._claimed = None
                if (named := _NAMED.match(line)) is not None:  # nothing is known of this run then
                    self._vague.add(hash(named[1].decode()))
            if self.last.hash == self._expected:
                self.expected_line = self.line

    def _take(self, record: Record) -> None:
        event, run = record["ev"], record["run"]
        if self.keyed_from is None and self.key_id is not None:
            self.keyed_from = self.line
        reference = self._judge(record) if self.intact else None
        claimed = record["data"].get("open")
        self._claimed = claimed if isinstance(claimed, list) else None
        self._heads.add(hash(record["hash"]))
        if not is_name(run):
            return
        if event == OPENED:
            if run not in self._open and hash(run) in self._ended:
                self.damaged("run", f"{run} is opened again, though it was closed before")
            self._open.setdefault(run, []).extend([reference] if reference else [])
        elif event in {CLOSED, NOOP}:
            opened = self._open.pop(run, None)
            if event == CLOSED and opened is None and not self.doubt:
                self.damaged("run", f"{run} is closed, and was not open")
            if hash(run) in self._ended:
                self.damaged("run", f"{run} is here once more: it was closed before")
            self._ended.add(hash(run))
            log = self._check_log(run, opened or [], reference, self.line)
            if log is not None and event == NOOP and reference and (log.worked or log.line != 2):
                what = f"does not tell of a run without work, as line {self.line} of the ledger"
                self.findings.damaged(log.name, 0, "", what)

    def _judge(self, record: Record) -> Reference | None:
        """Check the fields of a record of the ledger; return what it refers to, if that is reliable."""
        data, event, run = record["data"], record["ev"], record["run"]
        before = self._claimed if self.sound else None
        if event not in {OPENED, CLOSED, NOOP}:
            self.damaged("ev", "is none of opened, closed, noop")
        if not is_name(run) or run.lower() == "ledger":
            self.damaged("run", "is no name of a run")
        if before is not None and data.get("open") != list(open_after(tuple(before), event, run)):
            self.damaged("data.open", "does not follow from the record before")
        pipeline = data.get("pipeline")
        if not isinstance(pipeline, str) or self.pipeline not in {"", pipeline}:
            self.damaged("data.pipeline", f'is not "{self.pipeline}", as before')
        else:
            self.pipeline = pipeline
        seq, digest = data.get("logSeq"), data.get("logHash")
        if type(seq) is not int or not isinstance(digest, str):
            self.damaged("data.logSeq", "and logHash name no record")
            return None
        return Reference(self.line, seq, digest, self.key_id)

    # ---- the logs ----

    def _check_log(self, run: str, opened: list[Reference], end: Reference | None, line: int = 0) -> RunLog | None:
        """Check the log of a run that this line of the ledger names; None if there is none, or another is requested."""
        if self._only not in (None, run):
            return None
        heads = None if self.doubt else self._heads
        log = RunLog(self._directory, run, opened, end, self._seal, self.findings, self.markers, heads)
        is_there = log.check()
        self._check_spec(log)
        self.runs += 1
        self.records += log.line
        self.known = self.known or run == self._only
        self._log_key = self._log_key or log.missing_key
        for reference in (*opened, *([end] if end else ())):
            if log.key_id not in (None, reference.key_id):  # anybody can write the id of a key
                keyed = key_words(reference.key_id)
                what = f"is {key_words(log.key_id)}, and line {reference.line} of the ledger is {keyed}"
                self.findings.damaged(log.name, 1, "data.keyId", what)
                break
        if is_there:
            return log
        if line and not os.path.lexists(f"{self._directory}/{log.name}"):  # else what is there was reported
            self.findings.damaged(log.name, 0, "", f"is missing, and line {line} of the ledger names it")
        return None

    def _check_spec(self, log: RunLog) -> None:
        """Check that the spec of a run is where record 0 says, unless a fault there is already reported."""
        if log.spec is None or log.has_spec:
            self._specs[hash(log.run)] = None if log.spec is None else hash(log.spec[1])
        elif self._only is None and not self.doubt:
            holder, digest = log.spec
            if holder and self._specs.get(hash(holder), "") not in (None, hash(digest)):
                self.findings.damaged(log.name, 1, "data.specIn", "is no earlier run whose record 0 holds that spec")

    def _check_open(self, run: str, opened: list[Reference]) -> None:
        log = self._check_log(run, opened, None, opened[-1].line if opened else self.line)
        if log is None:
            return
        what = "the run has not succeeded yet; it is at work, or the next one goes on with it"
        if log.ended:
            what = "the run ended, and was killed before the ledger knew; or its end was cut"
        self.findings.unfinished(log.name, what)

    def _check_unknown(self, lines: Lines | None) -> None:
        """Check the logs that the ledger does not name: left by a kill before the line was written, or forged."""
        for entry in os.scandir(self._directory):
            named = _LOG.fullmatch(entry.name)
            run = named[1] if named else "ledger"
            if run == "ledger" or self._only not in (None, run) or self._names(run):
                continue
            self._take_ledger(lines)  # it may have grown
            if self._names(run):
                continue
            if not is_name(run):
                self.findings.damaged(entry.name, 0, "", "is not named like the log of a run")
            elif (log := self._check_log(run, [], None)) is not None:
                self._judge_unknown(log)

    def _names(self, run: str) -> bool:
        return run in self._open or hash(run) in self._ended or hash(run) in self._vague

    def _judge_unknown(self, log: RunLog) -> None:
        if log.worked or (log.ended and log.line != 2):
            self.findings.damaged(log.name, 0, "", "is not in the ledger: forged, or the ledger's line was removed")
        elif log.first_head == self.last.hash:
            what = "its run is just beginning or ended before it began, or the ledger's last line was cut off"
            self.findings.unfinished(log.name, f"is not in the ledger: {what}")
        else:
            self.findings.remark(log.name, "is not in the ledger: its run ended before it had begun anything")

    def _check_head(self) -> None:
        if self._seal.id is not None and self.line and self.key_id is None:
            what = f"is null, and the key given is {self._seal.id}: whoever could write could rewrite it all"
            self.findings.damaged(LEDGER, self.line, "data.keyId", what)
        if self._expected in (None, self.last.hash):
            return
        what = f"the head is {self.last.hash}, and the one expected is in no line"
        if line := self.expected_line:
            more = self.line - line
            what = f"the head expected is that of line {line}; {more} {'record was' if more == 1 else 'records were'}"
            what += f" appended since, the head is {self.last.hash}"
        self.findings.damaged(LEDGER, self.line, "hash", what)
