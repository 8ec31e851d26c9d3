from __future__ import annotations

import json

import pytest

from runner.sdk.progress import Progress

GOOD = {"v": 1, "key": "k", "lineOffset": 3, "byteOffset": 9, "outputs": {"a": {"length": 4}}, "job": 1}


@pytest.fixture
def outputs(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    return {"a": str(tmp_path / "a"), "b": str(tmp_path / "b")}


def load(tmp_path, content, outputs):
    path = tmp_path / "progress.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return Progress.load(str(path), "k", outputs)


def test_what_is_saved_is_loaded(tmp_path, outputs):
    path = str(tmp_path / "progress.json")
    Progress("k", 2, 10, 100, {"a": 5}, done=True).save(path, {"a": 7}, temporary=str(tmp_path / "temporary"))
    found = Progress.load(path, "k", outputs)
    assert (found.job, found.line_offset, found.byte_offset, found.lengths, found.done) == (2, 10, 100, {"a": 5}, True)
    assert not (tmp_path / "temporary").exists()


def test_a_longer_output_is_fine(tmp_path, outputs):
    assert load(tmp_path, GOOD, outputs).lengths == {"a": 4}


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"key": "other"},
        {"lineOffset": -1},
        {"lineOffset": True},
        {"byteOffset": 1.5},
        {"job": None},
        {"outputs": []},
        {"outputs": {"a": {"length": 6}}},
        {"outputs": {"a": {}}},
        {"outputs": {"b": {"length": 0}}},
        {"outputs": {"unknown": {"length": 0}}},
    ],
    ids=str,
)
def test_what_does_not_fit_means_from_the_start(tmp_path, outputs, change):
    assert load(tmp_path, GOOD | change, outputs) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", json.dumps(GOOD).encode()[:-3]])
def test_damage_means_from_the_start(tmp_path, outputs, content):
    assert load(tmp_path, content, outputs) is None


def test_no_file_means_from_the_start(tmp_path, outputs):
    assert Progress.load(str(tmp_path / "none"), "k", outputs) is None
