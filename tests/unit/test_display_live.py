"""The live display: the progress of a running stage, and the rows on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from runner.display.live import Live, Row, RunningStage
from runner.display.plan_text import shown_checkpoint

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
GATE = "head -c 700000 /dev/zero >$PIPELINE_OUTPUT_O; echo half >gate; read line <gate"


@pytest.fixture
def spec(tmp_path):
    """A spec whose stage writes 700 kB, then `half` to the FIFO `gate`, and waits for a line from there."""
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "in.bin").write_bytes(bytes(2_000_000))
    command = {"command": ["sh", "-c", GATE], "inputs": {"i": "in.bin"}, "outputs": {"o": "out.bin"}}
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"specVersion": 1, "name": "demo", "stages": [{"name": "gated", **command}]}))
    return path


class OnTerminal:
    """A run whose stderr is a pseudo-terminal with `columns` columns."""

    def __init__(self, spec, columns=100, **environment) -> None:
        self.gate = spec.parent / "gate"
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.run = subprocess.Popen(
            [sys.executable, "-m", "runner", str(spec)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
            env={**ENVIRONMENT, "TERM": "xterm-256color", **environment}, cwd=ROOT, text=True,
        )  # fmt: skip
        os.close(slave)
        self.output = ""

    def read_until(self, pattern) -> str:
        while not re.search(pattern, self.output):
            self.output += os.read(self.master, 1 << 16).decode()
        return self.output

    def await_half(self) -> None:
        assert self.gate.read_text() == "half\n"

    def go_on(self) -> str:
        """Let the stage end, and return the summary."""
        self.gate.write_text("on\n")
        summary = self.run.communicate(timeout=60)[0]
        assert self.run.returncode == 0
        return summary


def test_rows_show_bytes_done_of_the_inputs_and_go_away(spec) -> None:
    terminal = OnTerminal(spec)
    terminal.await_half()
    row = r"gated +[\d.]+ s  700 kB of 2\.0 MB  [\d.]+ [kM]B/s"
    terminal.read_until(row)
    assert re.search(r"demo +[\d.]+ s  0 of 1 done", terminal.output)
    summary = terminal.go_on()
    terminal.read_until(r"gated: succeeded in [\d.]+ s")
    assert summary.startswith("demo: 1 succeeded in ")
    assert "gated: started" not in terminal.output
    os.close(terminal.master)


def test_rows_are_cut_at_the_width_of_a_narrow_terminal(spec) -> None:
    terminal = OnTerminal(spec, columns=30, NO_COLOR="1")
    terminal.await_half()
    terminal.read_until(r"gated +[\d.]+ s  700 kB")
    terminal.go_on()
    terminal.read_until("succeeded")
    drawn = re.split(r"\r\n|\r|\n|\x1b\[[\d;?]*[A-Za-z]", terminal.output)
    assert [line for line in drawn if len(line) > 30 and not line.startswith("demo: run")] == []
    assert not re.search(r"\x1b\[[\d;]*3\dm", terminal.output)
    os.close(terminal.master)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_without_a_movable_cursor_gets_plain_lines(term, spec) -> None:
    terminal = OnTerminal(spec, TERM=term)
    terminal.await_half()
    terminal.read_until(r"gated: started\r\n")
    terminal.go_on()
    terminal.read_until(r"gated: succeeded in [\d.]+ s\r\n")
    assert "\x1b" not in terminal.output
    os.close(terminal.master)


def test_a_terminal_that_goes_away_stops_no_run(spec) -> None:
    terminal = OnTerminal(spec)
    terminal.await_half()
    terminal.read_until("gated ")
    os.close(terminal.master)
    assert terminal.go_on().startswith("demo: 1 succeeded in ")
    assert (spec.parent / "out.bin").stat().st_size == 700_000


# ---- rows ------------------------------------------------------------------------------------------------------------


def stage(tmp_path, first=None, input_bytes=1000) -> RunningStage:
    """A stage that began at 0 on the clock with the checkpoint `first` (lines, bytes)."""
    if first:
        write_checkpoint(tmp_path, *first)
    return RunningStage(1, 3, 0.0, str(tmp_path / "progress"), (str(tmp_path / "partial"),), input_bytes)


def write_checkpoint(tmp_path, lines, read) -> None:
    progress = {"v": 1, "key": "k", "lineOffset": lines, "byteOffset": read, "outputs": {}}
    (tmp_path / "progress").write_text(json.dumps(progress))


def test_lines_come_from_the_checkpoint_and_bytes_from_the_partials(tmp_path) -> None:
    running = stage(tmp_path)
    assert running.amounts(0.1) == []
    (tmp_path / "partial").write_bytes(bytes(10))
    assert running.amounts(0.1) == ["10 bytes of 1.0 kB"]
    write_checkpoint(tmp_path, 5, 500)
    assert running.amounts(0.1) == ["5 lines", "50%"]
    (tmp_path / "progress").write_text("half of a fi")
    assert running.amounts(0.1) == ["10 bytes of 1.0 kB"]


def test_the_size_of_a_directory_does_not_count(tmp_path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial/file").write_bytes(bytes(10))
    assert stage(tmp_path).amounts(0.1) == []


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a regular file that fails when it is read")
def test_a_checkpoint_that_cannot_be_read_is_not_shown_and_ends_no_run(tmp_path) -> None:
    (tmp_path / "progress").symlink_to("/proc/self/mem")
    assert shown_checkpoint(str(tmp_path / "progress")) is None
    assert stage(tmp_path).amounts(0.1) == []


def test_speed_is_that_of_this_attempt(tmp_path) -> None:
    running = stage(tmp_path, (5000, 100))
    write_checkpoint(tmp_path, 7000, 500)
    assert running.amounts(2.0) == ["7,000 lines", "50%", "1,000 lines/s"]
    (tmp_path / "progress").unlink()
    (tmp_path / "partial").write_bytes(bytes(100))
    running = stage(tmp_path)
    (tmp_path / "partial").write_bytes(bytes(500))
    assert running.amounts(2.0) == ["500 bytes of 1.0 kB", "200 bytes/s"]


def test_no_speed_before_it_means_something(tmp_path) -> None:
    assert stage(tmp_path, (7, 5), input_bytes=10).amounts(0.1) == ["7 lines", "50%"]


def test_a_total_that_cannot_be_right_is_left_out(tmp_path) -> None:
    assert stage(tmp_path, input_bytes=10).amounts(9.0) == []
    (tmp_path / "partial").write_bytes(bytes(20))
    assert stage(tmp_path, input_bytes=10).amounts(0.1) == ["20 bytes"]
    assert stage(tmp_path, (7, 20), input_bytes=10).amounts(0.1) == ["7 lines"]


def test_a_stage_that_waits_shows_for_how_long(tmp_path) -> None:
    running = stage(tmp_path)
    running.until = 3.5
    assert running.row("s", 1.0) == ("s", ["   2.5 s", "until attempt 2 of 3"], "yellow")


@pytest.mark.parametrize(("columns", "cells", "whole"), [(120, 40, 70), (80, 8, 69), (80, 60, 26), (20, 8, 9)])
def test_a_name_gets_the_room_that_the_cells_leave_or_a_third(columns, cells, whole, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    shown = io.StringIO()
    live = Live(shown)
    live.draw([], [Row("n" * 70, ["x" * cells])], [Row("hashing", ["y", "a/path" * 100]), Row("foot", ["z"])])
    live.stop()
    assert max(map(len, re.findall("n+", shown.getvalue()))) == whole


def test_rows_that_do_not_fit_are_counted(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "6")
    shown = io.StringIO()
    live = Live(shown)
    live.draw([("news", True)], [Row(f"s{n}", ["x"]) for n in range(9)], [Row("foot", ["y"])])
    live.stop()
    for kept in ("news", "s0", "s2", "and 6 more", "foot"):
        assert kept in shown.getvalue()
    assert "s3" not in shown.getvalue()
