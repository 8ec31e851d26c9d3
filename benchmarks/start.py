"""How long the program takes to start: `--version` and `--help` beside an interpreter that does nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from benchmarks.bounds import BEFORE, OURS, added, not_slower
from benchmarks.table import Table
from benchmarks.timing import code_of, runner, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.bench import Bench
    from benchmarks.timing import Sample

BARE = "bare interpreter"


def measure(bench: Bench) -> Iterator[Table]:
    cases = {BARE: _case([sys.executable, "-c", ""])}
    codes = {OURS: None} | ({BEFORE: bench.before} if bench.before else {})
    cases |= {
        f"{name} {word}": _case(runner(word), code_of(code))
        for word in ("--version", "--help")
        for name, code in codes.items()
    }
    samples = bench.interleave(cases)
    bounds = [
        added(samples, f"5. {word}: more than a bare interpreter", f"offpipe {word}", BARE, 20)
        for word in ("--version", "--help")
    ]
    bounds += not_slower(samples, "start")
    yield Table("start: --version and --help", samples, BARE, bounds=bounds)


def _case(command: list[str | Path], env: dict[str, str] | None = None) -> Callable[[Sample], None]:
    return lambda sample: sample.add(timed(command, env=env))
