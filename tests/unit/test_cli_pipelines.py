"""The forms of `runs --summary` that a whole call cannot show."""

from __future__ import annotations

from state_directories import samples

from runner.audit.archive import KILLED, Past
from runner.cli.pipelines import pipelines_lines, prometheus_text
from runner.verbs.pipelines import Summary

ODD = 'a"b\\c\nd\udcff'


def test_labels_are_escaped_as_the_text_format_says() -> None:
    text = prometheus_text([Summary(ODD, "nightly")])
    assert 'directory="a\\"b\\\\c\\nd\\\\xff"' in text
    assert samples(text)["last_success_timestamp_seconds", "nightly"] == 0
    text.encode()


def test_a_directory_that_is_named_twice_has_one_sample() -> None:
    text = prometheus_text([Summary("/s", "nightly"), Summary("/s", "nightly")])
    assert text.count("offpipe_record_intact{") == 1


def test_a_run_that_did_not_end_has_the_code_of_a_kill_and_no_duration() -> None:
    found = samples(prometheus_text([Summary("/s", "nightly", newest=Past("one", KILLED, "2026-11-26T02:00:02Z"))]))
    assert found["last_run_exit_code", "nightly"] == 137 and ("last_run_duration_seconds", "nightly") not in found


def test_names_cannot_control_a_terminal() -> None:
    (line,) = pipelines_lines([Summary("/s\x1b[2J", "nightly")])
    assert "\x1b" not in line
