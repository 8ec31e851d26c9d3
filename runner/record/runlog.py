"""One pass along the log of one run: what its records say of each other, of its metrics, and what the ledger says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from runner.hashing import sha256_of
from runner.record.chain import Chain, lost_its_end
from runner.record.lines import Lines, NotRegularError, read_plain
from runner.record.outputs import CommittedOutputs
from runner.record.spelling import COMMIT, END, OPENINGS, RECOVERED, RESUMED, START, STOPPED
from runner.record.unusable import MOST_METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from runner.record.chain import Record
    from runner.record.findings import Findings
    from runner.record.markers import Markers
    from runner.record.seal import Seal


class Reference(NamedTuple):
    """What a line of the ledger says of a log: the record that it refers to."""

    line: int
    seq: int
    hash: str


class RunLog:
    """The check of one log. `opened` and `end` are the ledger's references to it; no `end`: the run is open.

    `heads` are the hashes of the ledger so far, None when they are in doubt.
    After `check` it tells how many records there are, which events the last ones were, and the ledger heads named; and
    which run has the spec, with its digest, as record 0 says: none of a very long one, None where that is not sound.
    """

    def __init__(
        self, directory: str, run: str, opened: list[Reference], end: Reference | None, seal: Seal,
        findings: Findings, markers: Markers, heads: Container[str] | None,
    ) -> None:  # fmt: skip
        self.run = run
        self.name = f"audit_{run}.jsonl"
        self.records = 0
        self.first_head = ""
        self.spec: tuple[str, str] | None = None
        self.has_spec = False
        self.ended = False
        self.worked = False
        self.rest = 0
        self.chain = Chain(self.name, run, seal, findings)
        self._directory = directory
        self._opened = {one.seq: one for one in opened}
        self._end = end
        self._order = 0
        self._findings = findings
        self._markers = markers
        self._heads = heads
        self._outputs = CommittedOutputs()
        self._event = ""
        self._metrics: str | None = None
        self._doubt = False
        self._events: dict[str, Callable[[Record], None]] = {
            START: self._take_opening, RESUMED: self._take_opening, COMMIT: self._take_commit,
            STOPPED: self._take_stop, END: self._take_stop,
        }  # fmt: skip

    def check(self) -> bool:
        """Read the log to its end; False when there is none, or something else in its place."""
        try:
            lines = Lines(f"{self._directory}/{self.name}")
        except FileNotFoundError:
            return False
        except NotRegularError as error:
            self._findings.damaged(self.name, 0, "", str(error))
            return False
        try:
            for line in lines:
                record = self.chain.take(line)
                self.records += 1
                self._doubt = self._doubt or not self.chain.sound
                if record is None:
                    self._event, self._metrics = "", None
                    self._markers.excuse(self.run, self.chain.last.seq)
                else:
                    self._take(record)
            self._check_rest(lines.rest)
            self._check_references()
            if self._metrics is not None:
                self._check_metrics(lines)
        finally:
            lines.close()
        return True

    def _take(self, record: Record) -> None:
        event, before = record["ev"], self._event
        if event == START and self.chain.line > 1:
            self.chain.damaged("ev", "is run.start, which only record 0 is")
        elif self.chain.line == 1 and event != START and record["seq"] == 0:
            self.chain.damaged("ev", "is not run.start, which record 0 always is")
        elif before == END:
            self.chain.damaged("ev", "comes after run.end, which is always the last")
        elif before == STOPPED and event not in {RESUMED, RECOVERED}:
            self.chain.damaged("ev", "comes after run.stopped, where a run can only be resumed")
        self._event, self._metrics = event, None
        self.worked = self.worked or event not in {START, RESUMED, RECOVERED, END}
        reference = self._opened.get(record["seq"])
        if reference is not None:
            self._refer(record, reference)
        take = self._events.get(event)
        if take is not None:
            take(record)

    def _refer(self, record: Record, reference: Reference) -> None:
        del self._opened[reference.seq]
        self._order = reference.line
        if record["hash"] != reference.hash and self.chain.sound:
            self.chain.damaged("hash", f"is another one in line {reference.line} of the ledger: the log was rewritten")
        elif record["ev"] not in OPENINGS and self.chain.sound:
            self.chain.damaged("ev", f"is no beginning, as line {reference.line} of the ledger has it")

    def _take_opening(self, record: Record) -> None:
        data = record["data"]
        head = data.get("ledgerHead")
        if record["ev"] == START:
            self.first_head = str(head)
        if self.chain.sound and self._heads is not None and head not in self._heads:
            self.chain.damaged("data.ledgerHead", "is no record of the ledger")
        if self.chain.sound:
            self._take_spec(record["ev"], data)

    def _take_spec(self, event: str, data: Record) -> None:
        spec, claimed = data.get("spec"), data.get("specSha256")
        if isinstance(spec, str):
            digest = sha256_of(spec.encode("utf-8", "backslashreplace"))
            if digest != claimed:
                self.chain.damaged("data.specSha256", "is not that of the spec beside it")
                return
        if event == START:
            self.has_spec = isinstance(spec, str)
            self.spec = self.run if self.has_spec else str(data.get("specIn", "")), str(claimed)

    def _take_commit(self, record: Record) -> None:
        if not self.chain.intact:
            self._markers.excuse(self.run, record["seq"])
            return
        try:
            self._outputs.note(record["data"])
            self._markers.take(self.run, record["seq"], record["data"], self._order, closed=self._end is not None)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self.chain.damaged("data", "is not that of a commit")

    def _take_stop(self, record: Record) -> None:
        data = record["data"]
        self.ended = self.ended or record["ev"] == END
        if self._doubt:
            return
        self._metrics = str(data.get("metricsSha256"))
        if data.get("records") != record["seq"] + 1:
            self.chain.damaged("data.records", f"is not {record['seq'] + 1}, as many as there are up to here")
        for field, value in self._outputs.totals().items():
            if data.get(field) != value:
                self.chain.damaged(f"data.{field}", "is not what the commits of this log add up to")

    def _check_rest(self, rest: bytes) -> None:
        self.rest = len(rest)
        if not rest:
            return
        if self._end is not None or lost_its_end(rest):
            self._findings.damaged(self.name, self.chain.line + 1, "", "the line has no line end")

    def _check_references(self) -> None:
        last = self.chain.last
        for reference in self._opened.values():
            what = f"ends with record {last.seq}, line {reference.line} of the ledger refers to record {reference.seq}"
            self._findings.damaged(self.name, self.chain.line, "seq", what)
        end = self._end
        if end is None:
            return
        if self._event != END:
            what = f"the log does not end with run.end, though line {end.line} of the ledger closes the run"
            self._findings.damaged(self.name, self.chain.line, "ev", what)
        elif last.seq != end.seq:
            what = f"ends with record {last.seq}, line {end.line} of the ledger closes it at record {end.seq}"
            self._findings.damaged(self.name, self.chain.line, "seq", what)
        elif last.hash != end.hash:
            what = f"is another one in line {end.line} of the ledger: the log was rewritten"
            self._findings.damaged(self.name, self.chain.line, "hash", what)

    def _check_metrics(self, lines: Lines) -> None:
        """Compare the metrics with the last record; a run that goes on meanwhile replaces them."""
        name = f"metrics_{self.run}.json"
        where = f"line {self.chain.line} of {self.name}"
        try:
            content = read_plain(f"{self._directory}/{name}", MOST_METRICS)
        except FileNotFoundError:
            self._findings.damaged(name, 0, "", f"is missing, and {where} names it")
            return
        except NotRegularError as error:
            self._findings.damaged(name, 0, "", str(error))
            return
        if sha256_of(content) != self._metrics and not lines.grown():
            self._findings.damaged(name, 0, "", f"is not what {where} names (data.metricsSha256): it was changed")
