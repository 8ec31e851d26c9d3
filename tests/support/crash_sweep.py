"""Kills runs of a pipeline at one state-changing system call after the other, and looks whether the next run mends it.

    python tests/support/crash_sweep.py SPEC [--who all|runner|launcher|stage] [--every K] [--scenario first|again|noop]

The pipeline runs in workspaces of its own below a temporary directory; its inputs are read where they are, and nothing
of yours is written. A line for each position that fails, then a summary; exit code 1 when there was a failure.
docs/durability.md says what is checked.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from call_tracer import WHO, Call, why_not
from crash_kills import Kill, Sweep

from runner.errors import OffpipeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCENARIOS = ("first", "again", "noop")
ALL = os.environ.get("OFFPIPE_SWEEP") == "all"


def chosen(calls: Sequence[Call], who: str, *, first: int, every: int) -> list[int]:
    """The positions at which there is somebody to kill, from `first` on every `every`th of them."""
    wanted = "runner" if who == "all" else who
    return [number for number, call in enumerate(calls, 1) if wanted in call.alive][first - 1 :: every]


def sample(positions: Sequence[int], number: int, seed: str) -> Sequence[int]:
    """First and last, and of those between a seeded choice, one of each stretch: no part of a run is left out."""
    if ALL or len(positions) <= number:
        return positions
    draw, between, stretches = random.Random(seed), positions[1:-1], number - 2
    edges = [at * len(between) // stretches for at in range(stretches + 1)]
    drawn = [draw.choice(between[begin:end]) for begin, end in pairwise(edges)]
    return [positions[0], *drawn, positions[-1]]


def kills(calls: Sequence[Call], asked: argparse.Namespace) -> Iterator[Kill]:
    if asked.position:
        yield from (Kill(position, asked.who, asked.then, asked.torn) for position in asked.position)
        return
    draw = random.Random(asked.seed)
    for position in chosen(calls, asked.who, first=asked.first, every=asked.every):
        again = draw.randint(1, len(calls)) if asked.twice else asked.then
        if not asked.torn or calls[position - 1].name in ("write", "pwrite"):
            yield Kill(position, asked.who, again, asked.torn)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/support/crash_sweep.py", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("spec", metavar="SPEC")
    parser.add_argument("--who", choices=WHO, default="all", help="whom to kill; default: all at once")
    parser.add_argument("--scenario", choices=SCENARIOS, default="first", help=(
        "which run is killed: the first in an empty workspace (default), one of all stages over what is there, "
        "one that has nothing to do"
    ))  # fmt: skip
    parser.add_argument("--every", type=int, default=1, metavar="K", help="only every Kth position (default: all)")
    parser.add_argument("--first", type=int, default=1, metavar="N", help="begin with the Nth position")
    parser.add_argument("--position", type=int, action="append", metavar="N", help="kill at call N only")
    parser.add_argument("--then", type=int, default=0, metavar="N", help="kill the next run too, at its call N")
    parser.add_argument("--twice", action="store_true", help="the same at a call drawn anew each time")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="what --twice draws from")
    parser.add_argument(
        "--torn", action="store_true", help="kill in the middle of writes, of which half is let through"
    )
    parser.add_argument("--list", action="store_true", help="list the calls of an undisturbed run, and kill nothing")
    parser.add_argument("--workspace", metavar="DIR", help="make the workspaces in DIR, not in the temporary directory")
    parser.add_argument("--keep", action="store_true", help="keep the workspaces of positions that failed")
    asked = parser.parse_args(words)
    if min(asked.every, asked.first) < 1:
        parser.error("--every and --first count from 1")
    asked.spec = os.path.abspath(asked.spec)
    return asked


def sweep(asked: argparse.Namespace, directory: Path) -> int:
    words = {"first": (), "again": ("-f",), "noop": ()}[asked.scenario]
    one = Sweep(asked.spec, directory, words=words, fresh=asked.scenario == "first")
    calls = one.undisturbed()
    if asked.list:
        print("\n".join(f"{number} {call}" for number, call in enumerate(calls, 1)))
        return 0
    began, positions, failed = time.monotonic(), 0, 0
    for outcome in map(one.strike, kills(calls, asked)):
        positions += 1
        if outcome.faults:
            failed += 1
            print(f"FAILED {outcome.kill}, {outcome.call}: {'; '.join(outcome.faults)}", flush=True)
    print(
        f"{positions} positions of {len(calls)} calls, {one.killed} kills of {asked.who}, {failed} failed, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


def main(words: Sequence[str] | None = None) -> int:
    asked = parsed(words)
    if reason := why_not():
        print(f"error: cannot trace here: {reason}", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="offpipe-crash-sweep-", dir=asked.workspace))
    try:
        return sweep(asked, directory)
    except OffpipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        failed = sorted(directory.glob("*-failed"))
        if asked.keep and failed:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
