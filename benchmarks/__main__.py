"""The command: what to measure, and where; prints tables and asserts nothing. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import copies, growth, guard, text
from benchmarks.machine import describe
from benchmarks.table import show

BENCHMARKS = {"copies": copies.measure, "text": text.measure, "growth": growth.measure, "guard": guard.measure}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all when none is given")
    parser.add_argument("--quick", action="store_true", help="less work: a look, not a measurement")
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="interleaved runs of each (default and least: 5)"
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="the disk to measure on (default: the temporary one)")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(BENCHMARKS):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    if asked.runs < 5:
        parser.error("fewer than 5 runs show no spread")
    with tempfile.TemporaryDirectory(prefix="offpipe-benchmark-", dir=asked.dir) as directory:
        place = Path(directory)
        print("\n".join(describe(place)), flush=True)
        for name in asked.names or BENCHMARKS:
            for table in BENCHMARKS[name](place, runs=asked.runs, quick=asked.quick):
                show(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
