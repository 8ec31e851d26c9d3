import os
import sys
import time

import pytest

from runner.decide.noop import MAGIC, Looked, decode, record, record_path, surroundings
from runner.decide.settled import COARSE_NS, TICK_NS

AROUND = ("1", "here")


@pytest.fixture
def looked(tmp_path):
    for name in ("file", "entry", "tree/one", "way/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = Looked()
    found.add(str(tmp_path / "file"))
    found.add(str(tmp_path / "gone"))
    found.entries.add(str(tmp_path / "entry"))
    found.tree(str(tmp_path / "tree"))
    found.listed(str(tmp_path / "nowhere"))
    found.ways.add(str(tmp_path / "way"))
    return found


def later():
    return time.time_ns() + 2 * COARSE_NS


def test_a_record_is_current_until_something_of_it_changes(looked, tmp_path):
    found = decode(record(looked, AROUND, {"n": 1}, began=later()).encode())
    assert found.told == {"n": 1}
    assert found.is_current(AROUND)
    assert not found.is_current((*AROUND, "more"))
    (tmp_path / "way/y").write_text("x")
    assert found.is_current(AROUND), "of a way only the kind counts"


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "file").write_text("y"),
        lambda top: (top / "file").unlink(),
        lambda top: (top / "file").chmod(0o755),
        lambda top: (top / "entry").write_text("y"),
        lambda top: (top / "tree/two").write_text("y"),
        lambda top: (top / "tree/one").write_text("y"),
        lambda top: (top / "gone").write_text("y"),
        lambda top: (top / "gone").symlink_to("entry"),
        lambda top: (top / "nowhere").mkdir(),
        lambda top: (top / "way").rename(top / "away"),
        lambda top: ((top / "way").rename(top / "away"), (top / "way").symlink_to("away")),
    ],
)
def test_every_change_shows(looked, tmp_path, change):
    found = record(looked, AROUND, {}, began=later())
    change(tmp_path)
    assert not found.is_current(AROUND)


def test_what_changed_since_the_plan_or_just_before_is_not_recorded(looked, tmp_path):
    newest = max((tmp_path / name).stat().st_ctime_ns for name in ("file", "entry", "tree", "tree/one"))
    assert record(looked, AROUND, {}, began=newest) is None
    assert record(looked, AROUND, {}, began=newest + TICK_NS // 2) is None
    assert record(looked, AROUND, {}, began=later()) is not None


def test_what_is_gone_or_came_since_is_not_recorded(looked, tmp_path):
    (tmp_path / "gone").write_text("y")
    assert record(looked, AROUND, {}, began=later()) is None
    (tmp_path / "gone").unlink()
    (tmp_path / "entry").unlink()
    assert record(looked, AROUND, {}, began=later()) is None


def test_of_other_bytes_nothing_is_read(looked):
    content = record(looked, AROUND, {}, began=later()).encode()
    for at in range(0, len(content), 7):
        assert decode(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]) is None
    for length in range(0, len(content), 11):
        assert decode(content[:length]) is None
    assert decode(content + b"x") is None
    assert decode(MAGIC) is None


def test_the_surroundings_are_the_interpreter_its_path_and_two_variables(monkeypatch):
    before = surroundings((), "1")
    assert surroundings((), "1") == before
    assert surroundings(("w",), "1") != before and surroundings((), "2") != before
    monkeypatch.setenv("PATH", "/other")
    assert surroundings((), "1") != before
    monkeypatch.undo()
    monkeypatch.setattr(sys, "path", [*sys.path, "/more"])
    assert surroundings((), "1") != before


def test_the_record_is_beside_the_spec_or_below_the_workspace():
    assert record_path("/a/spec.json", None) == "/a/.offpipe/noop-spec.json"
    assert record_path("/a/spec.json", "w") == os.path.abspath("w/.offpipe/noop-spec.json")
