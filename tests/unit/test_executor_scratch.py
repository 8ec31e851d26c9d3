"""Scratch directories: each attempt gets an empty one, without files of another attempt."""

from __future__ import annotations

import os

import pytest

from runner.executor.scratch import ScratchPool


@pytest.fixture
def pool(tmp_path):
    return ScratchPool(str(tmp_path / "tmp"))


def test_two_attempts_at_once_have_two_directories(pool):
    assert pool.take() != pool.take()


def test_a_directory_that_its_attempt_left_empty_is_used_again(pool):
    first = pool.take()
    pool.give_back(first, lists=[])
    assert pool.take() == first
    assert os.listdir(first) == []


def test_what_an_attempt_left_is_gone_before_the_next_one(pool, tmp_path):
    first = pool.take()
    (tmp_path / "list").write_text("x")
    os.makedirs(f"{first}/deep/deeper")
    pool.give_back(first, lists=[str(tmp_path / "list")])
    assert not os.path.exists(first)
    assert not (tmp_path / "list").exists()
    assert os.listdir(pool.take()) == []


def test_a_directory_without_access_is_not_used_again(pool):
    first = pool.take()
    os.chmod(first, 0)
    pool.give_back(first, lists=[])
    assert os.stat(pool.take()).st_mode & 0o700 == 0o700


def test_files_left_in_a_reused_directory_are_noticed(pool):
    for _ in range(2):
        first = pool.take()
        pool.give_back(first, lists=[])
    assert pool.take() == first
    with open(f"{first}/left", "w") as file:
        file.write("x")
    pool.give_back(first, lists=[])
    assert not os.path.exists(first)


def test_a_link_that_an_attempt_put_in_its_place_is_not_handed_out(pool, tmp_path):
    first = pool.take()
    os.rmdir(first)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", first)
    pool.give_back(first, lists=[])
    assert not os.path.islink(pool.take())
    assert (tmp_path / "elsewhere").is_dir()


def test_a_directory_that_got_files_meanwhile_is_not_handed_out(pool):
    first = pool.take()
    pool.give_back(first, lists=[])
    with open(f"{first}/late", "w") as file:
        file.write("x")
    assert os.listdir(pool.take()) == []
