"""How `difference` shows where two outputs differ."""

import os

import pytest

from pytest_offpipe.compare import difference

SIDES = ("before", "afterwards")


@pytest.fixture
def differ(tmp_path):
    def differ(one, other):
        for name, content in (("one", one), ("other", other)):
            (tmp_path / name).write_bytes(content)
        return difference("text", str(tmp_path / "one"), str(tmp_path / "other"), SIDES)

    return differ


def test_says_nothing_about_equal_outputs(differ):
    assert differ(b"a\n" * 2_000_000, b"a\n" * 2_000_000) is None
    assert differ(b"", b"") is None


def test_shows_the_first_line_that_differs_of_both_sides(differ):
    shown = "text differs at line 2 (6 and 6 bytes)\nbefore:     'b\\n'\nafterwards: 'x\\n'"
    assert differ(b"a\nb\nc\n", b"a\nx\nc\n") == shown
    assert differ(b"a\nb\n", b"a\n").splitlines()[1:] == ["before:     'b\\n'", "afterwards: (the end)"]


def test_shows_lines_of_binary_files_too(differ):
    shown = "text differs at line 1 (7 and 7 bytes)\nbefore:     '\\x89PNG\\x00ab'\nafterwards: '\\x89PNG\\x00xb'"
    assert differ(b"\x89PNG\0ab", b"\x89PNG\0xb") == shown


def test_counts_lines_over_blocks(differ):
    same = b"0123456789abcde\n" * 100_000
    assert differ(same + b"1\n", same + b"2\n").startswith("text differs at line 100,001 (1,600,002 and")


def test_shows_the_differing_part_of_a_long_line(differ):
    one, other = (differ(b"x" * 5000 + b"1" + b"y" * 500, b"x" * 5000 + b"2" + b"y" * 500)).splitlines()[1:]
    assert one == f"before:     ...'{'x' * 40}1{'y' * 79}'..."
    assert other == f"afterwards: ...'{'x' * 40}2{'y' * 79}'..."


def test_shows_modes_links_and_missing_files(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"")
        (tmp_path / name / "link").symlink_to(name)
    paths = str(tmp_path / "one"), str(tmp_path / "other")
    assert difference("out", *paths, SIDES) == "out/link is one before, and other afterwards"
    os.chmod(tmp_path / "other" / "file", 0o600)
    os.chmod(tmp_path / "one" / "file", 0o644)
    assert difference("out", *paths, SIDES) == "the mode of out/file is 0644 before, and 0600 afterwards"
    (tmp_path / "other" / "file").unlink()
    assert difference("out", *paths, SIDES) == "out/file is a file before, and missing afterwards"
