"""State files: replaced whole, used only if sound, and never overwritten if a newer release wrote them."""

import json
import os

import pytest

from runner.errors import EXIT_STATE, StateError
from runner.paths import StatePaths
from runner.record import markers, state
from runner.record.markers import Marker, OutputIdentity


@pytest.fixture
def paths(tmp_path):
    paths = StatePaths(str(tmp_path / "state"), str(tmp_path / "locks"))
    os.makedirs(paths.temporary)
    return paths


def marker(stage="a"):
    return Marker(stage, "k", 1, {}, {"out": OutputIdentity("o", 1, "0", 2, 3)}, "run", 4, [])


def put(path, content):
    with open(path, "wb") as file:
        file.write(content if isinstance(content, bytes) else json.dumps(content).encode())


def test_a_marker_reads_back_and_leaves_no_temporary_file(paths):
    markers.write_marker(paths, marker())
    assert markers.read_marker(paths, "a") == marker()
    assert os.listdir(paths.temporary) == []


def test_no_marker_is_none(paths):
    assert markers.read_marker(paths, "a") is None


def test_a_damaged_marker_is_none_and_noted(paths):
    markers.write_marker(paths, marker())
    with open(paths.marker("a"), "rb") as file:
        content = file.read()
    for damaged in (b"", content[:-1], content.replace(b'"k"', b'"x"'), b"\x00" * len(content)):
        put(paths.marker("a"), damaged)
        notes = {}
        assert markers.read_marker(paths, "a", notes.__setitem__) is None
        assert notes == {paths.marker("a"): "is damaged"}


def test_the_marker_of_another_stage_is_none_and_noted(paths):
    markers.write_marker(paths, marker("b"))
    os.rename(paths.marker("b"), paths.marker("a"))
    notes = {}
    assert markers.read_marker(paths, "a", notes.__setitem__) is None
    assert notes == {paths.marker("a"): 'is the marker of the stage "b"'}


@pytest.mark.parametrize("content", [{"v": 2}, {"v": 2, "stage": "a"}, {"v": 10**9}])
def test_a_newer_marker_is_refused_and_named(paths, content):
    put(paths.marker("a"), content)
    with pytest.raises(StateError, match="newer release") as caught:
        markers.read_marker(paths, "a")
    assert (caught.value.exit_code, paths.marker("a") in str(caught.value)) == (EXIT_STATE, True)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"5", b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b'{"a": NaN}', b'{"a": 1e400}']
)
def test_metrics_that_are_no_object_are_empty_and_noted(paths, content):
    put(paths.metrics("r"), content)
    notes = {}
    assert state.read_metrics(paths, "r", notes.__setitem__) == {}
    assert notes == {paths.metrics("r"): "is damaged"}


def test_the_digest_of_metrics_is_that_of_their_bytes(paths):
    import hashlib

    digest = state.write_metrics(paths, "r", {"v": 1, "seconds": 0.5, "stages": {"a": {}}}, sync=True)
    with open(paths.metrics("r"), "rb") as file:
        assert hashlib.sha256(file.read()).hexdigest() == digest
    assert state.read_metrics(paths, "r") == {"v": 1, "seconds": 0.5, "stages": {"a": {}}}
    assert os.listdir(paths.temporary) == []


def test_state_files_get_the_umasks_mode(paths):
    before = os.umask(0o027)
    try:
        markers.write_marker(paths, marker())
    finally:
        os.umask(before)
    assert os.stat(paths.marker("a")).st_mode & 0o777 == 0o640
