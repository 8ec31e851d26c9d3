"""The record of a pipeline for readers, who name a spec or a state directory, which may be a copy.

The events of a run come from its log. What `runs`, `status` and reports show of invocations comes from the lines of the
ledger alone, without a check of hashes, and without damaged lines.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.audit.run_log import LEDGER
from runner.engine.session import read_seal
from runner.errors import Fault, NoRecordError
from runner.paths import StatePaths
from runner.record import events, files
from runner.record.invocation import MOST_WARNINGS, SIGNALLED
from runner.record.ledger import newest_first
from runner.record.log import Record, read_records
from runner.results import FAILED, INTERRUPTED, REFUSED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.engine import Options
    from runner.record.seal import Seal
    from runner.spec.model import Spec

RUNNING, KILLED = "running", "did not end"
_READ = 1 << 24  # bytes at the end that are searched for the last success: more than 20,000 runs
_MORE = re.compile(r"and ([1-9][0-9,]{0,20}) more")
_OURS = ("audit_", "stage_", "metrics_")


class Archive(NamedTuple):
    """The state of a pipeline; `spec` is None if only the state directory was given.

    `shown` is the state directory as messages name it. Without the key of keyed records, `seal` is PLAIN, and their
    hashes are not checked.
    """

    paths: StatePaths
    seal: Seal
    spec: Spec | None = None
    shown: str = ""

    def events(self, run: str) -> Iterator[tuple[Record, events.Event | None]]:
        """Yield each record of a run with its event, or with None if its payload has no known shape."""
        for record in read_records(self.paths.audit(run), self.seal):
            try:
                yield record, events.decode(record["ev"], record["data"])
            except ValueError:
                yield record, None


def open_archive(target: str, options: Options, *, needs_key: bool = False, signs: bool = False) -> Archive:
    """Return the archive of a spec, or of a state directory. Raises NoRecordError for a directory without state.

    Of the disk, only the state counts: nothing in the place of an output keeps anyone from reading the record.
    `needs_key` and `signs` are those of `read_seal`, which raises more errors with them.
    """
    if os.path.isdir(target):
        _require_state(target)
        directory = os.path.abspath(target)
        seal = read_seal(directory, needs_key=needs_key, signs=signs)
        return Archive(StatePaths(directory, directory), seal, shown=target)  # the locks may be anywhere
    spec = options._replace(checks_disk=False).load(target)
    seal = read_seal(spec.workspace, spec.root, spec.paths.state_dir, needs_key=needs_key, signs=signs)
    return Archive(spec.paths, seal, spec, os.path.relpath(spec.paths.state_dir))


def _require_state(directory: str) -> None:
    """Raise NoRecordError for a directory without state, because such a directory must not count as intact."""
    with files.naming(directory, "list"):
        if any(name.startswith(_OURS) for name in os.listdir(directory)):
            return
    below = os.path.join(directory, "state")
    hint = f"did you mean {below}?" if os.path.lexists(f"{below}/{LEDGER}") else "name a spec, or its state directory"
    raise NoRecordError(Fault(directory, f"is not a state directory: it has no {LEDGER}", hint))


# ---- invocations -----------------------------------------------------------------------------------------------------


class Past(NamedTuple):
    """An invocation on record. Times are as in records.

    `outcome`: succeeded, failed, interrupted, running, or did not end; refused, if it ended before it opened a run.
    `part` counts the invocations that worked on the run; None if this one had nothing to do. `stages` are counts by
    status, `fault` is the first one, `warnings` are those that the ledger keeps. `by`: the run that did the work of
    this one, which went no further. `pruned`: when the files of the run were removed, "" if they were not.
    """

    run: str
    outcome: str
    began: str
    ended: str | None = None
    exit_code: int | None = None
    part: int | None = None
    verb: str = "run"
    stages: Mapping[str, int] = {}
    fault: str | None = None
    warnings: Sequence[str] = ()
    by: str | None = None
    pruned: str = ""

    @property
    def name(self) -> str:
        """The run, with the number of its part from the second on: `RUN#2`."""
        return f"{self.run}#{self.part}" if self.part and self.part > 1 else self.run

    @property
    def warning_count(self) -> int:
        """The number of warnings, including those that the ledger only counts."""
        kept, more = self.warnings[:MOST_WARNINGS], map(_MORE.fullmatch, self.warnings[MOST_WARNINGS:])
        return len(kept) + sum(int(found[1].replace(",", "")) for found in more if found)

    @property
    def seconds(self) -> float | None:
        """The time from begin to end; None if either is unknown."""
        with suppress(ValueError, TypeError):  # no time, or one without a zone
            return (datetime.fromisoformat(self.ended or "") - datetime.fromisoformat(self.began)).total_seconds()
        return None


def past_invocations(path: str, *, is_running: bool = False, since: str = "") -> Iterator[Past]:
    """Yield the invocations in a ledger, in the order of their last lines, the newest first, back to the time `since`.

    `is_running`: the newest run that did not end is at work.
    """
    ended: set[tuple[str, object]] = set()
    closed: dict[str, str] = {}  # run -> time, by the next run: it was killed after the end of its log
    by: dict[str, str] = {}
    pruned: dict[str, str] = {}  # run -> time
    for record in newest_first(path):
        event, run, time, data = (record[name] for name in ("ev", "run", "ts", "data"))
        if time < since:
            return
        part, invocation, past = data.get("part"), data.get("invocation"), None
        if event == events.SUPERSEDED:
            by[run] = data.get("by")
        elif invocation:
            ended.add((run, part))
            pruned.update(dict.fromkeys(data.get("runs") or (), time))
            past = _ended(record, part, invocation)
        elif event == events.CLOSED:
            closed[run] = time
        elif event == events.OPENED and run in closed:
            past = Past(run, SUCCEEDED, time, closed.pop(run), 0)
        elif event == events.OPENED and (run, part) not in ended:
            past = Past(run, RUNNING if is_running else KILLED, time, part=part)
            is_running = False
        if past:
            yield past._replace(by=by.pop(run, None), pruned=pruned.get(run, ""))


def _ended(record: Mapping[str, Any], part: int | None, invocation: Mapping[str, Any]) -> Past:
    code, is_refusal = invocation["exitCode"], part is None and record["ev"] == events.ENDED
    outcome = SUCCEEDED if code == 0 else REFUSED if is_refusal else FAILED
    if code > SIGNALLED:
        outcome = INTERRUPTED
    began, verb, stages, warnings = (invocation[name] for name in ("began", "verb", "stages", "warnings"))
    fault = invocation.get("fault")
    return Past(record["run"], outcome, began, record["ts"], code, part, verb, stages, fault, warnings)


def last_run(path: str) -> Mapping[str, Any]:
    """Return the newest line of a ledger that an invocation with a log wrote; empty if there is none."""
    records = (record for record in newest_first(path) if record["ev"] != events.SUPERSEDED)
    return next((record for record in records if "logHash" in record["data"]), {})


def last_success(path: str) -> tuple[str, str] | None:
    """Return the last run that succeeded, and the time of its end."""
    records = (record for record in newest_first(path, _READ) if record["ev"] in (events.CLOSED, events.NOOP))
    return next(((record["run"], record["ts"]) for record in records), None)
