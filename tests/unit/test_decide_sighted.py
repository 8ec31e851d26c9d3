"""Whether what was looked at is still as it was."""

from __future__ import annotations

import os
import time

import pytest

from runner.decide.sighted import MOST, Sighted

LATER = 10**10  # ns; what a test has written meanwhile is long settled


@pytest.fixture
def sighted():
    return Sighted(lambda: time.time_ns() + LATER)


@pytest.fixture
def seen(tmp_path, sighted):
    """A directory with a file in it, and a name where nothing is, all looked at."""
    (tmp_path / "file").write_text("one")
    for name in ("", "file", "none"):
        sighted.look(str(tmp_path / name))
    return tmp_path


def test_what_nobody_touched_stands(seen, sighted):
    assert sighted.stands()


def test_nothing_stands_that_could_have_changed_in_the_same_tick(tmp_path):
    sighted = Sighted()
    (tmp_path / "file").write_text("one")
    sighted.look(str(tmp_path / "file"))
    assert not sighted.stands()


def replaced(place):
    (place / "new").write_text("two")
    os.utime(place / "new", ns=(0, (place / "file").stat().st_mtime_ns))
    os.replace(place / "new", place / "file")


@pytest.mark.parametrize(
    "change",
    [
        lambda place: (place / "file").write_text("two"),
        lambda place: os.utime(place / "file", ns=(1, 1)),
        lambda place: (place / "file").unlink(),
        lambda place: (place / "other").write_text(""),
        lambda place: (place / "none").write_text(""),
        replaced,
    ],
    ids=["written", "touched", "gone", "more", "there", "replaced"],
)
def test_a_change_is_seen(seen, sighted, change):
    change(seen)
    assert not sighted.stands()


def test_a_link_is_what_it_leads_to(tmp_path, sighted):
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    (tmp_path / "link").symlink_to("one")
    sighted.look(str(tmp_path / "link"))
    assert sighted.stands()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("two")
    assert not sighted.stands()


def test_where_there_is_much_to_look_at_nothing_is_told(tmp_path, sighted):
    for number in range(MOST):
        sighted.look(str(tmp_path / str(number)))
    assert sighted.stands()
    sighted.look(str(tmp_path / "more"))
    assert not sighted.stands()
