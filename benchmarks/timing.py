"""How things are timed: whole processes, one after the other in turn, every run kept."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass
class Sample:
    """All runs of one case: seconds, and the peak memory of the process in bytes where that is asked for."""

    seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    def add(self, seconds: float, peak: int = 0) -> None:
        self.seconds.append(seconds)
        self.peaks.append(peak)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def peak_text(self) -> str:
        """The largest peak in MiB. The kernel counts from the fork on, so that ours is the least it can be."""
        floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        peak = max(self.peaks)
        return f"{peak / 2**20:.1f}" if peak > floor else f"< {floor / 2**20:.0f}"


def interleave(cases: Mapping[str, Callable[[Sample], None]], runs: int) -> dict[str, Sample]:
    """Run every case once, then every case again, and so on: what disturbs the machine then disturbs all of them.

    A case prepares, measures, and adds to its sample. The disk is quiet before each.
    """
    samples = {name: Sample() for name in cases}
    for number in range(runs):
        for name, case in cases.items():
            note(f"{name}, run {number + 1} of {runs}")
            case(samples[name])
    note("")
    return samples


def timed(command: Sequence[str | Path], cwd: Path = CHECKOUT, expect: int = 0) -> tuple[float, int]:
    """Run a command to its end and return its seconds and peak memory; its output is nobody's, a failure ends all."""
    words = [str(word) for word in command]
    os.sync()
    null = os.open(os.devnull, os.O_RDWR)
    began = time.perf_counter()
    pid = os.posix_spawnp(
        "env",
        ["env", "-C", str(cwd), f"PYTHONPATH={CHECKOUT}", *words],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, null, descriptor) for descriptor in (0, 1, 2)],
    )
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    os.close(null)
    if os.waitstatus_to_exitcode(status) != expect:
        raise SystemExit(f"error: exit {os.waitstatus_to_exitcode(status)}: {' '.join(words)}")
    return seconds, usage.ru_maxrss * 1024


def runner(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of the runner, by the interpreter that runs the benchmarks."""
    return [sys.executable, "-m", "runner", *arguments]


def note(text: str) -> None:
    """Say on a terminal what is being done; an empty text wipes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
