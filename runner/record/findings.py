"""What `verify` finds, as values: damage by file, line and field; what is only incomplete; what is worth a remark."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

KEPT = 1000  # of one file; what is found beyond is counted


class Damage(NamedTuple):
    """One thing that is not as it was written. `line` counts from 1 (0: the file), `field` may be empty."""

    file: str
    line: int
    field: str
    what: str

    @property
    def place(self) -> str:
        """File, line and field, as far as there are such."""
        line = f":{self.line}" if self.line else ""
        return f"{self.file}{line}: {self.field}" if self.field else f"{self.file}{line}"


class Remark(NamedTuple):
    """Something about one file that is no damage."""

    file: str
    what: str


class Findings:
    """All that was found, in the order in which it was."""

    def __init__(self) -> None:
        self.damage: list[Damage] = []
        self.incomplete: list[Remark] = []
        self.notes: list[Remark] = []
        self._counts: Counter[str] = Counter()

    def damaged(self, file: str, line: int, field: str, what: str) -> None:
        """Note damage, at most KEPT times a file: a hostile one can hold any number of wrong lines."""
        self._counts[file] += 1
        if self._counts[file] <= KEPT:
            self.damage.append(Damage(file, line, field, what))

    def unfinished(self, file: str, what: str) -> None:
        """Note what a kill leaves, and the next run mends."""
        self.incomplete.append(Remark(file, what))

    def remark(self, file: str, what: str) -> None:
        """Note what nobody has to do anything about."""
        self.notes.append(Remark(file, what))

    @property
    def hidden(self) -> int:
        """How much damage was counted but not kept."""
        return sum(max(0, count - KEPT) for count in self._counts.values())
