"""A progress file, as the SDK writes it and the runner reads it. An unusable one counts as missing."""

from __future__ import annotations

import json

import pytest

from runner.canonical import digest
from runner.record.checkpoints import Kept, Progress, read_progress
from runner.sdk.checkpoints import Checkpoints

GOOD = {"v": 1, "key": "k", "lineOffset": 7, "byteOffset": 70, "outputs": {"o": {"length": 5, "sha256": "ab"}}}
BY_SDK = {**GOOD, "outputs": {"o": {"length": 5, "inode": 6}}, "job": 1}
SEALED = {**BY_SDK, "checksum": "the runner's business"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.json"


def checkpoints(tmp_path, path):
    return Checkpoints(
        {"key": "k", "outputs": {"o": str(tmp_path / "o")}, "progress": str(path), "scratch": str(tmp_path / "1")}
    )


# ---- the SDK writes, the runner reads --------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [False, True])
def test_the_runner_and_the_next_attempt_read_what_the_sdk_wrote(tmp_path, path, done):
    writer = checkpoints(tmp_path, path)
    output = writer.open_output("o")
    output.write(b"12345")
    writer.save(2, 10, 100, done=done)
    writer.close()
    assert read_progress(str(path)) == Progress("k", 10, 100, {"o": Kept(5, None, output.inode)}, 2)
    _, progress = checkpoints(tmp_path, path).begin(keeps=True)
    assert (progress["job"], progress["lineOffset"], progress["byteOffset"]) == (2, 10, 100)
    assert progress["outputs"] == {"o": {"length": 5, "inode": output.inode}}
    assert progress.get("done", False) == done
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["o", "progress.json"]


def test_a_longer_output_is_cut(tmp_path, path):
    path.write_text(json.dumps(SEALED))
    (tmp_path / "o").write_bytes(b"1234567")
    _, progress = checkpoints(tmp_path, path).begin(keeps=True)
    assert progress["outputs"]["o"]["length"] == 5
    assert (tmp_path / "o").read_bytes() == b"12345"


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b"\xff", json.dumps(SEALED).encode()[:-3], json.dumps(GOOD).encode(),
    json.dumps(BY_SDK).encode(),
    *(json.dumps({**SEALED, **odd}).encode() for odd in (
        {"v": 2}, {"key": "other"}, {"outputs": []}, {"outputs": {"o": {"length": 6}}}, {"outputs": {"o": {}}},
        {"outputs": {"unknown": {"length": 0}}},
    )),
])  # fmt: skip
def test_the_sdk_starts_anew_where_the_file_does_not_fit(tmp_path, path, content):
    path.write_bytes(content)
    (tmp_path / "o").write_bytes(b"12345")
    assert checkpoints(tmp_path, path).begin(keeps=True) == (0, None)
    assert not path.exists()  # it describes the bytes of another attempt


# ---- the runner reads what any program wrote -------------------------------------------------------------------------


def test_a_progress_file_tells_key_offsets_and_lengths(path):
    path.write_text(json.dumps(GOOD))
    assert read_progress(str(path)) == Progress("k", 7, 70, {"o": Kept(5, "ab")})


@pytest.mark.parametrize("content", [
    b"", b"null", b"[]", b"7", b"{", b"\xff", b"[" * 100_000, b"9" * 5000,
    *(json.dumps({**GOOD, **odd}).encode() for odd in (
        {"v": 2}, {"v": None}, {"v": "1"}, {"v": []}, {"key": 3}, {"outputs": []}, {"outputs": {"o": 5}},
        {"outputs": {"o": {"length": -1}}}, {"outputs": {"o": {"length": 1.5}}}, {"outputs": {"o": {}}},
    )),
])  # fmt: skip
def test_an_odd_progress_file_is_no_checkpoint(path, content):
    path.write_bytes(content)
    assert read_progress(str(path)) is None


@pytest.mark.full
def test_no_flipped_bit_of_a_sealed_file_changes_what_it_says(path):
    content = json.dumps({**BY_SDK, "checksum": digest(BY_SDK)}).encode()
    path.write_bytes(content)
    whole = read_progress(str(path))
    assert whole is not None
    for position in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
            assert read_progress(str(path)) in (None, whole), (position, bit)


@pytest.mark.parametrize("odd", [
    {"job": -1}, {"job": None}, {"lineOffset": None}, {"lineOffset": -1}, {"lineOffset": True}, {"lineOffset": 71},
    {"byteOffset": "70"}, {"byteOffset": 1.5},
], ids=str)  # fmt: skip
def test_the_offsets_of_the_sdk_must_be_plausible(path, odd):
    path.write_text(json.dumps({**BY_SDK, **odd}))
    assert read_progress(str(path)) is None


def test_a_path_that_is_no_regular_file_is_no_checkpoint(tmp_path):
    (tmp_path / "directory").mkdir()
    (tmp_path / "nowhere").symlink_to("elsewhere")
    assert [read_progress(str(tmp_path / name)) for name in ("directory", "nowhere", "missing")] == [None] * 3
