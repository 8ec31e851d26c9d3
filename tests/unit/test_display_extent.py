"""How far a running stage has come."""

from __future__ import annotations

import json
import os

import pytest

from runner.display.extent import Extent, amounts, extent_of

START = Extent(None, None, 0)


def test_lines_come_from_the_checkpoint_and_bytes_from_the_partials(tmp_path) -> None:
    progress, partial = tmp_path / "progress", tmp_path / "partial"
    assert extent_of(str(progress), [str(partial)]) == START
    partial.write_bytes(bytes(10))
    assert extent_of(str(progress), [str(partial), str(tmp_path / "none")]) == Extent(None, None, 10)
    progress.write_text(json.dumps({"v": 1, "key": "k", "lineOffset": 5, "byteOffset": 8, "outputs": {}}))
    assert extent_of(str(progress), [str(partial)]) == Extent(5, 8, 10)
    progress.write_text("half of a fi")
    assert extent_of(str(progress), [str(partial)]) == Extent(None, None, 10)


def test_the_size_of_a_directory_is_not_what_was_written(tmp_path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(bytes(10))
    assert extent_of(str(tmp_path / "progress"), [str(tmp_path / "tree")]) == START


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a regular file that fails when it is read")
def test_a_checkpoint_that_cannot_be_read_is_not_shown_and_ends_no_run(tmp_path) -> None:
    (tmp_path / "progress").symlink_to("/proc/self/mem")
    assert extent_of(str(tmp_path / "progress"), []) == START


def test_speed_is_that_of_this_attempt() -> None:
    assert amounts(Extent(7000, 500, 9), Extent(5000, 100, 9), 1000, 2.0) == ["7,000 lines", "50%", "1,000 lines/s"]
    assert amounts(Extent(None, None, 500), Extent(None, None, 100), 1000, 2.0) == [
        "500 bytes of 1.0 kB",
        "200 bytes/s",
    ]


def test_no_speed_before_it_means_something() -> None:
    assert amounts(Extent(7, 5, 9), START, 10, 0.1) == ["7 lines", "50%"]


def test_a_total_that_cannot_be_right_is_left_out() -> None:
    assert amounts(Extent(7, 20, 9), START, 10, 0.1) == ["7 lines"]
    assert amounts(Extent(None, None, 20), START, 10, 0.1) == ["20 bytes"]
    assert amounts(START, START, 10, 9.0) == []
