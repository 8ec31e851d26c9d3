"""Anything in the place of a file is reported, without a traceback, a hang or unbounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from audit_bench import LEDGER, State, chained

from runner.audit.findings import KEPT
from runner.paths import StatePaths
from runner.record.events import CLOSED, NOOP, OPENED, RunEnded, encode
from runner.record.ledger import Ledger, read_head
from runner.record.log import AuditLog
from runner.record.state import write_metrics

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[2]
LOG, METRICS, MARKER = "audit_r.jsonl", "metrics_r.json", "stage_a.json"
MIB = 1 << 20


def stamp():
    return "2026-08-01T01:30:00.000000Z"


def make_run(directory, run="r", events=3, size=0):
    """Write a run as the runner does, with `events` records between its first and its last."""
    paths = StatePaths(str(directory), str(directory / "locks"))
    (directory / "tmp").mkdir(parents=True, exist_ok=True)
    ledger = Ledger(paths.ledger, "p", stamp)
    log = AuditLog(paths.audit(run), run, stamp)
    first = log.append("run.start", {"ledgerHead": read_head(ledger.path).position.hash, "keyId": None})
    ledger.append(OPENED, run, first, sync=False)
    for n in range(events):
        log.append("stage.skipped", {"stage": f"stage{n % 50}", "key": f"{n:064x}", "x": "y" * size})
    sha256 = write_metrics(paths, run, {"v": 1}, sync=False)
    end = RunEnded("succeeded", {}, sha256, log.last.seq + 2, *log.outputs.totals())
    ledger.append(CLOSED, run, log.append("run.end", encode(end)), sync=False)
    log.close()


@pytest.fixture
def state(tmp_path):
    make_run(tmp_path / "made")
    return State(tmp_path / "made", tmp_path / "state")


def offpipe_verify(path, **popen):
    command = [sys.executable, "-m", "runner", "verify", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **popen)


LINES = {
    "brackets": b"[" * 100_000,
    "brackets in a record": b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "braces": b'{"data":' * 100_000,
    "a long line": b"x" * (64 * MIB),
    "a long string": b'{"data":"' + b"x" * (64 * MIB) + b'"}',
    "NaN": b'{"data":{"x":NaN}}',
    "Infinity": b'{"data":-Infinity}',
    "a huge number": b"1" * 100_000,
    "a huge exponent": b"1e999999",
    "lone surrogates": b'{"data":{"x":"\\ud800"},"ev":"\\udfff"}',
    "surrogates in UTF-8": b'{"data":"\xed\xa0\x80"}',
    "latin-1": "{'é'}".encode("latin-1"),
    "UTF-16": '{"v":1}'.encode("utf-16"),
    "zeros": b"\0" * 100_000,
    "escapes for a terminal": b'{"\\u001b[2J":1}',
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "text": b'"text"',
    "an empty object": b"{}",
}


@pytest.mark.parametrize("name", [LOG, LEDGER])
@pytest.mark.parametrize("kind", LINES)
def test_a_hostile_line_is_named_and_no_more(state, name, kind):
    state.edit(name, lambda lines: [lines[0], LINES[kind] + b"\n", *lines[1:]])
    faults = state.damage()
    assert (name, 2, "") in faults or any(fault[:2] == (name, 2) for fault in faults)
    assert len([fault for fault in faults if fault[0] == name]) <= 2


@pytest.mark.parametrize("kind", LINES)
def test_hostile_markers_and_metrics_are_named(state, kind):
    for name in (MARKER, METRICS):
        state.file(name).write_bytes(LINES[kind])
        assert [fault[0] for fault in state.damage()] == [name]
        state.file(name).unlink() if name == MARKER else state.file(name).write_bytes(b'{"v":1}\n')


@pytest.mark.parametrize("value", [
    {"stage": 1}, {"stage": "a", "outputs": 7}, {"stage": "a", "outputs": {"x": {}}}, {"stage": [], "outputs": {}},
    {"stage": "a", "outputs": {"x": {"path": 1, "sha256": 2, "size": [], "inode": "x", "mtimeNs": None}}},
    {"stage": "a", "outputs": {}, "components": "[" * 100_000, "key": 1, "keyVersion": "x", "reasons": 3},
])  # fmt: skip
def test_a_commit_that_makes_no_sense_is_named_however_well_it_is_chained(state, value):
    state.file(MARKER).write_text(json.dumps({"stage": "a", "run": "r", "auditSeq": 1}))

    def forge(records):
        records[1].update(ev="stage.commit", data=value)

    state.rewrite(LOG, forge)
    faults = state.damage()
    assert {fault[0] for fault in faults} <= {LOG, MARKER} and (LOG, 5, "hash") in faults


@pytest.mark.parametrize("value", [
    {}, {"open": "r"}, {"open": [1]}, {"logSeq": "0"}, {"logSeq": True, "logHash": 1}, {"pipeline": 3, "open": []},
    {"open": ["r"], "pipeline": "p", "logSeq": -1, "logHash": "x"}, {"keyId": 7}, {"keyId": {}}, {"keyId": "x" * 200},
])  # fmt: skip
@pytest.mark.parametrize("event", ["opened", "closed", "noop", "other"])
def test_ledger_records_that_make_no_sense_are_named_however_well_they_are_chained(state, value, event):
    record = {"data": value, "ev": event, "run": "r", "ts": "T", "v": 1}
    state.put(LEDGER, [*state.lines(LEDGER), *chained([record], state.records(LEDGER))])
    assert any(fault[:2] == (LEDGER, 3) for fault in state.damage())


KINDS = {
    "FIFO": os.mkfifo,
    "link": lambda path: os.symlink("/dev/zero", path),
    "link to a copy": lambda path: os.symlink(path.parent.parent / "made" / path.name, path),
    "link to nothing": lambda path: os.symlink("nowhere", path),
    "link to itself": lambda path: os.symlink(path.name, path),
    "directory": os.mkdir,
    "empty file": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [LOG, LEDGER, METRICS, MARKER])
def test_something_else_in_the_place_of_a_file_is_named(state, name, kind):
    path = state.file(name)
    path.unlink(missing_ok=True)
    KINDS[kind](path)
    shown = offpipe_verify(state.path)
    assert shown.returncode == 6 and f"/{name}" in shown.stdout and shown.stderr == ""


def test_a_fifo_in_the_place_of_an_unknown_log_is_reported(state):
    os.mkfifo(state.file("audit_x.jsonl"))
    assert state.damage() == [("audit_x.jsonl", 0, "")]


def test_control_characters_of_a_hostile_file_do_not_reach_the_terminal(state):
    state.edit(LOG, lambda lines: [*lines[:2], lines[2].replace(b'"r"', b'"\x1b[2J"'), *lines[3:]])
    state.edit(LEDGER, lambda lines: [*lines, b'{"\\u001b[2J\\u202e":1}\n'])
    shown = offpipe_verify(state.path)
    assert shown.returncode == 6 and "\x1b" not in shown.stdout and "\u202e" not in shown.stdout


def test_very_many_faults_are_counted_and_not_all_kept(state):
    state.edit(LOG, lambda lines: [*lines, *[b"x\n"] * 5000])
    found = state.verify().findings
    assert KEPT <= len(found.damage) < KEPT + 3 and found.hidden > 3900


# ---- size ------------------------------------------------------------------------------------------------------------

MEASURED = """
import resource, sys, time
from runner.record.seal import PLAIN
from runner.audit.verification import Verification
began = time.process_time()
found = Verification(sys.argv[1], PLAIN)
found.check()
assert not found.findings.damage
print(found.records, time.process_time() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measured(path):
    shown = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    records, seconds, kib = shown.stdout.split()
    return int(records), float(seconds), int(kib)


def test_100_000_records_take_less_than_3_seconds_and_no_more_memory_than_1_000(tmp_path):
    make_run(tmp_path / "small", events=1000)
    make_run(tmp_path / "large", events=100_000)
    _, _, small = measured(tmp_path / "small")
    records, seconds, large = measured(tmp_path / "large")
    assert records == 100_004
    assert seconds < 3  # of processor time, because other programs run, too
    assert large < small + 2048


def test_many_runs_take_little_memory(tmp_path):
    def make(directory, runs):
        (directory / "tmp").mkdir(parents=True)
        ledger = Ledger(str(directory / LEDGER), "p", stamp)
        for number in range(runs):
            run = f"n{number}"
            log = AuditLog(str(directory / f"audit_{run}.jsonl"), run, stamp)
            paths = StatePaths(str(directory), "")
            sha256 = write_metrics(paths, run, {}, sync=False)
            end = encode(RunEnded("succeeded", {}, sha256, 2, *log.outputs.totals()))
            head = read_head(ledger.path).position.hash if number == 0 else head  # noqa: F821 - of the round before
            log.append("run.start", {"ledgerHead": head, "keyId": None})
            last = log.append("run.end", end)
            head = ledger.append(NOOP, run, last, sync=False)
            log.close()

    make(tmp_path / "few", 20)
    make(tmp_path / "many", 3000)
    assert measured(tmp_path / "many")[2] < measured(tmp_path / "few")[2] + 1024
