"""The files that a run with nothing to do writes, and which ledgers it leaves to a full run."""

from __future__ import annotations

import json
import os

import pytest

from runner.canonical import stamp
from runner.errors import StateError
from runner.hashing import sha256_of
from runner.noop import MALFORMED, ledger_end, write_run
from runner.paths import StatePaths
from runner.reading import NotRegularError
from runner.record.events import CLOSED, NOOP, OPENED, PRUNED
from runner.record.ledger import Ledger, read_head
from runner.record.log import Position, read_records

HASH = "a" * 64
FIRST = {"keyId": None, "pipeline": "p"}


@pytest.fixture
def state(tmp_path):
    return StatePaths(str(tmp_path), str(tmp_path / "locks"))


def recorded(state, run="r", close=lambda _, digest: digest, stages=3, *, durable=False):
    return write_run(state, run, FIRST, stages, 0.25, close, durable=durable)


def test_the_log_of_a_run_without_work_is_whole_and_names_its_metrics(state, tmp_path):
    digest = recorded(state, durable=True)
    first, second = read_records(state.audit("r"))
    assert (first["ev"], first["data"]) == ("run.start", FIRST)
    assert (second["ev"], second["hash"], second["data"]["stages"]) == ("run.end", digest, {"skipped": 3})
    metrics = (tmp_path / "metrics_r.json").read_bytes()
    assert json.loads(metrics)["totals"] == {"seconds": 0.25, "stages": {"skipped": 3}}
    assert second["data"]["metricsSha256"] == sha256_of(metrics)


def test_a_run_that_has_a_log_is_left_alone(state, tmp_path):
    recorded(state)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StateError) as caught:
        recorded(state, stages=2)
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_that_the_ledger_refuses_leaves_nothing(state, tmp_path):
    def refuse(_last, _digest):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        recorded(state, close=refuse)
    assert list(tmp_path.iterdir()) == []


def ledger_of(state, *events, pipeline="p"):
    ledger = Ledger(state.ledger, pipeline, stamp)
    for event, run in events:
        ledger.append(event, run, Position(1, HASH), sync=False)


def test_the_end_of_the_ledger_is_what_a_full_run_reads(state):
    ledger_of(state, (OPENED, "a"), (CLOSED, "a"), (NOOP, "b"))
    assert ledger_end(state.ledger, "p", "") == read_head(state.ledger).position


def test_a_run_refers_to_no_spec_that_a_prune_is_removing(state):
    ledger_of(state, (NOOP, "b"))
    Ledger(state.ledger, "p", stamp).append(PRUNED, "c", None, sync=False, runs=["b"])
    assert ledger_end(state.ledger, "p", "a")[0] == 1
    with pytest.raises(ValueError):
        ledger_end(state.ledger, "p", "b")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"aaaa", b"aaab")),
        lambda path: path.write_bytes(path.read_bytes() + b"x\n"),
        lambda path: path.write_bytes(path.read_bytes() + b"\n"),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"seq":1', b'"seq":2')),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"seq":1', b'"seq": 1')),
        lambda path: path.write_bytes(b"null\n"),
        lambda path: path.write_bytes(b'{"data":7,"ev":1,"prev":2,"run":3,"seq":4,"ts":5}\n'),
        lambda path: path.write_bytes(b"[" * 5000 + b"\n"),
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: path.unlink(),
    ],
    ids=[
        "empty", "torn", "changed", "more", "an empty line", "renumbered", "spaced", "no record", "odd fields", "deep",
        "a FIFO", "missing",
    ],
)  # fmt: skip
def test_an_unusual_ledger_needs_a_full_run(state, tmp_path, spoil):
    ledger_of(state, (OPENED, "a"), (CLOSED, "a"))
    spoil(tmp_path / "audit_ledger.jsonl")
    with pytest.raises((OSError, NotRegularError, *MALFORMED)):
        ledger_end(state.ledger, "p", "")


def test_a_ledger_with_an_open_run_or_of_another_pipeline_needs_a_full_run(state):
    ledger_of(state, (OPENED, "a"))
    with pytest.raises(ValueError):
        ledger_end(state.ledger, "p", "")
    ledger_of(state, (CLOSED, "a"))
    with pytest.raises(ValueError):
        ledger_end(state.ledger, "q", "")
