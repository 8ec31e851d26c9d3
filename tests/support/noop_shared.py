"""A no-op record of many files, which a process and its child share: what a program in a process of its own is told."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import TYPE_CHECKING

from runner.decide.noop import ENTRIES, SHARED_FROM, Record, part, seen

if TYPE_CHECKING:
    from pathlib import Path

AROUND = ("1", "here")
EACH = 100  # paths a part
MANY = SHARED_FROM + EACH


def made(top: Path, files: int) -> Record:
    """Return a record of so many files in a directory; the paths in it are relative to that."""
    names = [b"%d" % number for number in range(files)]
    for name in names:
        if not (top / name.decode()).exists():
            (top / name.decode()).write_bytes(name)
    signatures = seen(ENTRIES, [os.path.join(os.fsencode(top), name) for name in names])
    bounds = [*range(0, files, EACH), files]
    parts = [part(ENTRIES, names[start:end], signatures[start:end]) for start, end in pairwise(bounds)]
    return Record(AROUND, str(top), parts, files, {})


def look(top: Path) -> None:
    """Print what a record of unchanged files is found to be, and then of one with a change at the child's, and here."""
    found = made(top, MANY)
    print(found.is_current(AROUND, lambda: print("meanwhile")))
    for number in (0, MANY // 2, MANY - 1):
        found = made(top, MANY)
        os.utime(top / str(number))
        print(found.is_current(AROUND))
        (top / str(number)).unlink()
        print(found.is_current(AROUND))
