from __future__ import annotations

import os

import pytest

from runner.errors import StateError
from runner.sdk.output import BUFFER_SIZE, Output


def test_keeps_exactly_the_prefix(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"kept, not kept")
    output = Output(str(path), keep=4)
    output.write(b"!")
    output.settle(sync=True)
    output.close()
    assert path.read_bytes() == b"kept!"
    assert output.length == 5


def test_starts_empty_when_nothing_is_kept(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"of a dead attempt")
    Output(str(path), keep=0).close()
    assert path.read_bytes() == b""


def test_gathers_until_the_buffer_is_full(tmp_path):
    path = tmp_path / "out"
    output = Output(str(path), keep=0)
    output.write(b"x" * (BUFFER_SIZE - 1))
    assert path.stat().st_size == 0
    output.write(b"y")
    assert path.stat().st_size == BUFFER_SIZE
    output.close()


def test_text_is_encoded_and_length_counts_bytes(tmp_path):
    path = tmp_path / "out"
    output = Output(str(path), keep=0)
    output.encoding, output.errors = "utf-8", "surrogateescape"
    output.write("é\udcff")
    output.settle(sync=False)
    output.close()
    assert path.read_bytes() == b"\xc3\xa9\xff"
    assert output.length == 3


def test_notices_bytes_that_another_writer_wrote(tmp_path):
    path = tmp_path / "out"
    output = Output(str(path), keep=0)
    with path.open("ab") as other:
        other.write(b"foreign")
    with pytest.raises(StateError, match="is 7 bytes long, but 0 were written"):
        output.settle(sync=False)
    output.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_what_the_disk_refused_is_refused_for_good(tmp_path):
    """A stage that continues after a full disk must not get a checkpoint behind the hole."""
    path = tmp_path / "out"
    path.symlink_to("/dev/full")
    output = Output(str(path), keep=0)
    with pytest.raises(StateError, match=r"out: cannot write: ENOSPC"):
        output.write(b"x" * BUFFER_SIZE)
    for _ in range(2):
        with pytest.raises(StateError, match=r"out: cannot write: ENOSPC"):
            output.settle(sync=False)
    output.write(b"more")
    with pytest.raises(StateError, match=r"out: cannot write: ENOSPC"):
        output.flush()
    output.close()


def test_text_that_cannot_be_encoded_leaves_no_hole_either(tmp_path):
    output = Output(str(tmp_path / "out"), keep=0)
    output.encoding = "ascii"
    output.write("a line\n")
    output.write("\xe4\n")
    for _ in range(2):
        with pytest.raises(UnicodeEncodeError):
            output.settle(sync=False)
    output.close()
