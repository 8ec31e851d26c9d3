"""A state file that a run can do without: read whole, or counted as missing and told; nothing is waited for."""

import os
import socket

import pytest

from runner.errors import StateError
from runner.record.unusable import read_usable


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "file")


def read(path, most=100):
    told = {}
    content = read_usable(path, most, told.__setitem__)
    assert set(told) <= {path}
    return content, told.get(path)


def put(path, content):
    with open(path, "wb") as file:
        file.write(content)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100])
def test_a_file_is_read_whole(path, content):
    put(path, content)
    assert read(path) == (content, None)


def test_what_is_missing_is_nothing_to_tell(path):
    assert read(path) == (None, None)


def bind(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)


def link(path):
    put(f"{path}.real", b"x")
    os.symlink(f"{path}.real", path)


OTHERS = {
    "a directory": os.mkdir, "a FIFO": os.mkfifo, "a symbolic link": link, "a socket": bind,
    "a character device": lambda path: os.mknod(path, 0o20666, os.makedev(1, 5)),  # /dev/zero, which never ends
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_file_is_told(path, kind):
    if kind == "a character device" and os.getuid():
        pytest.skip("only root can make a device")
    OTHERS[kind](path)
    assert read(path) == (None, f"is {kind}, where a file is to be")


@pytest.mark.parametrize("size", [101, 1 << 40])
def test_one_that_is_larger_than_any_is_not_read(path, size):
    put(path, b"")
    os.truncate(path, size)
    content, what = read(path)
    assert content is None
    assert what.startswith("is larger than")


def test_a_disk_that_fails_is_no_damage(tmp_path):
    put(tmp_path / "file", b"")
    with pytest.raises(StateError, match="ENOTDIR"):
        read(str(tmp_path / "file/below"))
