import os
import socket
import sys

import pytest

from runner.errors import SpecError
from runner.spec.source import LARGEST, parse_source, read_source

MINIMAL = b'{"specVersion": 1}'


def fault_of(call, *arguments):
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    (fault,) = caught.value.faults
    return fault


def test_reads_a_regular_file(tmp_path):
    path = tmp_path / "spec.json"
    path.write_bytes(MINIMAL)
    assert read_source(str(path)) == MINIMAL


def test_refuses_a_fifo_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "spec")
    assert fault_of(read_source, str(tmp_path / "spec")).what == "is a FIFO, not a regular file"


def test_refuses_a_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # socket paths are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("spec")
    assert fault_of(read_source, "spec").what == "is a socket, not a regular file"


def test_refuses_directories_and_devices(tmp_path):
    assert fault_of(read_source, str(tmp_path)).what == "is a directory, not a regular file"
    assert fault_of(read_source, "/dev/zero").what == "is a character device, not a regular file"


@pytest.mark.parametrize(
    ("path", "what"),
    [("nowhere.json", "no such spec file"), ("a\0b", "cannot read the spec"), ("/dev/null/x", "cannot")],
)
def test_names_a_path_that_cannot_be_read(path, what):
    assert what in fault_of(read_source, path).what


def test_refuses_more_than_64_mib(tmp_path):
    path = tmp_path / "spec.json"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    assert "larger than 64 MiB" in fault_of(read_source, str(path)).what


def test_accepts_a_utf8_mark():
    assert parse_source("s", b"\xef\xbb\xbf" + MINIMAL) == ({"specVersion": 1}, [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_refuses_other_encodings_by_name(encoding):
    assert "UTF-" in fault_of(parse_source, "s", MINIMAL.decode().encode(encoding)).what


def test_says_where_text_is_not_utf8():
    fault = fault_of(parse_source, "s", b'{\n"a": "\xff"}')
    assert (fault.where, fault.what) == ("s:2", "is not UTF-8: byte 0xff at offset 8")


def test_says_where_text_is_not_json():
    fault = fault_of(parse_source, "s", b'{\n"a": 1,}')
    assert fault.where.startswith("s:2:")
    assert "no comma after the last" in fault.hint


@pytest.mark.parametrize("content", [b"", b" \n"])
def test_says_that_a_file_is_empty(content):
    fault = fault_of(parse_source, "s", content, "begin")
    assert (fault.what, fault.hint) == ("is empty", "begin")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_refuses_deep_nesting_without_a_traceback(opening):
    assert "nested too deeply" in fault_of(parse_source, "s", opening * 100_000).what


def test_places_every_oddity_of_one_file():
    _, findings = parse_source("s", b'{"a": {"k": 1, "k": 2}, "b": [NaN, -Infinity, 1e999], "c": "\\ud800"}')
    assert {finding.at for finding in findings} == {("a", "k"), ("b", 0), ("b", 1), ("b", 2), ("c",)}


def test_places_an_integer_of_too_many_digits():
    digits = b"9" * (sys.get_int_max_str_digits() + 1)
    _, findings = parse_source("s", b'{"a": [1, ' + digits + b"]}")
    assert [finding.at for finding in findings] == [("a", 1)]


def test_keeps_how_numbers_are_written():
    value, _ = parse_source("s", b'[1, 1.0, "1"]')
    assert [type(member) for member in value] == [int, float, str]


def test_a_whole_surrogate_pair_is_a_character():
    assert parse_source("s", b'["\\ud83d\\ude00"]') == (["\U0001f600"], [])
