"""Bounds: a figure of interleaved runs, its limit, and whether it holds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.timing import Sample


OURS, BEFORE = "offpipe", "offpipe before"
# How much slower than the earlier code a row may be. More is allowed for a no-op of 10,000 paths and for the plugin, in
# exchange for much less code, and for forked Python stages.
SLOWER, SLOWER_MANY, SLOWER_FORKED = 1.1, 1.4, 1.25


@dataclass(frozen=True)
class Bound:
    """A promise and what was measured for it; `holds` is None if there was nothing to compare with."""

    promise: str
    measured: str
    bound: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        return {True: "holds", False: "does not hold", None: "not measured"}[self.holds]


def judged(
    promise: str, value: float, limit: float, *, low: float | None = None, high: float | None = None, unit: str = "",
    at_least: bool = False, digits: int = 2,
) -> Bound:  # fmt: skip
    """Return a bound on a figure; `low` and `high` are its spread."""
    unit = f" {unit}" if unit else ""
    spread = f" ({low:.{digits}f} .. {high:.{digits}f})" if low is not None and high is not None else ""
    bound = f"{'at least' if at_least else 'at most'} {limit:g}{unit}"
    return Bound(promise, f"{value:.{digits}f}{unit}{spread}", bound, value >= limit if at_least else value <= limit)


def fact(promise: str, *, holds: bool | None) -> Bound:
    return Bound(promise, {True: "yes", False: "no", None: ""}[holds], "always", holds)


def missing(promise: str, limit: float, *, unit: str = "", at_least: bool = False) -> Bound:
    bound = f"{'at least' if at_least else 'at most'} {limit:g}{f' {unit}' if unit else ''}"
    return Bound(promise, "", bound, None)


def ratio(samples: Mapping[str, Sample], promise: str, over: str, under: str, limit: float) -> Bound:
    """Bound the median of the rounds' ratios of `over` to `under`."""
    return _compared(samples, promise, (over, under), limit, lambda one, two: one / two, "x")


def speedup(samples: Mapping[str, Sample], promise: str, slow: str, fast: str, limit: float) -> Bound:
    """Set a lower bound on how many times as fast as `slow` the other is."""
    return _compared(samples, promise, (slow, fast), limit, lambda one, two: one / two, "x", at_least=True)


def not_slower(samples: Mapping[str, Sample], shown: str, limit: float = SLOWER) -> list[Bound]:
    """Bound each row of the runner by that of the earlier code, if that was measured."""
    pairs = {name: name.replace(OURS, BEFORE, 1) for name in samples}
    return [
        ratio(samples, f"8. {shown}: {name}: to the code before", name, before, limit)
        for name, before in pairs.items() if before != name and before in samples
    ]  # fmt: skip


def added(samples: Mapping[str, Sample], promise: str, over: str, under: str, limit: float) -> Bound:
    """Bound how many milliseconds `over` takes longer than `under`."""
    return _compared(samples, promise, (over, under), limit, lambda one, two: 1e3 * (one - two), "ms")


def _compared(
    samples: Mapping[str, Sample], promise: str, names: tuple[str, str], limit: float,
    compare: Callable[[float, float], float], unit: str, *, at_least: bool = False,
) -> Bound:  # fmt: skip
    pair = [samples.get(name) for name in names]
    sides: list[Sequence[float]] = [sample.seconds for sample in pair if sample is not None and sample.runs]
    if len(sides) < 2:
        return missing(promise, limit, unit=unit, at_least=at_least)
    rounds = [compare(*both) for both in zip(*sides, strict=False)]
    return judged(
        promise, statistics.median(rounds), limit, low=min(rounds), high=max(rounds), unit=unit, at_least=at_least
    )
