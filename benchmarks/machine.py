"""What the figures were measured on: the code, the machine, and how long its disk takes to flush."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

import runner
from benchmarks.table import spelled
from benchmarks.timing import CHECKOUT

SYNCS = 51


def describe(place: Path) -> list[str]:
    """Return lines that name the runner, the machine, and the disk below `place`."""
    return [
        f"offpipe {runner.__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}",
        f"code: {code(CHECKOUT)}",
        f"{_processor()}, {os.cpu_count()} cores, {_file_system(place)} file system",
        synced(place),
    ]


def code(checkout: Path) -> str:
    """Return git's name for the code in a checkout, with `-dirty` if files differ; or why it has no name."""
    if not (checkout / ".git").exists():  # a repository around it must not name it
        return "without a name, for this is no git checkout"
    words = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return "without a name, for there is no git"
    return ended.stdout.strip() or f"without a name, for git says: {ended.stderr.strip()}"


def synced(place: Path) -> str:
    """Return a line on how long the disk below `place` takes now to flush a small append."""
    place.mkdir(parents=True, exist_ok=True)
    return f"fdatasync after appending 200 bytes: {_syncs(place)}"


def _syncs(place: Path) -> str:
    """Time the flush that a runner must wait for at least once a stage, or a power cut could lose its work."""
    seconds = []
    path = place / "synced"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(SYNCS):
        os.write(descriptor, b"x" * 200)
        began = time.perf_counter()
        os.fdatasync(descriptor)
        seconds.append(time.perf_counter() - began)
    os.close(descriptor)
    path.unlink()
    return f"median {spelled(statistics.median(seconds))} ({spelled(min(seconds))} .. {spelled(max(seconds))})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(place: Path) -> str:
    """Return the type of the file system of `place`: that of the longest mount point that contains it."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    leading = [mount for mount in mounts if place.resolve().is_relative_to(mount[1])]
    return max(leading, key=lambda mount: len(mount[1]), default=["", "", "unknown"])[2]
