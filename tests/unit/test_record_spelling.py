import json
import re

import pytest

from runner.canonical import canonical
from runner.record import spelling
from runner.record.audit import intact_record
from runner.record.spelling import GENESIS, hash_plainly, spell, stamp


def test_a_record_is_spelled_as_canonical_json_and_reads_as_one():
    line, digest = spell(b'{"a":1}', "run.start", "r", 0, stamp(), GENESIS, hash_plainly)
    assert line == canonical(json.loads(line)) + b"\n"
    record = intact_record(line)
    assert record is not None
    assert (record["data"], record["hash"], record["prev"]) == ({"a": 1}, digest, "0" * 64)


def test_a_record_is_hashed_by_whoever_it_is_told():
    line, digest = spell(b"{}", "noop", "r", 3, "T", GENESIS, lambda _: "f" * 64)
    assert digest == json.loads(line)["hash"] == "f" * 64


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_999_999, "1970-01-01T00:00:00.001999Z"),
        (86_400 * 10**9 - 1, "1970-01-01T23:59:59.999999Z"),
    ],
)
def test_a_time_is_told_to_the_microsecond_and_never_later_than_it_is(monkeypatch, nanoseconds, expected):
    monkeypatch.setattr(spelling.time, "time_ns", lambda: nanoseconds)
    assert stamp() == stamp() == expected


def test_the_time_goes_on_within_a_second_and_beyond_it():
    times = [stamp() for _ in range(1000)]
    assert times == sorted(times) and all(re.fullmatch(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}\.\d{6}Z", one) for one in times)
