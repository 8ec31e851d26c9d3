"""How things are timed: whole processes, one after the other in turn, every run kept."""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHECKOUT = Path(__file__).resolve().parents[1]


class Usage(NamedTuple):
    """What one run took: seconds on the wall and of processors, and its peak memory in bytes.

    The kernel counts memory from the fork on, so the peak of what was started is never seen below `floor`.
    """

    seconds: float
    processor: float
    peak: int
    floor: int = 0


@dataclass
class Sample:
    """All runs of one case."""

    runs: list[Usage] = field(default_factory=list)

    def add(self, usage: Usage) -> None:
        self.runs.append(usage)

    @property
    def seconds(self) -> list[float]:
        return [usage.seconds for usage in self.runs]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def processor(self) -> float:
        return statistics.median(usage.processor for usage in self.runs)

    @property
    def peak_text(self) -> str:
        """The largest peak in MiB."""
        highest = max(self.runs, key=lambda usage: usage.peak)
        shown = f"{highest.peak / 2**20:.1f}"
        return shown if highest.peak > highest.floor else f"< {shown}"


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


def timed(command: Sequence[str | Path], cwd: Path = CHECKOUT, expect: int = 0) -> Usage:
    """Run a command to its end and return what it and its children took; its output is nobody's, a failure ends all."""
    words = [str(word) for word in command]
    os.sync()
    null = os.open(os.devnull, os.O_RDWR)
    began = time.perf_counter()
    pid = os.posix_spawnp(
        "env",
        ["env", "-C", str(cwd), "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPATH={CHECKOUT}", *words],  # as installed
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, null, descriptor) for descriptor in (0, 1, 2)],
    )
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    os.close(null)
    if os.waitstatus_to_exitcode(status) != expect:
        raise SystemExit(f"error: exit {os.waitstatus_to_exitcode(status)}: {' '.join(words)}")
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Usage(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, floor * 1024)


def runner(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of the runner, by the interpreter that runs the benchmarks."""
    return [sys.executable, "-m", "runner", *arguments]


def note(text: str) -> None:
    """Say on a terminal what is being done; an empty text wipes it away."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
