"""The audit log: appended records are read back, a torn line is cut, nothing is chained to a damaged record."""

import json
import os
import subprocess
import sys

import pytest

from runner.canonical import canonical
from runner.errors import EXIT_STATE, StateError
from runner.record.log import (
    GENESIS,
    AuditLog,
    Position,
    cut_torn_line,
    encode_record,
    intact_record,
    last_record,
    read_records,
)
from runner.record.seal import PLAIN


def stamp():
    return "2026-08-01T01:30:00.000000Z"


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "audit_r.jsonl")


@pytest.fixture
def log(path):
    log = AuditLog(path, "r", stamp)
    yield log
    log.close()


def fill(log, count):
    for number in range(count):
        log.append("e", {"n": number, "name": "é\udce9"})


def lines(path):
    with open(path, "rb") as file:
        return file.read().splitlines(keepends=True)


def test_each_record_is_canonical_and_holds_the_hash_of_the_one_before(path, log):
    fill(log, 3)
    prev = GENESIS
    for seq, line in enumerate(lines(path)):
        record = json.loads(line)
        assert set(record) == {"v", "seq", "run", "ts", "ev", "data", "prev", "hash"}
        assert canonical(record) + b"\n" == line
        assert (record["seq"], record["prev"], record["v"]) == (seq, prev, 1)
        prev = record.pop("hash")
        assert PLAIN.hash(canonical(record)) == prev
    assert log.last == Position(2, prev)


@pytest.mark.parametrize(
    "value", [1 << 53, -(1 << 53), 10**4000, 0.5, [{"deep": 1e300}]], ids=["2^53", "-2^53", "long", "half", "deep"]
)
def test_refuses_to_write_a_number_that_readers_refuse(path, log, value):
    fill(log, 1)
    with pytest.raises(ValueError, match="whole numbers below 2"):
        log.append("e", {"n": value})
    fill(log, 1)
    assert [record["seq"] for record in read_records(path)] == [0, 1]


@pytest.mark.parametrize("spelled", [b"9007199254740992", b"1.5", b"1e3"])
def test_an_invalid_number_is_damage_even_if_the_hash_is_right(spelled):
    line, claimed = encode_record(0, "r", stamp(), "e", {"n": 12345}, GENESIS)
    changed = line.replace(b"12345", spelled)
    body = changed.replace(b'"hash":"%b",' % claimed.encode(), b"").rstrip(b"\n")
    assert intact_record(changed.replace(claimed.encode(), PLAIN.hash(body).encode())) is None


def test_the_domain_tag_keeps_a_record_apart_from_any_other_hash():
    import hashlib

    assert PLAIN.hash(b"{}") != hashlib.sha256(b"{}").hexdigest()


def test_a_log_goes_on_where_it_ended(path, log):
    fill(log, 2)
    again = AuditLog(path, "r", stamp, log.last)
    again.append("more", {}, sync=True)
    again.close()
    assert [record["seq"] for record in read_records(path)] == [0, 1, 2]


def test_refuses_nan_before_it_writes_a_byte(log):
    with pytest.raises(ValueError, match="whole numbers"):
        log.append("e", {"x": float("nan")})
    assert log.last.seq == -1


LINE, _ = encode_record(0, "r", stamp(), "e", {"n": 1, "t": "x"}, GENESIS)


def test_a_flipped_bit_anywhere_is_noticed():
    assert intact_record(LINE) is not None
    for at in range(len(LINE)):
        damaged = LINE[:at] + bytes([LINE[at] ^ 1]) + LINE[at + 1 :]
        assert intact_record(damaged) is None, at


@pytest.mark.parametrize(
    "line",
    [LINE[:-1], LINE.replace(b'{"data"', b'{ "data"'), LINE.replace(b'"n":1', b'"n":1,"n":1'), b" " + LINE,
     LINE.replace(b'"x"', b'"\\u0078"'), b"[]\n", b"\n", b"", b"{}\n", b"[" * 100_000 + b"\n", b"\xff\n"],
)  # fmt: skip
def test_another_spelling_of_the_same_record_is_damage(line):
    assert intact_record(line) is None


