import json

import pytest

from runner.errors import StateError
from runner.paths import StatePaths
from runner.record.audit import Position, read_records
from runner.record.events import CLOSED, NOOP, OPENED
from runner.record.ledger import Ledger, read_head
from runner.record.noop import PlainLedger, write_log
from runner.record.spelling import stamp

HASH = "a" * 64


@pytest.fixture
def paths(tmp_path):
    return StatePaths(str(tmp_path), str(tmp_path / "locks"))


def test_the_log_of_a_run_without_work_is_whole_and_names_its_metrics(paths, tmp_path):
    digest = write_log(paths, "r", b'{"keyId":null}', b'"p"', 3, 0.25, durable=True)
    first, second = read_records(paths.audit("r"))
    assert (first["ev"], first["data"]) == ("run.start", {"keyId": None})
    assert (second["ev"], second["hash"], second["data"]["stages"]) == ("run.end", digest, {"skipped": 3})
    metrics = json.loads((tmp_path / "metrics_r.json").read_bytes())
    assert metrics["totals"] == {"seconds": 0.25, "stages": {"skipped": 3}}


def test_a_run_that_has_a_log_is_left_alone(paths, tmp_path):
    write_log(paths, "r", b"{}", b'"p"', 1, 0.0, durable=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StateError) as caught:
        write_log(paths, "r", b"{}", b'"p"', 2, 0.0, durable=False)
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def ledger_of(paths, *events, pipeline="p"):
    ledger = Ledger(paths.ledger, pipeline, stamp)
    for event, run in events:
        ledger.append(event, run, Position(1, HASH), sync=False)


def test_what_it_appends_to_the_ledger_the_long_way_goes_on_from(paths):
    ledger_of(paths, (OPENED, "a"), (CLOSED, "a"))
    plain = PlainLedger(paths.ledger, b'"p"')
    assert plain.head == read_head(paths.ledger).position.hash
    head = plain.append("b", HASH, durable=True)
    plain.close()
    ledger_of(paths, (NOOP, "c"))
    records = list(read_records(paths.ledger))
    assert [record["seq"] for record in records] == [0, 1, 2, 3]
    assert records[2]["hash"] == head and records[3]["prev"] == head


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"aaaa", b"aaab")),
        lambda path: path.write_bytes(path.read_bytes() + b"x\n"),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"seq":1', b'"seq":2')),
    ],
    ids=["missing", "empty", "torn", "changed", "more", "renumbered"],
)
def test_a_ledger_with_anything_odd_is_not_for_it(paths, tmp_path, spoil):
    ledger_of(paths, (OPENED, "a"), (CLOSED, "a"))
    spoil(tmp_path / "audit_ledger.jsonl")
    with pytest.raises((OSError, ValueError)):
        PlainLedger(paths.ledger, b'"p"')


def test_neither_is_one_with_an_open_run_or_of_another_pipeline(paths):
    ledger_of(paths, (OPENED, "a"))
    with pytest.raises(ValueError):
        PlainLedger(paths.ledger, b'"p"')
    ledger_of(paths, (CLOSED, "a"))
    with pytest.raises(ValueError):
        PlainLedger(paths.ledger, b'"q"')


def test_nor_one_that_another_process_appends_to(paths):
    ledger_of(paths, (OPENED, "a"), (CLOSED, "a"))
    first = PlainLedger(paths.ledger, b'"p"')
    with pytest.raises(ValueError):
        PlainLedger(paths.ledger, b'"p"')
    first.close()
    PlainLedger(paths.ledger, b'"p"').close()
