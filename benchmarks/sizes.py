"""How much work is measured: in full, for which the bounds are meant, or less of everything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Numbers of stages and files, MiB of text and data. Of several, the first is the smallest."""

    name: str
    runs: int
    patience: float
    """Seconds: a case that took longer once is not run again."""
    noop: tuple[int, int, int] = (100, 1_000, 10_000)
    copies: int = 1_000
    scripts: int = 100
    touched: int = 2_048
    inputs: int = 10_000
    text: tuple[int, int] = (256, 1_024)
    growth: tuple[int, int] = (1_000, 10_000)
    starts: int = 1_000
    items: int = 20


FULL = Sizes("full", runs=5, patience=60.0)
QUICK = Sizes(
    "quick", runs=3, patience=5.0, noop=(50, 100, 400), copies=100, scripts=20, touched=128, inputs=500, text=(16, 64),
    growth=(50, 400), starts=100,
)  # fmt: skip
LEAST = Sizes(
    "least", runs=2, patience=0.0, noop=(1, 2, 3), copies=2, scripts=2, touched=1, inputs=3, text=(1, 2),
    growth=(2, 4), starts=3, items=2,
)  # fmt: skip
