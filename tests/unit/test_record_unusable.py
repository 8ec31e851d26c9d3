"""A state file that a run can do without: read whole, or counted as missing and told; nothing is waited for."""

import errno
import os
import socket

import pytest

from runner.errors import StateError
from runner.executor.publishing import wanted_kind
from runner.record.unusable import inode_at, kind_at, read_usable


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


# ---- told without opening it, which a FIFO would hold up -------------------------------------------------------------


def test_names_what_is_there(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    found = {name: kind_at(str(tmp_path / name)) for name in ("file", "link", "fifo", ".", "none", "file/none")}
    assert found == {
        "file": "a file", "link": "a symbolic link", "fifo": "no regular file", ".": "a directory", "none": None,
        "file/none": None,
    }  # fmt: skip


def test_a_slash_asks_for_a_directory(tmp_path):
    assert wanted_kind("w/out/") == kind_at(str(tmp_path))
    assert wanted_kind("w/out") == "a file"


def test_a_refusal_of_the_system_is_no_absence(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr("os.lstat", refuse)
    with pytest.raises(StateError, match="cannot read: EIO"):
        kind_at(str(tmp_path))


def test_an_inode_is_that_of_what_a_link_leads_to(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert inode_at(str(tmp_path / "link")) == inode_at(str(tmp_path / "file")) != inode_at(str(tmp_path))
    assert inode_at(str(tmp_path / "none")) is None