@pytest.mark.parametrize("torn", [b"{", LINE[:-1], b"\x00" * 5000, b"x" * 300_000])
def test_a_torn_line_is_passed_over_and_cut(path, log, torn):
    fill(log, 3)
    with open(path, "ab") as file:
        file.write(torn)
    assert last_record(path)["seq"] == 2
    assert cut_torn_line(path) == len(torn)
    assert cut_torn_line(path) == 0
    assert len(list(read_records(path))) == 3


def test_a_log_with_only_a_torn_line_has_no_records(path):
    with open(path, "wb") as file:
        file.write(b"half of the first reco")
    assert last_record(path) is None
    assert cut_torn_line(path) == 22
    assert os.path.getsize(path) == 0


def test_a_log_that_is_not_there_is_empty(path):
    assert (list(read_records(path)), last_record(path), cut_torn_line(path)) == ([], None, 0)


@pytest.mark.parametrize("size", [1, 65_000, 65_536, 70_000, 600_000])
def test_the_last_record_is_found_however_long_it_is(path, log, size):
    fill(log, 1)
    log.append("big", {"x": "y" * size})
    assert last_record(path)["ev"] == "big"
    fill(log, 1)
    assert last_record(path)["seq"] == 2


ENDS = """
import resource, sys
from runner.errors import StateError
from runner.record.log import cut_torn_line, last_record
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
for read in (last_record, cut_torn_line):
    try:
        read(sys.argv[1])
    except StateError as error:
        print(error)
"""


@pytest.mark.full
@pytest.mark.parametrize("whole", [0, 2])
def test_an_overlong_last_line_is_refused_without_reading_it_whole(path, log, whole):
    for number in range(whole):
        log.append("event", {"number": number})
    os.truncate(path, 3 << 30)
    read = subprocess.run([sys.executable, "-c", ENDS, path], check=False, capture_output=True, text=True, timeout=60)
    assert read.stderr == ""
    assert read.stdout.count(f"{path}: ends with a line that is longer than any run writes") == 2
    assert os.stat(path).st_size == 3 << 30


def test_reading_ends_at_damage_and_the_last_record_must_be_sound(path, log):
    fill(log, 4)
    whole = lines(path)
    with open(path, "wb") as file:
        file.write(b"".join([*whole[:2], whole[2].replace(b'"n":2', b'"n":9'), whole[3]]))
    assert [record["seq"] for record in read_records(path)] == [0, 1]
    with open(path, "wb") as file:
        file.write(b"".join([*whole[:3], whole[3].replace(b'"n":3', b'"n":9')]))
    with pytest.raises(StateError, match="the record is damaged"):
        last_record(path)


def newer(*, known_hash):
    body = {"v": 2, "seq": 0, "run": "r", "ts": stamp(), "ev": "e", "data": {}, "prev": GENESIS}
    digest = PLAIN.hash(canonical(body)) if known_hash else "f" * 128
    return canonical({**body, "hash": digest}) + b"\n"


@pytest.mark.parametrize("known_hash", [True, False])
@pytest.mark.parametrize("read", [last_record, lambda path: list(read_records(path))])
def test_a_newer_release_is_reported_even_if_its_hashes_differ(path, known_hash, read):
    with open(path, "wb") as file:
        file.write(newer(known_hash=known_hash))
    with pytest.raises(StateError, match="newer release") as caught:
        read(path)
    assert caught.value.exit_code == EXIT_STATE
    assert path in str(caught.value)


def test_an_unreadable_log_is_reported_with_errno_and_path(tmp_path):
    for read in (last_record, lambda path: list(read_records(path))):
        with pytest.raises(StateError, match="is a directory"):
            read(str(tmp_path))


FULL = """
import resource, signal, sys
from runner.errors import StateError
from runner.record.log import AuditLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = AuditLog(sys.argv[1], "r", lambda: "T")
log.append("first", {})
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    log.append("second", {"x": "y" * 200})
except StateError as error:
    print(error)
print("last", log.last.seq)
"""


def test_an_append_that_does_not_fit_is_undone(path):
    """A file size limit stands for a full disk: the first bytes are written, the rest is refused."""
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True)
    assert "cannot append to: EFBIG" in done.stdout
    assert "last 0" in done.stdout
    assert [record["ev"] for record in read_records(path)] == ["first"]
    assert cut_torn_line(path) == 0
