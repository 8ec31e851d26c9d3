"""The summary of a state directory."""

from __future__ import annotations

import pytest

from runner.errors import DamagedRecordError, Fault, NoRecordError, StateError
from runner.verbs.pipelines import Summary, exit_code_of, moment

FAULT = Fault("state", "is odd")


@pytest.mark.parametrize(
    ("error", "record", "code"),
    [(DamagedRecordError, "damaged", 6), (NoRecordError, "no record", 3), (StateError, "unreadable", 74)],
)
def test_an_error_of_one_directory_becomes_its_record_and_exit_code(error, record, code) -> None:
    summary = Summary("/s").refused(error(FAULT))
    assert (summary.record, summary.fault, summary.exit_code) == (record, FAULT, code)


@pytest.mark.parametrize(("records", "code"), [
    (["intact", "incomplete", "unchecked"], 0), (["intact", "no record"], 3), (["no record", "unreadable"], 74),
    (["unreadable", "damaged", "no record"], 6), ([], 0),
])  # fmt: skip
def test_damage_counts_most_then_what_is_unreadable_then_what_is_missing(records, code) -> None:
    assert exit_code_of(Summary("/s", record=record) for record in records) == code


@pytest.mark.parametrize(("time", "seconds"), [("1970-01-01T00:01:00.500000Z", 60.5), ("never", None), (None, None)])
def test_a_time_that_is_none_gives_no_moment(time, seconds) -> None:
    assert moment(time) == seconds
