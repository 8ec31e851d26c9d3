"""The key: where it may be kept, how it is named, and that only the hashes depend on it."""

import hashlib
import hmac
import os

import pytest

from runner.canonical import GENESIS
from runner.errors import EXIT_INVALID, EXIT_STATE, OffpipeError, StateError, UsageError
from runner.record.events import OPENED
from runner.record.ledger import Ledger, read_head
from runner.record.log import AuditLog, Position, encode_record, last_record, read_chain, read_records
from runner.record.seal import PLAIN, Seal, read_key_file, warning_about

KEY, OTHER = Seal(b"k" * 32), Seal(b"o" * 32)


def test_the_hash_is_the_one_that_anybody_can_compute():
    tagged = b"offpipe audit record v1\n{}"
    assert PLAIN.hash(b"{}") == hashlib.sha256(tagged).hexdigest()
    assert KEY.hash(b"{}") == hmac.new(b"k" * 32, tagged, "sha256").hexdigest()
    assert KEY.id == hashlib.sha256(b"offpipe audit key id v1\n" + b"k" * 32).hexdigest()[:16]
    assert PLAIN.id is None


def test_records_are_checked_by_the_seal_that_they_name():
    assert (KEY.of(None), KEY.of(KEY.id), KEY.of(OTHER.id)) == (PLAIN, KEY, None)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    path.chmod(0o600)
    (tmp_path / "work").mkdir()
    return path


def read(path, tmp_path):
    return read_key_file(str(path), (str(tmp_path / "work"),))


def test_all_bytes_of_the_file_are_the_key(key_file, tmp_path):
    assert read(key_file, tmp_path).id == KEY.id
    key_file.write_bytes(b"k" * 32 + b"\n")
    assert read(key_file, tmp_path).id != KEY.id


@pytest.mark.parametrize("size", [0, 1, 15, (1 << 16) + 1])
def test_a_key_of_a_wrong_size_is_refused(key_file, tmp_path, size):
    key_file.write_bytes(b"k" * size)
    with pytest.raises(UsageError, match="an audit key has 16 to"):
        read(key_file, tmp_path)


def inside(key_file, work):
    return key_file.rename(work / "key")


def link_inside(key_file, work):
    (work / "key").symlink_to(key_file)
    return work / "key"


def link_to_inside(key_file, work):
    key_file.rename(work / "key")
    key_file.symlink_to(work / "key")
    return key_file


def directory_link(key_file, work):
    key_file.rename(work / "key")
    (work.parent / "elsewhere").symlink_to(work)
    return work.parent / "elsewhere" / "key"


def dots(key_file, work):
    key_file.rename(work / "key")
    return work.parent / "work" / ".." / "work" / "key"


def hard_link(key_file, work):
    os.link(key_file, work / "key")
    return key_file


@pytest.mark.parametrize("place", [inside, link_inside, link_to_inside, directory_link, dots, hard_link])
def test_a_key_inside_the_workspace_is_refused_under_whatever_name(key_file, tmp_path, place):
    path = place(key_file, tmp_path / "work")
    with pytest.raises(UsageError, match="the audit key") as caught:
        read(path, tmp_path)
    assert caught.value.exit_code == EXIT_INVALID
    assert "k" * 16 not in str(caught.value)


def test_a_workspace_that_is_named_through_a_link_hides_no_key(key_file, tmp_path):
    key_file.rename(tmp_path / "work/key")
    (tmp_path / "alias").symlink_to(tmp_path / "work")
    with pytest.raises(UsageError, match="is inside"):
        read_key_file(str(tmp_path / "work/key"), (str(tmp_path / "alias"),))


def test_a_name_that_only_begins_like_the_workspace_is_outside(key_file, tmp_path):
    (tmp_path / "work-key").write_bytes(b"k" * 32)
    assert read(tmp_path / "work-key", tmp_path).id == KEY.id


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "device"])
def test_a_key_path_that_is_no_file_is_refused_without_waiting(tmp_path, kind):
    path = tmp_path / "key"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = "/dev/zero"
    with pytest.raises(OffpipeError) as caught:
        read(path, tmp_path)
    assert caught.value.exit_code == EXIT_STATE


@pytest.mark.parametrize(
    ("mode", "warned"), [(0o600, False), (0o400, False), (0o640, False), (0o644, True), (0o660, True)]
)
def test_a_key_that_others_can_read_is_warned_about(key_file, mode, warned):
    key_file.chmod(mode)
    assert bool(warning_about(str(key_file))) == warned


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        (0o604, "other users may read the audit key (mode 604)"),
        (0o602, "other users may change the audit key (mode 602)"),
        (0o660, "other users may change the audit key (mode 660)"),
        (0o646, "other users may read and change the audit key (mode 646)"),
    ],
)
def test_the_warning_names_the_rights_and_the_remedy(key_file, mode, what):
    key_file.chmod(mode)
    warning = warning_about(str(key_file))
    assert (warning.what, warning.hint) == (what, f"chmod 600 {key_file}")


