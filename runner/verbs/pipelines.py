"""Many pipelines at a glance: for each state directory whether it succeeds, is at work, and has an intact record.

What is wrong with one directory becomes part of its summary, so it spoils no other.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from runner.audit.archive import RUNNING, Archive, Past, open_archive, past_invocations
from runner.audit.verify import verify_archive
from runner.errors import (
    EXIT_DAMAGED,
    EXIT_OK,
    EXIT_PENDING,
    EXIT_STATE,
    DamagedRecordError,
    Fault,
    NoRecordError,
    OffpipeError,
    StateError,
)
from runner.record.locks import is_held
from runner.results import SUCCEEDED
from runner.spec.source import missing_hint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runner.audit.verification import Verification
    from runner.engine import Options

DAMAGED, UNREADABLE, NO_RECORD = "damaged", "unreadable", "no record"
_CODES = {DAMAGED: EXIT_DAMAGED, UNREADABLE: EXIT_STATE, NO_RECORD: EXIT_PENDING}  # the worst first


class Summary(NamedTuple):
    """What is known of one pipeline. `directory` is its state directory, absolute; `pipeline` is its name, or "".

    `record` is the verdict of `verify` (intact, incomplete, unchecked or damaged), or one of the words above; `fault`
    says what is wrong. Of the invocations of `run`, `newest` is the last one that is not at work; `success` and
    `failure` are the last that succeeded, and that did not. `archive` and `verified` are None if they are unreadable.
    """

    directory: str
    pipeline: str = ""
    record: str = UNREADABLE
    fault: Fault | None = None
    is_running: bool = False
    newest: Past | None = None
    success: Past | None = None
    failure: Past | None = None
    archive: Archive | None = None
    verified: Verification | None = None

    @property
    def exit_code(self) -> int:
        return _CODES.get(self.record, EXIT_OK)

    @property
    def succeeded_at(self) -> float | None:
        """When the last success ended, in seconds since 1970; None if there is none."""
        return moment(self.success.ended) if self.success else None

    def refused(self, error: OffpipeError) -> Summary:
        """Return this summary with the reason why the record, or a page of it, could not be read."""
        is_damage = isinstance(error, DamagedRecordError)
        record = DAMAGED if is_damage else NO_RECORD if isinstance(error, NoRecordError) else UNREADABLE
        return self._replace(record=record, fault=error.faults[0])


def summarize(target: str, options: Options, public_keys: Sequence[str] = ()) -> Summary:
    """Return the summary of a state directory, or of a spec. Checks the whole record. Raises nothing about it.

    `public_keys` as for `verify`.
    """
    summary = Summary(os.path.abspath(target))
    try:
        if not os.path.lexists(target):
            raise StateError(Fault(target, "no such state directory, and no such spec file", missing_hint(target)))
        archive = open_archive(target, options, needs_key=True)
        name = archive.spec.name if archive.spec else ""
        summary = summary._replace(directory=archive.paths.state_dir, pipeline=name, archive=archive)
        with suppress(StateError):  # which the check of the record reports
            summary = _with_past(summary, archive)
        verified = verify_archive(archive, public_keys=public_keys)
    except OffpipeError as error:
        return summary.refused(error)
    if verified.head is None and not verified.damage:
        return summary.refused(NoRecordError(Fault(target, "no run yet")))
    damage = Fault(verified.damage[0].place, verified.damage[0].what) if verified.damage else verified.fault()
    name = summary.pipeline or verified.pipeline
    return summary._replace(pipeline=name, record=verified.verdict, fault=damage, verified=verified)


def _with_past(summary: Summary, archive: Archive) -> Summary:
    """Return the summary with what the ledger says of invocations."""
    paths = archive.paths
    is_running = is_held(paths)
    newest = success = failure = None
    for past in past_invocations(paths.ledger, is_running=is_running):
        if past.verb != "run" or past.outcome == RUNNING:
            continue
        newest = newest or past
        if past.outcome == SUCCEEDED:
            success = success or past
        else:
            failure = failure or past
        if success and failure:
            break
    return summary._replace(is_running=is_running, newest=newest, success=success, failure=failure)


def exit_code_of(summaries: Iterable[Summary]) -> int:
    """Return 6 if a record is damaged, else 74 if one is unreadable, else 3 if there is none, else 0."""
    records = {summary.record for summary in summaries}
    return next((code for record, code in _CODES.items() if record in records), EXIT_OK)


def moment(time: str | None) -> float | None:
    """Return a time of a record in seconds since 1970; None if there is none, or if it is not a time."""
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(time or "").timestamp()
    return None
