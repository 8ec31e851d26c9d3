"""Records that somebody chained by hand: what is acted on, or becomes part of a path, is looked at before."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import StateError
from runner.paths import StatePaths
from runner.record.audit import AuditLog
from runner.record.ledger import read_head
from runner.record.recovery import recover
from runner.record.shapes import is_attempt, is_commit, is_head, is_opening, is_record

RECORD = {"v": 1, "seq": 0, "run": "r", "ts": "t", "ev": "e", "data": {}, "prev": "p", "hash": "h"}
HEAD = {"pipeline": "p", "open": ["r"]}
OPENING = {"stages": ["a"]}
ATTEMPT = {"stage": "a", "attempt": 1, "outputs": {"out": "out/a.txt"}}
OUTPUT = {"path": "out/a.txt", "size": 1, "sha256": "0", "inode": "2", "mtimeNs": "3"}
COMMIT = {"stage": "a", "key": "k", "keyVersion": 1, "components": "{}", "tag": "0000aa", "reasons": [],
          "outputs": {"out": OUTPUT}}  # fmt: skip
SOUND = [(is_record, RECORD), (is_head, HEAD), (is_opening, OPENING), (is_attempt, ATTEMPT), (is_commit, COMMIT)]
NO_NAMES = ["", ".", "../../x", "a/b", "a\0", "-x", "a" * 101, "é", None, 5, ["a"]]
NO_PATHS = ["", "/etc/passwd", "../x", "a/../../x", "a\0", None, 5, ["a"]]


@pytest.mark.parametrize(("fits", "sound"), SOUND)
def test_what_runs_write_fits(fits, sound):
    assert fits(sound)


@pytest.mark.parametrize(("fits", "sound"), [pair for pair in SOUND if pair[0] is not is_opening])
def test_nothing_may_be_missing_or_of_another_kind(fits, sound):
    for name in sound:
        assert not fits({key: value for key, value in sound.items() if key != name}), name
        assert not fits({**sound, name: 1.5}), name


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_becomes_part_of_a_path_is_a_name(name):
    assert not is_record({**RECORD, "run": name})
    assert not is_head({**HEAD, "open": [name]})
    assert not is_opening({"stages": [name]})
    assert not is_attempt({**ATTEMPT, "stage": name})
    assert not is_commit({**COMMIT, "stage": name})


@pytest.mark.parametrize("path", NO_PATHS)
def test_no_path_leads_out_of_the_workspace(path):
    assert not is_attempt({**ATTEMPT, "outputs": {"out": path}})
    if isinstance(path, str):
        assert not is_commit({**COMMIT, "outputs": {"out": {**OUTPUT, "path": path}}})


@pytest.mark.parametrize("tag", ["", "0000a", "0000AA", "../../", "0000aa0", 5])
def test_a_tag_is_six_hex_digits(tag):
    assert not is_commit({**COMMIT, "tag": tag})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*RECORD, *HEAD, *COMMIT]), inner),
    max_leaves=8,
)


@given(value=values)
def test_nothing_else_is_a_record_or_stops_the_question(value):
    assert not is_record(value) or RECORD.keys() <= value.keys()
    if isinstance(value, dict):
        assert not any(fits(value) and not value.keys() for fits in (is_head, is_attempt, is_commit))


@pytest.mark.parametrize(
    ("event", "data"),
    [("stage.commit", {**COMMIT, "stage": "../x"}), ("attempt.started", {}), ("run.start", {"stages": 5}),
     ("stage.commit", {**COMMIT, "components": "[" * 100_000}), ("offline.attempt", {"action": "fail"})],
)  # fmt: skip
def test_recovery_refuses_a_record_of_another_shape_and_names_its_line(tmp_path, event, data):
    paths = StatePaths(str(tmp_path / "state"), str(tmp_path / "locks"))
    (tmp_path / "state").mkdir()
    log = AuditLog(paths.audit("r"), "r", lambda: "t")
    log.append("run.start", {})
    log.append(event, data)
    log.close()
    before = (tmp_path / "state/audit_r.jsonl").read_bytes()
    with pytest.raises(StateError, match=r"audit_r\.jsonl:2: the record is damaged\nhint: restore it"):
        recover(paths, str(tmp_path), ("r",), {}, durable=False)
    assert (tmp_path / "state/audit_r.jsonl").read_bytes() == before


@pytest.mark.parametrize("data", [{}, {"pipeline": "p", "open": ["../x"]}, {"pipeline": 5, "open": []}])
def test_so_does_who_reads_the_head_of_the_ledger(tmp_path, data):
    log = AuditLog(str(tmp_path / "ledger"), "r", lambda: "t")
    log.append("opened", data)
    log.close()
    with pytest.raises(StateError, match="ledger:1: the record is damaged"):
        read_head(str(tmp_path / "ledger"))
    assert json.loads((tmp_path / "ledger").read_bytes())["data"] == data