# ---- logs and the ledger ---------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path):
    path = str(tmp_path / "audit_r.jsonl")
    log = AuditLog(path, "r", lambda: "T", seal=KEY)
    log.append("run.start", {"keyId": KEY.id})
    log.append("e", {"n": 1})
    log.append("e", {"n": 2})
    log.close()
    return path


def test_a_keyed_log_is_read_with_its_key_and_in_form_without_any(log):
    for seal in (KEY, PLAIN, OTHER):
        assert [record["seq"] for record in read_chain(log, seal)] == [0, 1, 2]
        assert [record["seq"] for record in read_records(log, seal)] == [0, 1, 2]
        assert last_record(log, seal)["seq"] == 2


def test_a_changed_record_of_a_keyed_log_is_noticed_with_the_key_and_in_form_without(log):
    def put(old, new):
        with open(log, "rb") as file:
            content = file.read()
        with open(log, "wb") as file:
            file.write(content.replace(old, new))

    put(b'"n":2', b'"n":3')
    assert (len(list(read_records(log, KEY))), len(list(read_records(log, PLAIN)))) == (2, 3)
    with pytest.raises(OffpipeError, match="the record is damaged"):
        last_record(log, KEY)
    put(b'"n":3', b'"n": 3')
    assert len(list(read_records(log, PLAIN))) == 2


def ledger(tmp_path, *seals):
    """Write a ledger with one record per seal, chained as a process without the key can."""
    path, prev = str(tmp_path / "ledger"), GENESIS
    with open(path, "wb") as file:
        for seq, seal in enumerate(seals):
            data = {"pipeline": "p", "open": [], "logSeq": 0, "logHash": "a" * 64, "keyId": seal.id}
            line, prev = encode_record(seq, f"r{seq}", "T", "noop", data, prev, seal)
            file.write(line)
    return path


@pytest.mark.parametrize("seals", [(KEY, PLAIN), (KEY, KEY, PLAIN, PLAIN), (PLAIN, KEY, PLAIN), (KEY, OTHER)])
@pytest.mark.parametrize("seal", [KEY, PLAIN])
def test_once_keyed_a_ledger_stays_keyed(tmp_path, seals, seal):
    path = ledger(tmp_path, *seals)
    with pytest.raises(StateError, match="the record is not keyed"):
        Ledger(path, "p", lambda: "T", seal).append(OPENED, "c", Position(0, "a" * 64), sync=False)
    with pytest.raises(StateError, match="the record is not keyed"):
        read_head(path, seal)


def test_the_key_shows_the_first_unkeyed_record_however_many_follow(tmp_path):
    path = ledger(tmp_path, PLAIN, KEY, PLAIN, PLAIN, PLAIN)
    with pytest.raises(StateError, match="the record is not keyed") as caught:
        read_head(path, KEY)
    assert caught.value.faults[0].where == f"{path}:3"


@pytest.mark.parametrize(("before", "behind"), [(KEY, PLAIN), (PLAIN, KEY), (KEY, OTHER)])
@pytest.mark.parametrize("also", [0, 1])
def test_a_log_is_keyed_to_its_end_or_not_at_all(tmp_path, before, behind, also):
    path, prev = str(tmp_path / "log"), GENESIS
    with open(path, "wb") as file:
        for seq, seal in enumerate((before, behind, *[behind] * also)):
            line, prev = encode_record(seq, "r", "T", "run.resumed", {"keyId": seal.id}, prev, seal)
            file.write(line)
    with pytest.raises(StateError, match="keyed"):
        list(read_chain(path, KEY))
    if before is KEY:
        assert len(list(read_records(path, KEY))) == 1
        with pytest.raises(StateError, match="keyed"):
            last_record(path, KEY)


def test_a_keyed_ledger_is_continued_with_its_key_only(tmp_path):
    path = str(tmp_path / "ledger")
    Ledger(path, "p", lambda: "T").append(OPENED, "a", Position(0, "a" * 64), sync=False)
    Ledger(path, "p", lambda: "T", KEY).append(OPENED, "b", Position(0, "a" * 64), sync=False)
    assert read_head(path, KEY).key_id == KEY.id
    for seal, words in ((PLAIN, "but no key is given"), (OTHER, f"but the key given is {OTHER.id}")):
        with pytest.raises(UsageError, match=f"is keyed with {KEY.id}, {words}") as caught:
            Ledger(path, "p", lambda: "T", seal).append(OPENED, "c", Position(0, "a" * 64), sync=False)
        assert caught.value.exit_code == EXIT_INVALID
    assert read_head(path).open_runs == ("a", "b")
