"""The live display, on pseudo-terminals."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
GATE = "head -c 700000 /dev/zero >$PIPELINE_OUTPUT_O; echo half >gate; read line <gate"


@pytest.fixture
def spec(tmp_path):
    """A stage that writes something, says that it did, and goes on when it is told to."""
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "in.bin").write_bytes(bytes(2_000_000))
    command = {"command": ["sh", "-c", GATE], "inputs": {"i": "in.bin"}, "outputs": {"o": "out.bin"}}
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"specVersion": 1, "name": "demo", "stages": [{"name": "gated", **command}]}))
    return path


class OnTerminal:
    """A run whose stderr is a pseudo-terminal of so many columns."""

    def __init__(self, spec, columns=100, **environment) -> None:
        self.gate = spec.parent / "gate"
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.run = subprocess.Popen(
            [sys.executable, "-m", "runner", str(spec)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
            env={**ENVIRONMENT, "TERM": "xterm-256color", **environment}, cwd=ROOT, text=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def read_until(self, pattern) -> str:
        while not re.search(pattern, self.seen):
            self.seen += os.read(self.master, 1 << 16).decode()
        return self.seen

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
    assert re.search(r"demo +[\d.]+ s  0 of 1 done", terminal.seen)
    summary = terminal.go_on()
    terminal.read_until(r"gated: succeeded in [\d.]+ s")
    assert summary.startswith("demo: 1 succeeded in ")
    assert "started (attempt" not in terminal.seen
    os.close(terminal.master)


def test_a_narrow_terminal_gets_what_fits_on_a_line(spec) -> None:
    terminal = OnTerminal(spec, columns=30, NO_COLOR="1")
    terminal.await_half()
    terminal.read_until(r"gated +[\d.]+ s  700 kB\b(?! of)|gated +[\d.]+ s(?!  )")
    terminal.go_on()
    terminal.read_until("succeeded")
    drawn = re.split(r"\r\n|\r|\n|\x1b\[[\d;?]*[A-Za-z]", terminal.seen)
    assert [line for line in drawn if len(line) > 30 and not line.startswith("demo: run")] == []
    assert not re.search(r"\x1b\[[\d;]*3\dm", terminal.seen)
    os.close(terminal.master)


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_without_a_movable_cursor_gets_plain_lines(term, spec) -> None:
    terminal = OnTerminal(spec, TERM=term)
    terminal.await_half()
    terminal.read_until(r"gated: started \(attempt 1\)\r\n")
    terminal.go_on()
    terminal.read_until(r"gated: succeeded in [\d.]+ s\r\n")
    assert "\x1b" not in terminal.seen
    os.close(terminal.master)


def test_a_terminal_that_goes_away_stops_no_run(spec) -> None:
    terminal = OnTerminal(spec)
    terminal.await_half()
    terminal.read_until("gated ")
    os.close(terminal.master)
    assert terminal.go_on().startswith("demo: 1 succeeded in ")
    assert (spec.parent / "out.bin").stat().st_size == 700_000
