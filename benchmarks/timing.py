"""Times whole processes, one after the other in turn, and keeps every run."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

CHECKOUT = Path(__file__).resolve().parents[1]


class Failed(Exception):  # noqa: N818 - what happened, told as a remark
    """A command ended with an exit code other than 0, or took too long."""


class Usage(NamedTuple):
    """What one run took: wall seconds, processor seconds, and its peak memory in bytes.

    The kernel counts memory from the fork on, so no measured peak is below `floor`.
    """

    seconds: float
    processor: float
    peak: int
    floor: int = 0


@dataclass
class Sample:
    """All runs of one case, and a remark on it."""

    runs: list[Usage] = field(default_factory=list)
    remark: str = ""

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
    def peak(self) -> int:
        """The largest peak, in bytes."""
        return max(usage.peak for usage in self.runs)

    @property
    def peak_text(self) -> str:
        """The largest peak in MiB."""
        highest = max(self.runs, key=lambda usage: usage.peak)
        shown = f"{highest.peak / 2**20:.1f}"
        return shown if highest.peak > highest.floor else f"< {shown}"


def interleave(
    cases: Mapping[str, Callable[[Sample], None]], runs: int, *, patience: float = float("inf"),
    may_fail: Collection[str] = (),
) -> dict[str, Sample]:  # fmt: skip
    """Run every case once, then every case again, and so on, so that a disturbance of the machine affects all.

    A case prepares, measures, and adds to its sample. The disk is quiet before each. Of a case that `may_fail`, the
    first failure is the last run; so is a run that took longer than `patience`.
    """
    samples = {name: Sample() for name in cases}
    for number in range(runs):
        for name, case in cases.items():
            sample = samples[name]
            if sample.remark:
                continue
            note(f"{name}, run {number + 1} of {runs}")
            try:
                case(sample)
            except Failed as error:
                if name not in may_fail:
                    raise SystemExit(f"error: {name}: {error}") from None
                sample.remark = f"failed: {error}"
            if number + 1 < runs and name in may_fail and sample.runs and sample.seconds[-1] > patience:
                sample.remark = f"not run again: longer than {patience:g} s"
    note("")
    return samples


def timed(
    command: Sequence[str | Path], cwd: Path = CHECKOUT, env: Mapping[str, str] | None = None, most: float | None = None
) -> Usage:
    """Run a command to its end and return what it and its children took; its output is discarded.

    Raises Failed, also for a command that is killed because it has not ended after `most` seconds.
    """
    words = [str(word) for word in command]
    os.sync()
    starter = [sys.executable, "-I", "-S", CHECKOUT / "benchmarks/spawned.py", *words]
    started = subprocess.Popen(
        starter, cwd=cwd, env=environment(env or {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, errors = started.communicate(timeout=most)
    except BaseException as error:
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise Failed(f"had not ended after {most:g} s") from None
        raise
    if started.returncode:
        raise Failed(errors.strip().rpartition("\n")[2])
    seconds, processor, peak, floor, code = map(float, output.split())
    if code:
        raise Failed(f"exit {code:.0f} of {Path(words[0]).name} {' '.join(words[1:])}")
    return Usage(seconds, processor, int(peak) * 1024, int(floor) * 1024)


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the runner of this checkout, which keeps bytecode like an installed one."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "OFFPIPE_PLAIN", "OFFPIPE_AUDIT_KEY_FILE", "OFFPIPE_SIGNING_KEY_FILE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PYTHONPATH": str(CHECKOUT), **more}


def code_of(checkout: Path | None) -> dict[str, str]:
    """Return the variables that select the runner of another checkout; None changes nothing."""
    return {"PYTHONPATH": str(checkout)} if checkout else {}


def runner(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of the runner, by the interpreter that runs the benchmarks."""
    return [sys.executable, "-m", "runner", *arguments]


def note(text: str) -> None:
    """Show on a terminal what is being done; an empty text erases it."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
