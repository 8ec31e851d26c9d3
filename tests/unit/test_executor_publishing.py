"""What is at the place of an output, named without opening it, which a FIFO would hold up."""

import errno
import os

import pytest

from runner.errors import StateError
from runner.executor.publishing import kind_at, wanted_kind


def test_names_what_is_there(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    found = {name: kind_at(str(tmp_path / name)) for name in ("file", "link", "fifo", ".", "none", "file/none")}
    assert found == {
        "file": "a file", "link": "a symbolic link", "fifo": "a FIFO", ".": "a directory", "none": None,
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
