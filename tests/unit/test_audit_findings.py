"""A file that is not a marker: torn by a power cut while its run is open, damaged in every other case."""

import pytest

from runner.audit.findings import Findings, Markers
from runner.canonical import canonical
from runner.record.events import StageCommit
from runner.record.markers import OutputIdentity

OUTPUTS = {"f": OutputIdentity("f.txt", 5, "0" * 64, 6, 7), "d": OutputIdentity("d/", 5, "1" * 64, 8, 9)}
COMMIT = StageCommit("a", "k", 1, canonical({"x": "y" * 9000}).decode(), "abcdef", "/p", OUTPUTS, [], None)
WHOLE = COMMIT.marker("r", 1).encode()
STAMPED = COMMIT.marker("r", 1).with_ctime(1_796_000_000_123_456_789).encode()


def judged(tmp_path, content, *, closed=False):
    (tmp_path / "stage_a.json").write_bytes(content)
    findings = Findings()
    markers = Markers(str(tmp_path), findings, None)
    markers.note("r", 1, COMMIT, 0, closed=closed)
    markers.report()
    return len(findings.damage), len(findings.incomplete)


@pytest.mark.parametrize("length", [0, 1, 4096, len(WHOLE) - 1])
def test_a_marker_that_was_cut_off_is_incomplete_while_its_run_is_open(tmp_path, length):
    assert judged(tmp_path, WHOLE[:length]) == (0, 1)
    assert judged(tmp_path, WHOLE[:length], closed=True) == (1, 0)


def test_a_marker_with_a_block_that_was_never_written_is_incomplete(tmp_path):
    assert judged(tmp_path, b"\0" * 4096 + WHOLE[4096:]) == (0, 1)
    assert judged(tmp_path, WHOLE[:4096] + b"\0" * 4096 + WHOLE[8192:]) == (0, 1)


@pytest.mark.parametrize("content", [WHOLE[:-1] + b"]", WHOLE + b"}", WHOLE[:50] + b"#" + WHOLE[51:60], b"null"])
def test_anything_else_is_damage(tmp_path, content):
    assert judged(tmp_path, content) == (1, 0)


def test_a_whole_marker_is_fine(tmp_path):
    assert judged(tmp_path, WHOLE) == (0, 0)
    assert judged(tmp_path, STAMPED) == (0, 0)


def test_a_marker_torn_in_its_ctimes_is_incomplete(tmp_path):
    at = STAMPED.index(b"visibleNs")
    for length in range(at - 5, len(STAMPED)):
        assert judged(tmp_path, STAMPED[:length]) == (0, 1)
    assert judged(tmp_path, STAMPED[:at] + b"\0" * 30) == (0, 1)


@pytest.mark.parametrize("what", [b"visibleNs", b'"f":1', b'"key":"k"'])
def test_ctimes_hide_no_damage(tmp_path, what):
    assert what in STAMPED
    assert judged(tmp_path, STAMPED[:-1].replace(what, b"X" * len(what))) == (1, 0)
