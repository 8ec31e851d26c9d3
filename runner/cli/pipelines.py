"""The output of `runs --summary`: text for people, JSON for programs, and the text format of Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runner.audit.archive import KILLED
from runner.display.summary import fault_json, fields_json
from runner.display.text import age, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.audit.archive import Past
    from runner.verbs.pipelines import Summary

_KILLED = 137  # the exit code of a shell for a program that was killed
_METRICS = (
    ("offpipe_last_success_timestamp_seconds", "End of the last run that succeeded, since 1970 (0: never)."),
    ("offpipe_last_run_duration_seconds", "Time from begin to end of the last run that ended."),
    ("offpipe_last_run_exit_code", "Exit code of the last run (137: it did not end)."),
    ("offpipe_record_intact", "Whether the record was checked and is intact."),
)


def pipelines_lines(summaries: Sequence[Summary]) -> Iterator[str]:
    """Yield a line for each pipeline."""
    now = time.time()
    rows = [_row(summary, now) for summary in summaries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"


def _row(summary: Summary, now: float) -> tuple[str, ...]:
    newest, failure = summary.newest, summary.failure
    outcome = f"{newest.outcome} {newest.exit_code or ''}".rstrip() if newest else "no run"
    success = "no success"
    if summary.success and (succeeded_at := summary.succeeded_at) is not None:
        success = f"last success {_second(summary.success.ended)}, {age(now - succeeded_at)} ago"
    notes = [summary.fault.line] if summary.fault else []
    if failure:
        code = "" if failure.exit_code is None else f" {failure.exit_code}"
        fault = f": {failure.fault}" if failure.fault else ""
        notes.append(f"last failure {_second(failure.ended or failure.began)}, {failure.outcome}{code}{fault}")
    cells = (
        summary.pipeline or "?",
        summary.record,
        outcome,
        "at work" if summary.is_running else "",
        success,
        summary.directory,
        "; ".join(notes),
    )
    return tuple(map(printable, cells))


def _second(time: str | None) -> str:
    return f"{(time or '')[:19]}Z"


def pipelines_json(summaries: Sequence[Summary]) -> dict[str, object]:
    """Return the summaries as a JSON value."""
    now = time.time()
    return {
        "pipelines": [
            {
                **fields_json(summary, "pipeline", "directory", "record", "exit_code"),
                "working": summary.is_running,
                "lastSuccess": _past_json(summary.success),
                "ageSeconds": None if summary.succeeded_at is None else round(now - summary.succeeded_at, 3),
                "lastFailure": _past_json(summary.failure),
                "lastRun": _past_json(summary.newest),
                "ledgerHead": summary.verified and summary.verified.head,
                "error": summary.fault and fault_json(summary.fault),
            }
            for summary in summaries
        ]
    }


def _past_json(past: Past | None) -> dict[str, object] | None:
    names = ("run", "outcome", "exit_code", "began", "ended", "seconds", "fault")
    return past and fields_json(past, *names)


def prometheus_text(summaries: Sequence[Summary]) -> str:
    """Return the summaries in the text format of Prometheus. What is not known has no sample."""
    samples: dict[str, dict[str, float]] = {name: {} for name, _ in _METRICS}
    for summary in summaries:
        labels = f'pipeline="{_label(summary.pipeline)}",directory="{_label(summary.directory)}"'
        for (name, _), value in zip(_METRICS, _values(summary), strict=True):
            if value is not None:
                samples[name][labels] = value  # once, also if a directory was named twice: the collector refuses twins
    return "".join(
        f"# HELP {name} {help_}\n# TYPE {name} gauge\n"
        + "".join(f"{name}{{{labels}}} {value}\n" for labels, value in samples[name].items())
        for name, help_ in _METRICS
    )


def _values(summary: Summary) -> tuple[float | None, ...]:
    """Return the values of `_METRICS` for one pipeline."""
    newest = summary.newest
    code = None if newest is None else _KILLED if newest.outcome == KILLED else newest.exit_code
    duration = newest.seconds if newest else None
    return summary.succeeded_at or 0, duration, code, int(summary.record in ("intact", "incomplete"))


def _label(value: str) -> str:
    """Return the value of a label. Bytes that are not UTF-8 are escaped twice, so that a reader sees their escape."""
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
