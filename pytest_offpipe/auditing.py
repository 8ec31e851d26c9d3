"""The fixture `offpipe_audit`: whether the record of runs is intact, and whether it tells what a test expects."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_offpipe.asked import refuse, told_plainly
from pytest_offpipe.checks.case import held_where
from pytest_offpipe.reports import RunReport, StageReport
from pytest_offpipe.running import unkeyed
from runner.api.options import Options
from runner.api.verifying import Verified, verify
from runner.errors import EXIT_OK, EXIT_PENDING, Fault, UsageError
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_offpipe.onetest import OneTest
    from runner.record.findings import Damage

    Record = Mapping[str, Any]
    Event = str | Mapping[str, Any]

_SHOWN = 150  # characters of a record's data


class OffpipeAudit:
    """Looks at the audit logs of runs. Where something is wrong, it shows the record, its neighbours, and the field."""

    def __init__(self, test: OneTest) -> None:
        self._test = test

    @told_plainly
    def verify(self, report_or_dir: RunReport | StageReport | str | os.PathLike[str] | None = None) -> Verified:
        """Verify log, ledger, metrics, markers and outputs, as `offpipe verify` does; AssertionError for any damage.

        Of a report, of a state directory (without outputs) or of a spec; without either, of the last run of `offpipe`
        in this test. A run that has not succeeded is incomplete, and no damage; one that has must be complete. What is
        shared with other workers is looked at while none of them has a run going there.
        """
        __tracebackhide__ = True
        if given := isinstance(report_or_dir, str | os.PathLike):
            target, expected = os.fspath(report_or_dir), False
        else:
            report = self._report(report_or_dir)
            target, expected = report.spec, report.exit_code == EXIT_OK
        with contextlib.nullcontext() if given else unkeyed(), held_where(self._test.item.config, target):
            found = verify(target, Options(), outputs=not os.path.isdir(target))
        if found.damage:
            raise AssertionError(_damage_text(found))
        if found.exit_code not in (EXIT_OK, EXIT_PENDING):
            raise AssertionError(str(found.fault()))
        if expected and found.incomplete:
            told = "\n".join(f"  {one.file}: {one.what}" for one in found.incomplete)
            raise AssertionError(f"the run succeeded, and its record is incomplete:\n{told}")
        return found

    @told_plainly
    def assert_events(self, report: RunReport | StageReport | None, *events: Event) -> list[Record]:
        """Assert that these events are in the log of a run in this order, others between them; return their records.

        An event is its name (`"stage.commit"`), or `{"ev": "attempt.finished", "stage": "clean", "exit": 75}`: fields
        other than `ev` are those of its `data`.
        """
        __tracebackhide__ = True
        records = self._report(report).audit
        found: list[Record] = []
        position = 0
        for number, event in enumerate(events):
            wanted = _wanted(event)
            at = next((at for at in range(position, len(records)) if not _mismatches(records[at], wanted)), None)
            if at is None:
                raise AssertionError(_missing_text(records, position, number, wanted))
            found.append(records[at])
            position = at + 1
        return found

    def _report(self, given: RunReport | StageReport | None) -> RunReport:
        if not isinstance(given, RunReport | StageReport | None):
            refuse("offpipe_audit", given, "a RunReport, or a StageReport; to verify, a spec or a state directory too")
        reports = self._test.reports
        if isinstance(given, RunReport):
            return given
        if isinstance(given, StageReport):
            reports = [one for one in reports if one.stages.get(given.name) is given]
        if not reports:
            what = "is of no run in this test" if given is not None else "no run of offpipe in this test"
            raise UsageError(Fault("offpipe_audit", what, "give it a RunReport, or a state directory"))
        return reports[-1]


def _wanted(event: object) -> dict[str, Any]:
    if isinstance(event, str):
        return {"ev": event}
    if not isinstance(event, Mapping) or not isinstance(event.get("ev"), str):
        refuse("an event", event, '"stage.commit", or {"ev": "stage.commit", "stage": "clean"}')
    return dict(event)


class _Mismatch(NamedTuple):
    field: str
    expected: object
    found: object


def _mismatches(record: Record, wanted: Mapping[str, Any]) -> list[_Mismatch]:
    found = []
    for name, value in wanted.items():
        holder, field = (record, name) if name == "ev" else (record["data"], f"data.{name}")
        if name not in holder or holder[name] != value:
            found.append(_Mismatch(field, value, holder.get(name, "nothing")))
    return found


def _missing_text(records: Sequence[Record], position: int, number: int, wanted: Mapping[str, Any]) -> str:
    """Say which event is not there; by what the nearest one of its name differs."""
    lines = [
        f"event {number + 1} is not in the log{' after the one before it' if position else ''}: {_compact(wanted)}"
    ]
    near = [at for at in range(position, len(records)) if records[at]["ev"] == wanted["ev"]]
    if near:
        at = min(near, key=lambda one: len(_mismatches(records[one], wanted)))
        lines.append("the nearest one:")
        lines += _around(records, at)
        lines += [
            f"  {field}: expected {want!r}, found {have!r}" for field, want, have in _mismatches(records[at], wanted)
        ]
        return "\n".join(lines)
    names = list(dict.fromkeys(str(record["ev"]) for record in records))
    if any(not _mismatches(record, wanted) for record in records):
        lines.append("it is there before the one that it should follow:")
        lines += _around(records, position - 1)
    elif wanted["ev"] not in names:
        lines.append(f"there are: {', '.join(names) or 'none at all'}")
        lines.append(did_you_mean(str(wanted["ev"]), names))
    return "\n".join(line for line in lines if line)


def _around(records: Sequence[Record], at: int) -> list[str]:
    shown = range(max(0, at - 1), min(len(records), at + 2))
    return [_row(records[one], f"{records[one]['seq']}", is_it=one == at) for one in shown]


def _damage_text(found: Verified) -> str:
    first = found.damage[0]
    more = len(found.damage) + found.hidden - 1
    lines = [f"damaged: {first.place}: {first.what}", *_lines_around(first)]
    lines += [f"  also {one.place}: {one.what}" for one in found.damage[1:3]]
    if more > 2:
        lines.append(f"  and {more - 2:,} more")
    return "\n".join(lines)


def _lines_around(damage: Damage) -> list[str]:
    """Show the bad line of a log with its neighbours, and the field; nothing of what is no log."""
    if not damage.line:
        return []
    try:
        content = Path(damage.file).read_bytes().splitlines()
    except OSError:
        return []
    rows = []
    for number in range(max(1, damage.line - 1), min(len(content), damage.line + 1) + 1):
        line = content[number - 1]
        try:
            record = json.loads(line)
            rows.append(_row(record, str(number), is_it=number == damage.line))
            if number == damage.line and damage.field:
                rows.append(f"          {damage.field}: {_compact(_field(record, damage.field))}")
        except (ValueError, KeyError, TypeError, AttributeError):
            rows.append(
                f"{'>' if number == damage.line else ' ':>3} {number:>5}  {_cut(line.decode('utf-8', 'replace'))}"
            )
    return rows


def _field(record: Any, path: str) -> object:
    for step in path.split("."):
        record = record.get(step, "nothing")
        if not isinstance(record, dict):
            break
    return record


def _row(record: Record, number: str, *, is_it: bool) -> str:
    return f"{'>' if is_it else ' ':>3} {number:>5}  {record['ev']:<17} {_cut(_compact(record['data']))}"


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
