"""Equal values have equal canonical bytes, and different values have different ones."""

import json
import os
import re
import subprocess
import sys
import time

import pytest
from pipeline_bench import ROOT

from runner.canonical import GENESIS, canonical, digest, parsed, spell, stamp
from runner.record.log import intact_record
from runner.record.seal import PLAIN


def test_keys_are_sorted_and_there_is_no_white_space():
    assert canonical({"b": [1, None], "a": {"d": True, "c": "ü"}}) == '{"a":{"c":"ü","d":true},"b":[1,null]}'.encode()


def test_the_order_of_keys_does_not_matter():
    assert digest({"a": 1, "b": {"c": 2, "d": 3}}) == digest({"b": {"d": 3, "c": 2}, "a": 1})


def test_numbers_strings_and_booleans_are_kept_apart():
    values = [1, 1.0, "1", True, None, "None", [1], {"1": 1}, 0, -0.0, 0.0, False, ""]
    assert len({canonical(value) for value in values}) == len(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_a_value_that_json_does_not_have_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        canonical(value)


@pytest.mark.parametrize("text", [os.fsdecode(b"caf\xe9"), "\u2028", "\x00\x1f\x7f", "\U0001f600", "\\udce9", '"'])
def test_any_name_can_be_written_and_read_back(text):
    spelled = canonical({text: text})
    assert json.loads(spelled) == {text: text}
    assert canonical(json.loads(spelled)) == spelled


def test_an_escape_written_out_is_not_the_character():
    assert canonical("\udce9") != canonical("\\udce9")


@pytest.mark.parametrize("number", [2**53 + 1, -(10**30), 1e22, 5e-324, 0.1, 1e16])
def test_numbers_survive_being_written_and_read(number):
    assert canonical(json.loads(canonical(number))) == canonical(number)


@pytest.mark.parametrize("value", [None, 1.5, -0.0, 10**30, "\udcff", {"b": [1, {}], "a": "\u2028"}])
def test_canonical_bytes_can_be_parsed(value):
    assert parsed(canonical(value)) == value


@pytest.mark.parametrize("content", [b"NaN", b"[Infinity]", b"-Infinity", b"1e400", b"", b"{", b"\xff", b"1" * 5000])
def test_anything_without_canonical_bytes_is_not_parsed(content):
    with pytest.raises(ValueError):
        parsed(content)


# ---- records ---------------------------------------------------------------------------------------------------------


def test_a_record_is_a_line_of_canonical_json():
    line, digest = spell({"a": 1}, "run.start", "r", 0, stamp(), GENESIS, PLAIN.hash)
    assert line == canonical(json.loads(line)) + b"\n"
    record = intact_record(line)
    assert record is not None
    assert (record["data"], record["hash"], record["prev"]) == ({"a": 1}, digest, "0" * 64)


def test_a_record_is_hashed_by_the_given_function():
    line, digest = spell({}, "noop", "r", 3, "T", GENESIS, lambda _: "f" * 64)
    assert digest == json.loads(line)["hash"] == "f" * 64


@pytest.mark.parametrize(
    ("nanoseconds", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_999_999, "1970-01-01T00:00:00.001999Z"),
        (86_400 * 10**9 - 1, "1970-01-01T23:59:59.999999Z"),
    ],
)
def test_a_time_stamp_has_microseconds_and_is_never_in_the_future(monkeypatch, nanoseconds, expected):
    monkeypatch.setattr(time, "time_ns", lambda: nanoseconds)
    assert stamp() == stamp() == expected


def test_time_stamps_never_go_back():
    times = [stamp() for _ in range(1000)]
    assert times == sorted(times) and all(
        re.fullmatch(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}\.\d{6}Z", text) for text in times
    )


def test_json_that_is_cut_anywhere_is_a_value_error_even_before_json_is_loaded():
    whole = '{"a":["b\\\\",1.5,{}]}'
    program = """import sys
from runner.canonical import parsed
for end in range(len(sys.argv[1])):
    try:
        sys.exit(f"{end}: {parsed(sys.argv[1][:end].encode())}")
    except ValueError:
        pass
print("json.decoder" in sys.modules)
"""
    command = [sys.executable, "-S", "-c", program, whole]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")
