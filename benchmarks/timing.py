"""Times whole processes, in rounds: each case once, then each case again, so that a disturbance affects all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Times = dict[str, list[float]]  # case -> seconds of each round
    Case = Callable[[], float]  # runs once; returns seconds

CHECKOUT = Path(__file__).resolve().parents[1]
MOST = 180.0  # seconds that a command may take
PATIENCE = 20.0  # seconds; what takes longer runs in the first round only


class Failed(Exception):  # noqa: N818 - what happened
    """A command ended with another exit code than 0."""


def timed(command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None, most: float = MOST) -> float:
    """Return the seconds that a command takes. It runs while the disk is quiet, and its output is discarded.

    Raises Failed if its exit code is not 0, or if it was killed because it had not ended after `most` seconds.
    """
    os.sync()
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(env or {}),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    timer = Timer(most, os.killpg, (process.pid, signal.SIGKILL))  # `wait` with a time limit polls, which is imprecise
    timer.start()
    try:
        code = process.wait()
        seconds = time.perf_counter() - began
    finally:
        timer.cancel()
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code:
        raise Failed(f"had not ended after {most:g} s" if seconds > most else f"exit {code} of {Path(command[0]).name}")
    return seconds


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the runner of this checkout, which keeps bytecode like an installed one."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "OFFPIPE_PLAIN", "OFFPIPE_AUDIT_KEY_FILE", "OFFPIPE_SIGNING_KEY_FILE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONPATH": str(CHECKOUT), **more}


def in_rounds(cases: Mapping[str, Case], rounds: int, remarks: list[str]) -> Times:
    """Run cases in turn, and return their times. A case that fails gets a remark instead.

    A slow case is not run again.
    """
    times: Times = {name: [] for name in cases}
    left_out: set[str] = set()
    for number in range(rounds):
        for name in [name for name in cases if name not in left_out]:
            note(f"{name}, round {number + 1} of {rounds}")
            try:
                times[name].append(cases[name]())
            except (Failed, OSError) as error:
                remarks.append(f"{name} is left out: {error}")
                times[name].clear()
                left_out.add(name)
            else:
                left_out |= {name} if times[name][-1] > PATIENCE else set()
    note("")
    return {name: seconds for name, seconds in times.items() if seconds}


def note(text: str) -> None:
    """Show on a terminal what is being done; an empty text erases it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
