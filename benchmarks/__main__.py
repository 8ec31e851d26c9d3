"""Measures the runner beside other tools and prints tables; it asserts nothing. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks import copies, growth, guard, noop, plugin, report, scripts, start, text, touched
from benchmarks.bench import Bench
from benchmarks.machine import code, describe
from benchmarks.peers import Found, default_cache, find
from benchmarks.sizes import FULL, LEAST, QUICK
from benchmarks.table import Table, show
from benchmarks.timing import CHECKOUT
from benchmarks.tools import PEERS

BENCHMARKS = {
    "start": start.measure, "noop": noop.measure, "copies": copies.measure, "scripts": scripts.measure,
    "touched": touched.measure, "text": text.measure, "growth": growth.measure, "guard": guard.measure,
    "plugin": plugin.measure,
}  # fmt: skip
BESIDE_BEFORE = 11  # runs of each: with fewer, the spread hides a difference of a tenth
SWIFT = ("make", "ninja", "doit")
ALONE = {"start", "text", "growth", "guard", "plugin"}  # benchmarks that need no other tool


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    names = _known(parser, arguments.names, BENCHMARKS) or list(BENCHMARKS)
    default = SWIFT if arguments.quick else PEERS
    peers = _known(parser, list(default) if arguments.peers is None else arguments.peers.split(","), PEERS)
    sizes = LEAST if arguments.least else QUICK if arguments.quick else FULL
    least = BESIDE_BEFORE if arguments.before else FULL.runs
    runs = arguments.runs or (least if sizes is FULL else sizes.runs)
    if sizes is FULL and runs < least:
        parser.error(f"fewer than {least} runs show no spread")
    found = Found() if set(names) <= ALONE else find(arguments.cache, peers)
    tables: list[Table] = []
    with tempfile.TemporaryDirectory(prefix="offpipe-benchmark-", dir=arguments.dir) as directory:
        place = Path(directory)
        about = [*describe(place), *(f"{name}: {version}" for name, version in found.versions.items())]
        if arguments.before:
            about.append(f"before: {code(arguments.before)}")
        about.append(f"{sizes.name} sizes, {runs} runs of each in turn")
        print("\n".join(about), flush=True)
        for name in names:
            for table in BENCHMARKS[name](Bench(place / name, sizes, runs, found.tools, arguments.before)):
                if sizes is not FULL:
                    table.leave_unjudged()
                show(table)
                tables.append(table)
    is_complete = sizes is FULL and set(names) == set(BENCHMARKS)
    if to := arguments.to or (CHECKOUT / "docs" if is_complete else None):
        print(f"\nwritten to {report.write(to, about, tables)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all when none is given")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="less work: a look, not a measurement")
    size.add_argument("--least", action="store_true", help="next to no work: whether the programs themselves work")
    parser.add_argument(
        "--runs", type=int, metavar="N", help="interleaved runs of each (default, and least in full: 5)"
    )
    parser.add_argument("--dir", type=Path, metavar="DIR", help="the disk to measure on (default: the temporary one)")
    parser.add_argument(
        "--peers", metavar="LIST", help=f"other tools (default: {','.join(PEERS)}; quick: {','.join(SWIFT)})"
    )
    parser.add_argument(
        "--cache", type=Path, default=default_cache(), metavar="DIR", help="where tools are installed (%(default)s)"
    )
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="a checkout of an earlier version, to be measured beside this one"
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="write a report (default: docs, for all in full)")
    return parser


def _known(parser: argparse.ArgumentParser, names: list[str], known: dict[str, object]) -> list[str]:
    """Return the names; an unknown one is a usage error."""
    names = [name for name in names if name]
    if unknown := set(names) - set(known):
        parser.error(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
