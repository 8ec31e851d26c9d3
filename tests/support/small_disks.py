"""Small disks in memory below a bench, for tests that fill them."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_bench import PipelineBench

MOUNTS = os.geteuid() == 0 and shutil.which("mount") is not None and shutil.which("umount") is not None


@contextmanager
def small_disk(bench: PipelineBench, options: str, *source: str) -> Iterator[PipelineBench]:
    """Mount a disk at `mnt` below the bench until its runs have ended: a tmpfs, or `source`. Skip where none can be."""
    if not MOUNTS:
        pytest.skip("needs root, to mount a disk of its own")
    (bench.root / "mnt").mkdir()
    what = source or ("-t", "tmpfs", "none")
    command = ["mount", "-o", options, *what, str(bench.root / "mnt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount a disk: {done.stderr.strip()}")
    try:
        yield bench
    finally:
        bench.close()
        subprocess.run(["umount", "-l", str(bench.root / "mnt")], check=True)


def fill(bench: PipelineBench, leave: int) -> None:
    """Write a ballast file that leaves `leave` bytes of the disk free (in whole blocks)."""
    room = os.statvfs(bench.root / "mnt")
    with open(bench.root / "mnt/ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, room.f_bavail * room.f_frsize - leave)


def make_room(bench: PipelineBench) -> None:
    """Remove the ballast."""
    (bench.root / "mnt/ballast").unlink()
