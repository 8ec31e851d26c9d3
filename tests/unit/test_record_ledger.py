"""The ledger: its last line names the open runs, also if several processes append at once."""

import subprocess
import sys

import pytest

from runner.canonical import GENESIS
from runner.errors import StateError
from runner.record.events import CLOSED, NOOP, OPENED
from runner.record.ledger import Ledger, read_head
from runner.record.log import Position, read_records

END = Position(5, "e" * 64)


def stamp():
    return "T"


@pytest.fixture
def ledger(tmp_path):
    return Ledger(str(tmp_path / "audit_ledger.jsonl"), "demo", stamp)


def test_without_a_ledger_no_run_is_open_and_no_pipeline_is_named(ledger):
    head = read_head(ledger.path)
    assert (head.position, head.pipeline, head.open_runs) == (Position(-1, GENESIS), "", ())


STORIES = {
    ((OPENED, "a"),): ("a",),
    ((OPENED, "a"), (CLOSED, "a")): (),
    ((OPENED, "a"), (OPENED, "b")): ("a", "b"),
    ((OPENED, "a"), (OPENED, "b"), (OPENED, "a")): ("b", "a"),  # resumed: the newest is last
    ((OPENED, "a"), (OPENED, "b"), (CLOSED, "a")): ("b",),
    ((OPENED, "a"), (NOOP, "n")): ("a",),
}


@pytest.mark.parametrize("story", STORIES)
def test_the_last_line_tells_which_runs_are_open_oldest_first(ledger, story):
    for event, run in story:
        ledger.append(event, run, END, sync=True)
    head = read_head(ledger.path)
    assert (head.open_runs, head.pipeline) == (STORIES[story], "demo")


def test_a_run_that_is_not_open_is_not_closed(ledger):
    ledger.append(OPENED, "b", END, sync=False)
    with pytest.raises(StateError, match="was removed or replaced"):
        ledger.append(CLOSED, "a", END, sync=False)
    assert read_head(ledger.path).open_runs == ("b",)


def test_each_line_holds_the_end_of_its_runs_log_and_chains_to_the_one_before(ledger):
    first = ledger.append(OPENED, "a", END, sync=False)
    ledger.append(CLOSED, "a", Position(9, "9" * 64), sync=False)
    opened, closed = read_records(ledger.path)
    assert (opened["data"]["logSeq"], closed["data"]["logHash"]) == (5, "9" * 64)
    assert (closed["prev"], read_head(ledger.path).position.hash) == (first, closed["hash"])


def test_a_torn_line_is_cut_by_the_next_append(ledger):
    ledger.append(OPENED, "a", END, sync=False)
    with open(ledger.path, "ab") as file:
        file.write(b'{"half')
    assert read_head(ledger.path).open_runs == ("a",)
    ledger.append(OPENED, "b", END, sync=False)
    assert read_head(ledger.path).open_runs == ("a", "b")
    assert len(list(read_records(ledger.path))) == 2


def test_nothing_is_appended_to_damage(ledger):
    ledger.append(OPENED, "a", END, sync=False)
    with open(ledger.path, "rb+") as file:
        content = file.read().replace(b'"open":["a"]', b'"open":["b"]')
        file.seek(0)
        file.write(content)
    for attempt in (lambda: read_head(ledger.path), lambda: ledger.append(CLOSED, "a", END, sync=False)):
        with pytest.raises(StateError, match="the record is damaged"):
            attempt()
    with open(ledger.path, "rb") as file:
        assert file.read() == content


WRITER = """
import sys
from runner.record.log import Position
from runner.record.events import CLOSED, OPENED
from runner.record.ledger import Ledger
ledger = Ledger(sys.argv[1], "demo", lambda: "T")
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    ledger.append((OPENED, CLOSED)[number % 2], sys.argv[2], Position(5, "e" * 64), sync=False)
"""


def test_processes_that_append_at_once_make_one_chain(ledger):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, ledger.path, name], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE) for name in "abc"
    ]  # fmt: skip
    assert [writer.stdout.readline() for writer in writers] == [b"ready\n"] * 3
    for writer in writers:
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    assert [(writer.communicate(), writer.returncode)[1] for writer in writers] == [0, 0, 0]
    records = list(read_records(ledger.path))
    assert [record["seq"] for record in records] == list(range(300))
    assert [record["prev"] for record in records] == [GENESIS, *(record["hash"] for record in records[:-1])]
    assert read_head(ledger.path).open_runs == ()
