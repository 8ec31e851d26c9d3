"""Kills runs of a pipeline at one state-changing system call after another, and checks that the next run repairs it.

    python tests/support/crash_sweep.py SPEC [--who all|runner|launcher|stage] [--every K] [--scenario first|again|noop]

The pipeline runs in its own workspaces below a temporary directory. It reads your inputs where they are, and writes
none of your files. The output is a line for each position that fails, then a summary. The exit code is 1 if one failed.
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
    """Return the positions at which `who` is alive: from number `first` on, every `every`th."""
    wanted = "runner" if who == "all" else who
    return [number for number, call in enumerate(calls, 1) if wanted in call.alive][first - 1 :: every]


def sample(positions: Sequence[int], number: int, seed: str) -> Sequence[int]:
    """Return the first, the last and a seeded choice between, one from each stretch: it covers all parts of a run."""
    if ALL or len(positions) <= number:
        return positions
    draw, between, stretches = random.Random(seed), positions[1:-1], number - 2
    edges = [at * len(between) // stretches for at in range(stretches + 1)]
    drawn = [draw.choice(between[begin:end]) for begin, end in pairwise(edges)]
    return [positions[0], *drawn, positions[-1]]


def kills(calls: Sequence[Call], options: argparse.Namespace) -> Iterator[Kill]:
    if options.position:
        yield from (Kill(position, options.who, options.then, options.torn) for position in options.position)
        return
    draw = random.Random(options.seed)
    for position in chosen(calls, options.who, first=options.first, every=options.every):
        again = draw.randint(1, len(calls)) if options.twice else options.then
        if not options.torn or calls[position - 1].name in ("write", "pwrite"):
            yield Kill(position, options.who, again, options.torn)


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
    options = parser.parse_args(words)
    if min(options.every, options.first) < 1:
        parser.error("--every and --first count from 1")
    options.spec = os.path.abspath(options.spec)
    return options


def sweep(options: argparse.Namespace, directory: Path) -> int:
    words = {"first": (), "again": ("-f",), "noop": ()}[options.scenario]
    killer = Sweep(options.spec, directory, words=words, fresh=options.scenario == "first")
    calls = killer.undisturbed()
    if options.list:
        print("\n".join(f"{number} {call}" for number, call in enumerate(calls, 1)))
        return 0
    began, positions, failed = time.monotonic(), 0, 0
    for outcome in map(killer.strike, kills(calls, options)):
        positions += 1
        if outcome.faults:
            failed += 1
            print(f"FAILED {outcome.kill}, {outcome.call}: {'; '.join(outcome.faults)}", flush=True)
    print(
        f"{positions} positions of {len(calls)} calls, {killer.killed} kills of {options.who}, {failed} failed, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


def main(words: Sequence[str] | None = None) -> int:
    options = parsed(words)
    if reason := why_not():
        print(f"error: cannot trace here: {reason}", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="offpipe-crash-sweep-", dir=options.workspace))
    try:
        return sweep(options, directory)
    except OffpipeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        failed = sorted(directory.glob("*-failed"))
        if options.keep and failed:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
