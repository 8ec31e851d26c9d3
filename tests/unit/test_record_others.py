import fcntl
import os

import pytest

from runner.paths import StatePaths
from runner.record.others import has_leftovers, is_held


@pytest.fixture
def lock(tmp_path):
    path = tmp_path / "it.lock"
    path.touch()
    return str(path)


def test_a_lock_is_held_as_long_as_somebody_has_it(lock, tmp_path):
    assert not is_held(lock) and not is_held(str(tmp_path / "none.lock"))
    with open(lock, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert is_held(lock) and is_held(str(tmp_path / "none.lock"), lock)
    assert not is_held(lock)


def test_those_who_look_at_once_do_not_take_each_other_for_a_holder(lock):
    with open(lock, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_held(lock)


@pytest.mark.parametrize("doubtful", [False, True])
def test_of_what_cannot_be_looked_at_it_answers_as_it_is_told(tmp_path, doubtful):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert is_held(str(loop), doubtful=doubtful) is doubtful
    assert has_leftovers(StatePaths(str(loop), ""), doubtful=doubtful) is doubtful


def test_leftovers_are_what_lies_in_the_directory_or_was_put_aside_with_it(tmp_path):
    paths, temporary = StatePaths(str(tmp_path), str(tmp_path)), tmp_path / "tmp"
    assert not has_leftovers(paths, doubtful=True)
    temporary.mkdir()
    assert not has_leftovers(paths, doubtful=True)
    (temporary / "run").mkdir()
    assert has_leftovers(paths)
    os.rename(temporary, f"{temporary}.dead")
    assert has_leftovers(paths)
