"""Reads and writes lines of readings."""

from __future__ import annotations

import re
from typing import NamedTuple

LINE = re.compile(r"([^,]+),([0-9-]+),(-?[0-9]+(?:[.][0-9]+)?)([CF])")


class Reading(NamedTuple):
    """One reading of one place, in degrees Celsius."""

    place: str
    date: str
    celsius: float


def parse(line: str) -> Reading:
    """Read `place,date,degrees` with `C` or `F` after the degrees. Raises ValueError for anything else."""
    match = LINE.fullmatch(line.rstrip("\n"))
    if match is None:
        raise ValueError(f"no reading: {line!r}")
    place, date, degrees, scale = match.groups()
    celsius = float(degrees) if scale == "C" else (float(degrees) - 32) * 5 / 9
    return Reading(place.strip().lower(), date, celsius)


def spell(reading: Reading) -> str:
    """Write a reading as `parse` reads it, with one decimal."""
    return f"{reading.place},{reading.date},{reading.celsius:.1f}C\n"
