"""`status` finds the last success in any ledger."""

from __future__ import annotations

import os

import pytest
from pipeline_bench import PipelineBench, shell

from runner.engine import Options
from runner.record.events import CLOSED, NOOP, OPENED
from runner.record.ledger import Ledger
from runner.record.log import Position
from runner.verbs.query import status


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    bench.define(shell("a", "true"))
    bench.write("state/files.json", "")
    return bench


def record(bench, event, run, times=1):
    path = str(bench.root / "state" / "audit_ledger.jsonl")
    ledger = Ledger(path, "bench", lambda: f"the time of {run}")
    for _ in range(times):
        for kind in (OPENED, CLOSED) if event == CLOSED else (event,):  # only an open run can be closed
            ledger.append(kind, run, Position(0, "0" * 64), sync=False)


def last_success(bench):
    return status(str(bench.spec), Options()).last_success


def test_no_success_yet(bench):
    assert last_success(bench) is None
    record(bench, OPENED, "r", 3)
    assert last_success(bench) is None


@pytest.mark.parametrize("event", [CLOSED, NOOP])
@pytest.mark.parametrize("later", [0, 1, 400])
def test_the_last_success_is_found_behind_any_number_of_failures(bench, event, later):
    record(bench, CLOSED, "first")
    record(bench, event, "second")
    record(bench, OPENED, "third", later)
    with open(bench.root / "state" / "audit_ledger.jsonl", "ab") as ledger:
        ledger.write(b'{"data":{},"ev":"closed","ha')  # torn
    assert last_success(bench) == ("second", "the time of second")


def test_a_damaged_record_hides_no_later_success(bench):
    for run in ("first", "second"):
        record(bench, CLOSED, run)
    record(bench, OPENED, "third", 3)
    path = bench.root / "state" / "audit_ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"first", b"other"))
    assert last_success(bench) == ("second", "the time of second")


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="needs the kernel's count of what was read")
def test_the_search_for_a_success_has_a_bound(bench):
    def read():
        with open("/proc/self/io") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("rchar"))

    record(bench, OPENED, "r", 3)
    path = bench.root / "state" / "audit_ledger.jsonl"
    lines = path.read_bytes()
    with open(path, "wb") as ledger:  # 256 MiB of zeros, then the records
        ledger.truncate(1 << 28)
        ledger.seek(0, os.SEEK_END)
        ledger.write(b"\n" + lines)
    before = read()
    assert last_success(bench) is None and read() - before < 1 << 25
