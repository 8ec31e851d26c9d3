from __future__ import annotations

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


def test_notices_bytes_that_somebody_else_wrote(tmp_path):
    path = tmp_path / "out"
    output = Output(str(path), keep=0)
    with path.open("ab") as other:
        other.write(b"foreign")
    with pytest.raises(StateError, match="is 7 bytes long where 0 were written"):
        output.settle(sync=False)
    output.close()
