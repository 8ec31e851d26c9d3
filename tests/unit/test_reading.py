"""A file is read whole or refused with a reason, and only regular files are opened."""

import os
import socket

import pytest

from runner.errors import StateError
from runner.reading import COARSE_NS, LONGEST, TICK_NS, Lines, NotRegularError, is_settled, open_regular
from runner.record.state import read_usable


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "file")


def read(path, most=100):
    notes = {}
    content = read_usable(path, most, notes.__setitem__)
    assert set(notes) <= {path}
    return content, notes.get(path)


def put(path, content):
    with open(path, "wb") as file:
        file.write(content)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100])
def test_a_file_is_read_whole(path, content):
    put(path, content)
    assert read(path) == (content, None)


def test_a_missing_file_gives_no_note(path):
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
def test_anything_but_a_file_is_noted(path, kind):
    if kind == "a character device" and os.getuid():
        pytest.skip("only root can make a device")
    OTHERS[kind](path)
    assert read(path) == (None, f"is {kind}, not a regular file")


@pytest.mark.parametrize("size", [101, 1 << 40])
def test_a_file_that_is_too_large_is_not_read(path, size):
    put(path, b"")
    os.truncate(path, size)
    content, what = read(path)
    assert content is None
    assert what.startswith("is larger than")


def test_a_disk_that_fails_is_no_damage(tmp_path):
    put(tmp_path / "file", b"")
    with pytest.raises(StateError, match="ENOTDIR"):
        read(str(tmp_path / "file/below"))


@pytest.mark.parametrize("kind", OTHERS)
def test_anything_but_a_regular_file_is_not_opened(path, kind):
    if kind == "a character device" and os.getuid():
        pytest.skip("only root can make a device")
    OTHERS[kind](path)
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(NotRegularError) as caught:
        open_regular(path, follow=False)
    assert caught.value.what == f"is {kind}, not a regular file"
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_link_is_followed_to_a_file_only(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "to_file").symlink_to("file")
    (tmp_path / "to_directory").symlink_to(".")
    with open(open_regular(str(tmp_path / "to_file")), "rb") as file:
        assert file.read() == b"x"
    with pytest.raises(NotRegularError, match="is a directory"):
        open_regular(str(tmp_path / "to_directory"))


def test_a_replacement_of_a_file_is_refused(path, monkeypatch):
    put(path, b"")
    status = os.stat(path)
    os.unlink(path)
    os.mkfifo(path)
    monkeypatch.setattr(os, "stat", lambda *_, **__: status)
    with pytest.raises(NotRegularError, match="is a FIFO"):
        open_regular(path)


def test_lines_continue_with_what_was_appended(path):
    put(path, b"one\ntw")
    with Lines(path) as lines:
        assert (list(lines), lines.rest, lines.grown()) == ([b"one\n"], b"tw", False)
        with open(path, "ab") as file:
            file.write(b"o\nthree\n")
        assert lines.grown()
        assert (list(lines), lines.rest) == ([b"two\n", b"three\n"], b"")


def test_a_line_that_is_too_long_becomes_an_empty_one(path, monkeypatch):
    monkeypatch.setattr("runner.reading.LONGEST", 8)
    put(path, b"x" * 100 + b"\nshort\n")
    with Lines(path) as lines:
        assert list(lines) == [b"", b"short\n"]
    assert LONGEST > 8


@pytest.mark.parametrize(
    ("modified", "changed", "settled"),
    [
        (-COARSE_NS - 1, -TICK_NS - 1, True),
        (-COARSE_NS - 1, -TICK_NS + 1, False),  # in the same tick
        (0, -COARSE_NS - 1, False),  # a write can set this mtime
        (COARSE_NS, -COARSE_NS - 1, True),  # a write cannot set this mtime, which is in the future
    ],
)
def test_a_write_shows_unless_the_stamps_are_of_the_same_tick(modified, changed, settled):
    began = 1_000_000_000_123_456_789
    assert is_settled(began + modified, began + changed, began) is settled
