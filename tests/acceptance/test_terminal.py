"""What a terminal shows: how many stages are done, how many failed, and stage names as far as they fit."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline_bench import shell

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITS = 'until test -e go; do sleep 0.01; done; echo >"$PIPELINE_OUTPUT_OUT"'
MAKES = 'echo >"$PIPELINE_OUTPUT_OUT"'
LONG = "align.2026-11-28.plate-07.well-A01.paired.end"


class Terminal:
    """A pseudo-terminal: programs write to `end`, and `shown` has what was read from it."""

    def __init__(self, columns: int) -> None:
        self._master, self.end = os.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.shown = ""

    def read_until(self, pattern: str) -> str:
        while not re.search(pattern, self.shown):
            self.shown += os.read(self._master, 1 << 16).decode()
        return self.shown

    def close(self) -> None:
        os.close(self._master)
        os.close(self.end)


@contextmanager
def terminal(columns: int) -> Iterator[Terminal]:
    made = Terminal(columns)
    try:
        yield made
    finally:
        made.close()


def test_what_succeeded_is_counted_apart_from_what_failed(bench) -> None:
    bench.define(
        shell("good", MAKES), shell("skipped", MAKES), shell("bad", "exit 3"), shell("waits", WAITS),
        shell("blocked", MAKES, needs=["bad"]),
    )  # fmt: skip
    bench.succeed("run", "skipped")
    with terminal(100) as shown:
        run = bench.start("-k", "-j2", stderr=shown.end, env={"TERM": "xterm-256color"})
        shown.read_until(r"bench +[\d.]+ s  2 of 5 done, 1 failed")
        bench.write("go", "")
        assert run.wait() == 1
        shown.read_until("blocked by what failed: blocked")
        assert "4 of 5" not in shown.shown


def test_a_running_stage_has_its_whole_name_if_there_is_room(bench) -> None:
    bench.define(shell(LONG, WAITS, outputs={"out": "o"}))
    with terminal(100) as shown:
        run = bench.start(stderr=shown.end, env={"TERM": "xterm-256color"})
        shown.read_until(rf"{re.escape(LONG)} +[\d.]+ s")
        bench.write("go", "")
        assert run.wait() == 0


def test_a_plan_lines_up_names(bench) -> None:
    bench.define(shell(LONG, MAKES, outputs={"out": "o"}), shell("short", MAKES))
    assert f"\nshort{' ' * (len(LONG) - 5)}  run " in bench.run("plan").stdout
