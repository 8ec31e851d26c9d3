"""Measures offpipe beside other tools, and writes one table and one picture. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import runner
from benchmarks.report import table, write
from benchmarks.rows import Bench, Sizes
from benchmarks.timing import CHECKOUT, note
from benchmarks.tools import find_tools


def main() -> None:
    """Measure, and write the results; `--quick` prints them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work in two rounds, and no page")
    given = parser.parse_args()
    began, missing = time.monotonic(), []
    tools, versions = find_tools(missing)
    rounds = 2 if given.quick else 5
    with tempfile.TemporaryDirectory(prefix="offpipe-benchmark-") as place:
        about = [*described(Path(place)), ", ".join(versions), *missing, f"{rounds} rounds"]
        bench = Bench(Path(place), Sizes().parts(10 if given.quick else 1), rounds, tools)
        rows = list(bench.rows())
        note("removing the files")
    note("")
    about[-1] += f", in {(time.monotonic() - began) / 60:.1f} minutes"
    if given.quick:
        print("\n".join(about), table(rows), sep="\n\n")
    else:
        print(f"written to {write(CHECKOUT / 'docs', about, rows)}")


def described(place: Path) -> list[str]:
    """Return lines on the processor, the kernel and the disk below `place`."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in cpu if line.startswith("model name")), platform.machine())
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    around = [mount for mount in mounts if place.resolve().is_relative_to(mount[1])]
    disk = max(around, key=lambda mount: len(mount[1]))[2]
    kernel = platform.release().partition("-")[0]
    return [
        f"{model}, {len(os.sched_getaffinity(0))} processors, Linux {kernel}, {disk} file system",
        f"offpipe {runner.__version__}, Python {platform.python_version()}",
    ]


if __name__ == "__main__":
    main()
