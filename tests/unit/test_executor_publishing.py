"""Whatever stands in an output's place is named without opening it: opening a FIFO would block."""

import errno
import os

import pytest

from runner.errors import StateError
from runner.executor.publishing import kind_at, wanted_kind


def test_names_what_is_there(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    kinds = {name: kind_at(str(tmp_path / name)) for name in ("file", "link", "fifo", ".", "none", "file/none")}
    assert kinds == {
        "file": "a file", "link": "a symbolic link", "fifo": "a FIFO", ".": "a directory", "none": None,
        "file/none": None,
    }  # fmt: skip


def test_a_slash_asks_for_a_directory(tmp_path):
    assert wanted_kind("w/out/") == kind_at(str(tmp_path))
    assert wanted_kind("w/out") == "a file"


def test_a_system_error_is_not_taken_for_absence(tmp_path, monkeypatch):
    def refuse(path):
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr("os.lstat", refuse)
    with pytest.raises(StateError, match="cannot read: EIO"):
        kind_at(str(tmp_path))
