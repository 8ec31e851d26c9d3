"""Writing to a stream never raises."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import subprocess
import sys

from runner.display import streams
from runner.display.streams import STDOUT, Stream


def test_text_that_the_encoding_cannot_hold_is_escaped(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    stream = Stream(STDOUT)
    stream.write("é \udce9 漢\n")
    stream.pass_through(b"raw\n")
    assert (raw.getvalue(), stream.failure) == (b"\\xe9 \\udce9 \\u6f22\nraw\n", None)


def test_a_replaced_stdout_gets_the_text(capsys) -> None:
    Stream(STDOUT).write("to the caller\n")
    assert capsys.readouterr().out == "to the caller\n"


def test_a_failed_write_is_noted_and_nothing_is_tried_after_it(monkeypatch) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        stream = Stream(STDOUT)
        stream.write("x")
        assert stream.failure == errno.EPIPE
        stream.write("y")
        assert stream.failure == errno.EPIPE


def test_closed_and_missing_streams_are_noted(monkeypatch) -> None:
    closed = io.StringIO()
    closed.close()
    for gone in (None, closed):
        monkeypatch.setattr(sys, "stdout", gone)
        stream = Stream(STDOUT)
        stream.write("x")
        assert stream.failure == errno.EBADF and not stream.isatty()


def test_a_pipe_that_is_full_for_now_is_waited_for() -> None:
    program = (
        "import os; from runner.display.streams import STDOUT, Stream\n"
        "os.set_blocking(1, False); stream = Stream(STDOUT); stream.write('x' * 1_000_000)\n"
        "assert stream.failure is None"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (len(shown.stdout), shown.stderr) == (1_000_000, b"")


@contextlib.contextmanager
def small_pipe(monkeypatch):
    """Yield the read end of a small pipe that is sys.stdout, and a stream that defers."""
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    stream = Stream(STDOUT)
    stream.defers = True
    with open(write_end, "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        yield read_end, stream
        assert os.get_blocking(write_end)
    os.close(read_end)


def test_pending_output_is_written_later_in_order(monkeypatch) -> None:
    with small_pipe(monkeypatch) as (read_end, stream):
        for number in range(3_000):
            stream.write(f"{number}\n")
        assert stream.pending and stream.failure is None
        content = b""
        while stream.pending:
            content += os.read(read_end, 4096)
            stream.write("")
        stream.close()
        content += os.read(read_end, 8192)
    assert content == b"".join(b"%d\n" % number for number in range(3_000))


def test_a_reader_that_takes_nothing_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE", 0.05)
    with small_pipe(monkeypatch) as (_, stream):
        stream.write("x" * 10_000)
        stream.close()
    assert stream.failure == errno.EAGAIN
