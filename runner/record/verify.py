"""The whole record of a state directory, checked in one pass along the ledger. Writes nothing, takes no lock.

It keeps in memory the open runs and three numbers for each record of the ledger, and of a log what its commits add up
to. A run may work meanwhile: markers are read before the logs, and the ledger is read to its new end before a log is
called unknown.
"""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from typing import TYPE_CHECKING

from runner.paths import is_name
from runner.record.events import CLOSED, NOOP, OPENED
from runner.record.ledger import open_after
from runner.record.spelling import GENESIS
from runner.record.unusable import Lines, NotRegularError
from runner.record.verify_log import Chain, Reference, RunLog, key_words, lost_its_end
from runner.record.verify_state import Findings, Markers

if TYPE_CHECKING:
    from runner.record.audit import Record
    from runner.record.seal import Seal

LEDGER = "audit_ledger.jsonl"
_LOG = re.compile(r"audit_(.+)\.jsonl")
_NAMED = re.compile(rb'.*"run":"([A-Za-z0-9][A-Za-z0-9._-]{0,99})"', re.DOTALL)


class Verification:
    """The check of one state directory, and what it found.

    `head` is the hash of the ledger's last record, GENESIS if there is no ledger; `keyed_from` the first keyed line of
    the ledger. `known`: whether the requested run is there.
    """

    def __init__(self, directory: str, seal: Seal, run: str | None = None, expect_head: str | None = None) -> None:
        """With `run`, only its log is checked; the ledger is always checked whole."""
        self.findings = Findings()
        self.pipeline = ""
        self.runs = self.records = 0
        self.unchecked: str | None = None
        self.keyed_from: int | None = None
        self.known = False
        self.markers = Markers(directory, self.findings, run)
        self.expected_line = 0
        self._directory = directory
        self._seal = seal
        self._only = run
        self._expected = expect_head
        # There may be very many records, so only `hash` is kept of texts to be compared.
        self._heads = {hash(GENESIS)}
        self._ended: set[int] = set()
        self._specs: set[int] = set()  # run and digest of specs that logs hold
        self._vague: set[int] = set()  # runs on damaged lines of the ledger
        self._unread: set[int] = set()  # runs whose record 0 is damaged
        self._open: dict[str, list[Reference]] = {}
        self._claimed: tuple[str, ...] | None = ()  # what is open, as the last record says
        self._doubt = False
        self.ledger = Chain(LEDGER, "", seal, self.findings)
        self._lines: Lines | None = None

    @property
    def head(self) -> str:
        return self.ledger.last.hash

    def check(self) -> None:
        """Check everything. StateError for what cannot be read, or was written by a newer release."""
        try:
            self._lines = Lines(f"{self._directory}/{LEDGER}")
        except FileNotFoundError:
            pass
        except NotRegularError as error:
            self.findings.damaged(LEDGER, 0, "", str(error))
        with self._lines or nullcontext():
            self._check_files()

    def _check_files(self) -> None:
        self._take_ledger()
        if self._lines is not None:
            self._check_rest(self._lines.rest)
        for run, opened in self._open.items():
            self._check_open(run, opened)
        self._check_unknown()
        self.markers.judge(crashed=bool(self._open))
        damage = self.findings.damage
        if not self.ledger.line and damage and all(one.file != LEDGER for one in damage):
            self.findings.damaged(LEDGER, 0, "", "is missing" if self._lines is None else "is empty")
        self._check_head()
        self.records += self.ledger.line
        self.unchecked = self.unchecked or self.ledger.unchecked

    # ---- along the ledger ----

    def _take_ledger(self) -> None:
        for line in self._lines or ():
            record = self.ledger.take(line)
            self._doubt = self._doubt or not self.ledger.sound
            if record is not None:
                self._take(record)
            else:
                self._claimed = None
                if (found := _NAMED.match(line)) is not None:  # nothing is known of this run then
                    self._vague.add(hash(found[1].decode()))
            if self.head == self._expected:
                self.expected_line = self.ledger.line

    def _take(self, record: Record) -> None:
        chain, event, run = self.ledger, record["ev"], record["run"]
        if self.keyed_from is None and chain.key_id is not None:
            self.keyed_from = chain.line
        reference = self._judge(record) if chain.intact else None
        match record["data"]:
            case {"open": list(claimed)} if all(isinstance(name, str) for name in claimed):
                self._claimed = tuple(claimed)
            case _:
                self._claimed = None
        self._heads.add(hash(record["hash"]))
        if not is_name(run):
            return
        if event == OPENED:
            if run not in self._open and hash(run) in self._ended:
                chain.damaged("run", f"{run} is opened again, though it was closed before")
            self._open.setdefault(run, []).extend([reference] if reference else [])
        elif event in {CLOSED, NOOP}:
            opened = self._open.pop(run, None)
            if event == CLOSED and opened is None and not self._doubt:
                chain.damaged("run", f"{run} is closed, and was not open")
            if hash(run) in self._ended:
                chain.damaged("run", f"{run} is here once more: it was closed before")
            self._ended.add(hash(run))
            self._check_ended(run, opened or [], reference, event)

    def _judge(self, record: Record) -> Reference | None:
        """Check the fields of a record of the ledger; return what it refers to, if that is reliable."""
        chain, data, event, run = self.ledger, record["data"], record["ev"], record["run"]
        if event not in {OPENED, CLOSED, NOOP}:
            chain.damaged("ev", "is none of opened, closed, noop")
        if not is_name(run) or run.lower() == "ledger":
            chain.damaged("run", "is no name of a run")
        before = self._claimed if chain.sound else None
        if before is not None and data.get("open") != list(open_after(before, event, run)):
            chain.damaged("data.open", "does not follow from the record before")
        pipeline = data.get("pipeline")
        if not isinstance(pipeline, str) or self.pipeline not in {"", pipeline}:
            chain.damaged("data.pipeline", f'is not "{self.pipeline}", as before')
        else:
            self.pipeline = pipeline
        seq, digest = data.get("logSeq"), data.get("logHash")
        if type(seq) is not int or not isinstance(digest, str):
            chain.damaged("data.logSeq", "and logHash name no record")
            return None
        return Reference(chain.line, seq, digest, chain.key_id)

    def _check_rest(self, rest: bytes) -> None:
        if lost_its_end(rest):
            self.findings.damaged(LEDGER, self.ledger.line + 1, "", "the line has no line end")
        elif rest:
            what = f"its last {len(rest)} bytes are the beginning of a line; the next run cuts them off"
            self.findings.unfinished(LEDGER, what)

    # ---- the logs ----

    def _check_log(self, run: str, opened: list[Reference], end: Reference | None, line: int = 0) -> RunLog | None:
        """Check the log of a run that this line of the ledger names; None if there is none, or another is requested."""
        if self._only not in (None, run):
            return None
        heads = None if self._doubt else self._heads
        log = RunLog(self._directory, run, opened, end, self._seal, self.findings, self.markers, heads)
        is_there = log.check()
        self._check_spec(log)
        self.runs += 1
        self.records += log.line
        self.known = self.known or run == self._only
        self.unchecked = self.unchecked or log.unchecked
        is_reported = log.unchecked is not None and self._seal.id is not None  # that it has another key
        for line_there, _, _, key_id in (*opened, *([end] if end else ())):
            if log.key_id not in (None, key_id) and not is_reported:  # anybody can write the id of a key
                what = f"is {key_words(log.key_id)}, and line {line_there} of the ledger is {key_words(key_id)}"
                self.findings.damaged(log.name, 1, "data.keyId", what)
                break
        if is_there:
            return log
        if line and not os.path.lexists(f"{self._directory}/{log.name}"):  # else what is there was reported
            self.findings.damaged(log.name, 0, "", f"is missing, and line {line} of the ledger names it")
        return None

    def _check_spec(self, log: RunLog) -> None:
        """Check that the spec of a run is where record 0 says, unless a fault there is already reported."""
        if log.spec is None:
            self._unread.add(hash(log.run))
        elif log.has_spec:
            self._specs.add(hash(log.spec))
        elif hash(log.spec) not in self._specs:
            is_unknown = self._only is not None or self._doubt or hash(log.spec[0]) in self._unread
            if log.spec[0] and not is_unknown:
                self.findings.damaged(log.name, 1, "data.specIn", "is no earlier run whose record 0 holds that spec")

    def _check_ended(self, run: str, opened: list[Reference], end: Reference | None, event: str) -> None:
        log = self._check_log(run, opened, end, self.ledger.line)
        if log is not None and event == NOOP and end is not None and (log.worked or log.line != 2):
            what = f"does not tell of a run without work, as line {end.line} of the ledger"
            self.findings.damaged(log.name, 0, "", what)

    def _check_open(self, run: str, opened: list[Reference]) -> None:
        log = self._check_log(run, opened, None, opened[-1].line if opened else self.ledger.line)
        if log is None:
            return
        torn = f", with {log.rest} bytes of a torn line" if log.rest else ""
        what = f"the run has not succeeded yet{torn}; it is at work, or the next one goes on with it"
        if log.ended:
            what = "the run ended, and was killed before the ledger knew; or its end was cut"
        self.findings.unfinished(log.name, what)

    def _check_unknown(self) -> None:
        """Check the logs that the ledger does not name: left by a kill before the line was written, or forged."""
        for entry in os.scandir(self._directory):
            found = _LOG.fullmatch(entry.name)
            run = found[1] if found else "ledger"
            if run == "ledger" or self._only not in (None, run) or self._is_named(run):
                continue
            self._take_ledger()  # it may have grown
            if self._is_named(run):
                continue
            if not is_name(run):
                self.findings.damaged(entry.name, 0, "", "is not named like the log of a run")
            elif (log := self._check_log(run, [], None)) is not None:
                self._judge_unknown(log)

    def _is_named(self, run: str) -> bool:
        return run in self._open or hash(run) in self._ended or hash(run) in self._vague

    def _judge_unknown(self, log: RunLog) -> None:
        if log.worked or (log.ended and log.line != 2):
            self.findings.damaged(log.name, 0, "", "is not in the ledger: forged, or the ledger's line was removed")
        elif log.first_head == self.head:
            what = "its run is just beginning or ended before it began, or the ledger's last line was cut off"
            self.findings.unfinished(log.name, f"is not in the ledger: {what}")
        else:
            self.findings.remark(log.name, "is not in the ledger: its run ended before it had begun anything")

    # ---- the head ----

    def _check_head(self) -> None:
        chain = self.ledger
        if self._seal.id is not None and chain.line and chain.key_id is None:
            what = f"is null, and the key given is {self._seal.id}: whoever could write could rewrite it all"
            self.findings.damaged(LEDGER, chain.line, "data.keyId", what)
        if self._expected in (None, self.head):
            return
        what = f"the head is {self.head}, and the one expected is in no line"
        if line := self.expected_line:
            more = chain.line - line
            what = f"the head expected is that of line {line}; {more} {'record was' if more == 1 else 'records were'}"
            what += f" appended since, the head is {self.head}"
        self.findings.damaged(LEDGER, chain.line, "hash", what)
