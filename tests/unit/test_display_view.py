"""How far a running stage has come."""

from __future__ import annotations

import json
import os

import pytest

from runner.display.view import Extent, Row, checkpoint

START = Extent(None, None, 0)


def row(tmp_path, first=None, input_bytes=1000) -> Row:
    """A row that began at 0 on the clock with the checkpoint `first` (lines, bytes)."""
    if first:
        write_checkpoint(tmp_path, *first)
    return Row("s", 1, 0.0, str(tmp_path / "progress"), [str(tmp_path / "partial")], input_bytes)


def write_checkpoint(tmp_path, lines, read) -> None:
    progress = {"v": 1, "key": "k", "lineOffset": lines, "byteOffset": read, "outputs": {}}
    (tmp_path / "progress").write_text(json.dumps(progress))


def test_lines_come_from_the_checkpoint_and_bytes_from_the_partials(tmp_path) -> None:
    stage = row(tmp_path)
    assert stage.extent() == START
    (tmp_path / "partial").write_bytes(bytes(10))
    assert stage.extent() == Extent(None, None, 10)
    write_checkpoint(tmp_path, 5, 8)
    assert stage.extent() == Extent(5, 8, 10)
    (tmp_path / "progress").write_text("half of a fi")
    assert stage.extent() == Extent(None, None, 10)


def test_the_size_of_a_directory_is_not_what_was_written(tmp_path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial/file").write_bytes(bytes(10))
    assert row(tmp_path).extent() == START


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a regular file that fails when it is read")
def test_a_checkpoint_that_cannot_be_read_is_not_shown_and_ends_no_run(tmp_path) -> None:
    (tmp_path / "progress").symlink_to("/proc/self/mem")
    assert checkpoint(str(tmp_path / "progress")) is None
    assert row(tmp_path).extent() == START


def test_speed_is_that_of_this_attempt(tmp_path) -> None:
    stage = row(tmp_path, (5000, 100))
    write_checkpoint(tmp_path, 7000, 500)
    assert stage.amounts(2.0) == ["7,000 lines", "50%", "1,000 lines/s"]
    (tmp_path / "progress").unlink()
    (tmp_path / "partial").write_bytes(bytes(100))
    stage = row(tmp_path)
    (tmp_path / "partial").write_bytes(bytes(500))
    assert stage.amounts(2.0) == ["500 bytes of 1.0 kB", "200 bytes/s"]


def test_no_speed_before_it_means_something(tmp_path) -> None:
    assert row(tmp_path, (7, 5), input_bytes=10).amounts(0.1) == ["7 lines", "50%"]


def test_a_total_that_cannot_be_right_is_left_out(tmp_path) -> None:
    assert row(tmp_path, input_bytes=10).amounts(9.0) == []
    (tmp_path / "partial").write_bytes(bytes(20))
    assert row(tmp_path, input_bytes=10).amounts(0.1) == ["20 bytes"]
    assert row(tmp_path, (7, 20), input_bytes=10).amounts(0.1) == ["7 lines"]
