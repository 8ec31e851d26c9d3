"""Reports of a run, even if the live display fails."""

from __future__ import annotations

import json
import sys

from pipeline_bench import unstamped

from runner.display.reporter import Reporter
from runner.display.streams import STDERR, Stream
from runner.errors import Fault
from runner.results import SKIPPED, SUCCEEDED, StageResult
from runner.spec.load import load_spec


def test_if_rich_fails_plain_lines_remain(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "rich.live", None)
    monkeypatch.delitem(sys.modules, "runner.display.live", raising=False)
    reporter = Reporter(Stream(STDERR), "offpipe log p.json", quiet=False, verbose=False, live=True)
    reporter.redraw()
    reporter.warn(Fault("here", "still said"))
    assert unstamped(capsys.readouterr().err) == "warning: here: still said\n" and reporter.interval is None


def test_reports_the_holder_of_the_lock_while_waiting(capsys) -> None:
    holder = {"pid": 12, "host": "here", "run": "r", "since": "2026-01-01T00:00:00Z"}
    Reporter(Stream(STDERR), "", quiet=False, verbose=False, live=False).waiting(holder)
    expected = "waiting for the lock held by pid 12 on here, run r, since 2026-01-01T00:00:00Z\n"
    assert unstamped(capsys.readouterr().err) == expected


def test_hashing_is_shown_once_it_takes_long(capsys) -> None:
    now = [0.0]
    reporter = Reporter(Stream(STDERR), "", quiet=False, verbose=False, live=True, clock=lambda: now[0])
    drawn = []
    reporter.redraw = lambda: drawn.append(reporter._hashing)  # type: ignore[method-assign]
    for step in range(8):
        now[0] = step * 0.1
        reporter.hashed("big", 800, 100)
    assert drawn[0] == ("big", 600, 800) and len(drawn) <= 3


def test_a_stage_that_runs_again_is_done_once(tmp_path) -> None:
    path = tmp_path / "spec.json"
    stage = {"name": "a", "command": ["true"], "outputs": ["out"]}
    path.write_text(json.dumps({"specVersion": 1, "name": "demo", "stages": [stage]}))
    spec, reporter = load_spec(str(path)), Reporter(Stream(STDERR), "", quiet=False, verbose=False, live=True)
    reporter.redraw = lambda: None  # type: ignore[method-assign]
    reporter.offpipe_run_started(spec, "r", 1, False, {})
    for status in (SKIPPED, SUCCEEDED):
        reporter.offpipe_stage_finished(spec.stages[0], StageResult("a", status))
    (row,) = reporter._foot(0.0)
    assert row.cells[1] == "1 of 1 done"
