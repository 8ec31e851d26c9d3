import os
import time

import pytest

from runner.decide.looked import Looked, record
from runner.decide.noop import decode
from runner.settled import COARSE_NS, TICK_NS

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


def made(looked, tmp_path, told=None, began=None):
    return record(looked, AROUND, told or {}, base=str(tmp_path), began=began or later())


def test_a_record_is_current_until_something_of_it_changes(looked, tmp_path):
    found = decode(made(looked, tmp_path, {"n": 1}).encode())
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
    found = made(looked, tmp_path)
    change(tmp_path)
    assert not found.is_current(AROUND)


def test_what_changed_since_the_plan_or_just_before_is_not_recorded(looked, tmp_path):
    newest = max((tmp_path / name).stat().st_ctime_ns for name in ("file", "entry", "tree", "tree/one"))
    assert made(looked, tmp_path, began=newest) is None
    assert made(looked, tmp_path, began=newest + TICK_NS // 2) is None
    assert made(looked, tmp_path) is not None


def test_what_is_gone_or_came_since_is_not_recorded(looked, tmp_path):
    (tmp_path / "gone").write_text("y")
    assert made(looked, tmp_path) is None
    (tmp_path / "gone").unlink()
    (tmp_path / "entry").unlink()
    assert made(looked, tmp_path) is None


def test_an_entry_that_is_no_link_is_looked_at_once(looked, tmp_path):
    alone = made(looked, tmp_path).encode()
    looked.files.add(str(tmp_path / "entry"))
    assert made(looked, tmp_path).encode() == alone
    (tmp_path / "link").symlink_to("file")
    looked.entries.add(str(tmp_path / "link"))
    alone = made(looked, tmp_path).encode()
    looked.files.add(str(tmp_path / "link"))
    assert len(made(looked, tmp_path).encode()) > len(alone)


def test_what_a_link_among_the_entries_leads_to_is_seen(looked, tmp_path):
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / "link").symlink_to("elsewhere")
    looked.entries.add(str(tmp_path / "link"))
    looked.files.add(str(tmp_path / "link"))
    found = made(looked, tmp_path)
    assert found.is_current(AROUND)
    (tmp_path / "elsewhere").write_text("y")
    assert not found.is_current(AROUND)


def test_names_of_any_bytes_are_looked_at(looked, tmp_path):
    for name in (b"\xff\n", "\u00e4 b".encode()):
        (tmp_path / os.fsdecode(name)).write_text("x")
        looked.entries.add(str(tmp_path / os.fsdecode(name)))
    found = decode(made(looked, tmp_path).encode())
    assert found.is_current(AROUND)
    (tmp_path / os.fsdecode(b"\xff\n")).write_text("y")
    assert not found.is_current(AROUND)


def test_what_lies_elsewhere_than_most_is_looked_at_too(looked, tmp_path):
    base = tmp_path / "tree"
    found = record(looked, AROUND, {}, base=str(base), began=later())
    assert found.is_current(AROUND)
    (tmp_path / "entry").write_text("y")
    assert not found.is_current(AROUND)
