"""A progress file is the work of a stage: whatever is odd about it makes it no checkpoint, and ends nothing."""

from __future__ import annotations

import json

import pytest

from runner.canonical import digest
from runner.record.checkpoints import Kept, Progress, read_progress

GOOD = {"v": 1, "key": "k", "lineOffset": 7, "byteOffset": 70, "outputs": {"o": {"length": 5, "sha256": "ab"}}}


def test_a_progress_file_tells_key_offsets_and_lengths(tmp_path):
    path = tmp_path / "progress.json"
    path.write_text(json.dumps(GOOD))
    assert read_progress(str(path)) == Progress("k", 7, 70, {"o": Kept(5, "ab")})


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"[]", b"7", b"{", b"\xff", b"[" * 100_000, b"9" * 5000,
        *(json.dumps({**GOOD, **odd}).encode() for odd in (
            {"v": 2}, {"v": None}, {"v": "1"}, {"v": []}, {"key": 3}, {"outputs": []}, {"outputs": {"o": 5}},
            {"outputs": {"o": {"length": -1}}}, {"outputs": {"o": {"length": 1.5}}}, {"outputs": {"o": {}}},
        )),
    ],
)  # fmt: skip
def test_an_odd_progress_file_is_no_checkpoint(tmp_path, content):
    path = tmp_path / "progress.json"
    path.write_bytes(content)
    assert read_progress(str(path)) is None


def test_no_flipped_bit_of_a_sealed_file_changes_what_it_says(tmp_path):
    path = tmp_path / "progress.json"
    body = {**GOOD, "job": 1}
    content = json.dumps({**body, "checksum": digest(body)}).encode()
    path.write_bytes(content)
    whole = read_progress(str(path))
    assert whole is not None
    for position in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
            assert read_progress(str(path)) in (None, whole), (position, bit)


@pytest.mark.parametrize("odd", [{"job": -1}, {"lineOffset": None}, {"byteOffset": "70"}, {"lineOffset": 71}], ids=str)
def test_the_offsets_of_the_sdk_must_be_plausible(tmp_path, odd):
    path = tmp_path / "progress.json"
    path.write_text(json.dumps({**GOOD, "job": 0, **odd}))
    assert read_progress(str(path)) is None


def test_what_is_no_file_is_no_checkpoint(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "nowhere").symlink_to("elsewhere")
    assert [read_progress(str(tmp_path / name)) for name in ("directory", "nowhere", "missing")] == [None] * 3
