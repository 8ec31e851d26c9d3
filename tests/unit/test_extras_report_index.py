"""The rows of the index."""

from __future__ import annotations

import pytest

from runner.audit.archive import Past
from runner.extras.report.index import Row
from runner.verbs.pipelines import Summary


def row(record: str, outcome: str = "", *, is_running: bool = False) -> Row:
    newest = Past("one", outcome, "2026-11-26T02:00:02Z") if outcome else None
    return Row(Summary("/s", record=record, newest=newest, is_running=is_running))


@pytest.mark.parametrize(("given", "outcome", "kind"), [
    (row("intact", "succeeded"), "succeeded", "good"), (row("incomplete", "failed"), "failed", "bad"),
    (row("incomplete", "failed", is_running=True), "running", "open"), (row("intact", "refused"), "refused", "bad"),
    (row("no record"), "no record", "idle"), (row("unreadable", "failed"), "unreadable", "bad"),
    (row("intact"), "no run", "idle"), (row("incomplete", "did not end"), "did not end", "open"),
])  # fmt: skip
def test_a_row_says_how_the_pipeline_is(given, outcome, kind) -> None:
    assert (given.outcome, given.kind) == (outcome, kind)


def test_what_needs_a_person_comes_first() -> None:
    rows = [
        row("damaged", "succeeded"), row("unreadable"), row("no record"), row("incomplete", "failed"),
        row("incomplete", "did not end"), row("intact"), row("intact", "succeeded"),
    ]  # fmt: skip
    rows_as_given = rows[::-1]
    assert sorted(rows_as_given, key=lambda each: each.rank) == rows
