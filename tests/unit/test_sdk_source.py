from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import InputError
from runner.sdk.source import Source, end_of_line

CONTENT = st.lists(st.sampled_from([b"\n", b"\r", b"a", b"\xff", b"bcd"]), max_size=40).map(b"".join)


def blocks(paths, size, most, offset=0):
    source = Source(tuple(map(str, paths)), offset)
    found = []
    while (taken := source.read(size, most))[0]:
        found.append(taken)
    source.close()
    return found


def whole_lines(contents):
    return [line for content in contents for line in content.splitlines(keepends=True)]


@given(st.lists(CONTENT, max_size=4), st.integers(1, 12), st.integers(1, 5))
def test_blocks_are_whole_lines_of_one_file_and_lose_nothing(tmp_path_factory, contents, size, most):
    folder = tmp_path_factory.mktemp("source")
    paths = [folder / str(number) for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    found = blocks(paths, size, most)
    assert b"".join(block for block, _ in found) == b"".join(contents)
    ends = {sum(map(len, contents[: n + 1])) for n in range(len(contents))}
    at = 0
    for block, lines in found:
        at += len(block)
        assert block.endswith(b"\n") or at in ends
        assert lines == block.count(b"\n") + (not block.endswith(b"\n"))
        assert 1 <= lines <= most
        assert len(block) <= size or block.count(b"\n", 0, -1) == 0 or block.index(b"\n") >= size
        rest = blocks(paths, size, most, offset=at)  # every block's end is a place to resume from
        assert b"".join(block for block, _ in rest) == b"".join(contents)[at:]


def test_a_line_longer_than_the_size_comes_whole(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(b"x" * 300_000 + b"\nshort\n")
    assert [(len(block), lines) for block, lines in blocks([path], 1000, 1)] == [(300_001, 1), (6, 1)]


def test_an_input_that_went_away_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone: cannot read: No such file or directory"):
        Source((str(tmp_path / "gone"),), 0)


def test_a_directory_is_reported_with_the_glob_that_reads_its_files(tmp_path):
    with pytest.raises(InputError, match=r"cannot read: Is a directory\nhint: .* a glob .*dir/\*\.txt"):
        Source((str(tmp_path),), 0).read(10, 10)


@pytest.mark.parametrize(("number", "end"), [(1, 2), (2, 5), (3, 6), (4, 6)])
def test_end_of_line_counts_from_one(number, end):
    assert end_of_line(b"a\nbc\nd", number) == end
