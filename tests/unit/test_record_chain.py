"""A log is a chain: a last line that a crash tore is cut, and all other damage is reported by file and line."""

from __future__ import annotations

import json

import pytest

from runner.errors import StateError
from runner.record.log import AuditLog, Position, cut_torn_line, encode_record, last_record, read_chain, read_records


def written(path, count=5, size=10):
    log = AuditLog(str(path), "run", lambda: "then")
    for number in range(count):
        log.append("event", {"number": number, "text": "x" * size})
    log.close()
    return path.read_bytes().splitlines(keepends=True)


def numbers(records):
    return [record["data"]["number"] for record in records]


def line_of(seq, prev, **fields):
    line, digest = encode_record(seq, "run", "then", "event", {"number": seq}, prev)
    return line.replace(b'"v":1', json.dumps(fields).encode()[1:-1]) if fields else line, digest


def test_a_whole_log_is_read_to_its_end(tmp_path):
    written(tmp_path / "log")
    assert numbers(read_chain(str(tmp_path / "log"))) == [0, 1, 2, 3, 4]
    assert numbers([last_record(str(tmp_path / "log"))]) == [4]


def test_a_log_that_is_not_there_has_no_records(tmp_path):
    assert list(read_chain(str(tmp_path / "log"))) == []
    assert last_record(str(tmp_path / "log")) is None


@pytest.mark.parametrize("size", [10, 100_000], ids=["short lines", "lines longer than what is read at a time"])
def test_a_torn_last_line_is_cut_and_the_rest_is_whole(tmp_path, size):
    path = tmp_path / "log"
    lines = written(path, size=size)
    path.write_bytes(b"".join(lines)[:-7])
    assert numbers([last_record(str(path))]) == [3]
    assert cut_torn_line(str(path)) == len(lines[-1]) - 7
    assert numbers(read_chain(str(path))) == [0, 1, 2, 3]


FLIPPED = {"damaged": lambda lines, at: [*lines[:at], lines[at].replace(b"then", b"them"), *lines[at + 1 :]]}
MOVED = {
    "left out": lambda lines, at: [*lines[:at], *lines[at + 1 :]],
    "doubled": lambda lines, at: [*lines[: at + 1], *lines[at:]],
    "of another chain": lambda lines, at: [*lines[:at], line_of(at, "f" * 64)[0], *lines[at + 1 :]],
}


@pytest.mark.parametrize("change", [*FLIPPED.values(), *MOVED.values()], ids=[*FLIPPED, *MOVED])
@pytest.mark.parametrize("at", range(4))
def test_damage_anywhere_is_refused_by_readers_that_act_on_a_log(tmp_path, change, at):
    path = tmp_path / "log"
    path.write_bytes(b"".join(change(written(path), at)))
    with pytest.raises(StateError) as caught:
        list(read_chain(str(path)))
    (fault,) = caught.value.faults
    assert fault.where in {f"{path}:{at + 1}", f"{path}:{at + 2}"}
    assert fault.what in {"the record is damaged", "the record does not follow the one before it"}
    assert fault.hint
    assert caught.value.exit_code == 74


@pytest.mark.parametrize("size", [10, 100_000])
def test_nothing_is_chained_to_a_last_record_that_is_damaged_or_does_not_follow(tmp_path, size):
    path = tmp_path / "log"
    lines = written(path, size=size)
    path.write_bytes(b"".join(FLIPPED["damaged"](lines, 4)))
    with pytest.raises(StateError, match=r"log:5: the record is damaged\nhint: "):
        last_record(str(path))
    path.write_bytes(b"".join(MOVED["left out"](lines, 3)))
    with pytest.raises(StateError, match=r"log:4: the record does not follow the one before it\nhint: "):
        last_record(str(path))
    path.write_bytes(lines[1])
    with pytest.raises(StateError, match="log:1: the record does not follow"):
        last_record(str(path))


def test_a_log_is_shown_up_to_the_damage(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"".join(FLIPPED["damaged"](written(path), 2)))
    assert numbers(read_records(str(path))) == [0, 1]


@pytest.mark.parametrize("reading", [read_chain, read_records, lambda path: [last_record(path)]])
def test_a_record_of_a_newer_release_is_reported_as_such(tmp_path, reading):
    path = tmp_path / "log"
    path.write_bytes(line_of(0, "0" * 64, v=2)[0])
    with pytest.raises(StateError, match=r"log: was written by a newer release \(v 2, this one knows 1\)"):
        list(reading(str(path)))


def test_a_log_goes_on_where_it_ended(tmp_path):
    path = tmp_path / "log"
    written(path)
    last = last_record(str(path))
    log = AuditLog(str(path), "run", lambda: "then", Position(last["seq"], last["hash"]))
    log.append("event", {"number": 5})
    log.close()
    assert numbers(read_chain(str(path))) == [0, 1, 2, 3, 4, 5]
