"""`golden`: compares the outputs of the undisturbed run with golden files, or writes these."""

from __future__ import annotations

import csv
import difflib
import io
import os
from itertools import islice, zip_longest
from typing import TYPE_CHECKING

from pytest_offpipe.checks.case import Bench, Case
from pytest_offpipe.compare import difference, same_bytes_until
from pytest_offpipe.sandbox import copy, discard
from pytest_offpipe.settings import UPDATE_GOLDEN, extension_of
from runner.spec.globs import bare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_offpipe.compare import Sides

SIDES = ("golden", "made")
LARGEST = 4 << 20  # bytes of a file that is compared as text or as a table
_LINES = 40  # of a unified diff
_CELLS = 10
_WIDTH = 160  # characters of a line
_DONE = "compared the outputs of the undisturbed run with the golden files"
_TABLES = {".csv": ",", ".tsv": "\t"}


def check_golden(case: Case) -> None:
    """Compare each output that has a golden file, or write these files."""
    golden = _Golden(case)
    if case.item.config.getoption(UPDATE_GOLDEN):
        golden.update()
        return
    found, missing = golden.differences(), golden.missing()
    if found:
        hint = "hint: if the new outputs are right, keep them: --offpipe-update-golden"
        case.fail(_DONE, "the same, after filters", "\n".join([*found, hint]), log=golden.undisturbed.log)
    if missing:
        case.unmade(f"no golden file: {', '.join(missing)}\nhint: --offpipe-update-golden writes it")


class _Golden(Bench):
    """The outputs of a stage and their golden files."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._root = case.spec.root
        top = os.path.normpath(extension_of(case.spec, case.stage)["golden"])
        made = self.undisturbed.outputs.paths
        self._kept = {name: (f"{top}/{bare(path)}", made[name]) for name, path in self.stage.outputs.items()}

    def missing(self) -> list[str]:
        """Return the golden files that are not there, relative to root."""
        return [kept for kept, _ in self._kept.values() if not os.path.lexists(f"{self._root}/{kept}")]

    def differences(self) -> list[str]:
        """Return how outputs differ from their golden files; nothing if the stage is volatile."""
        missing, found = self.missing(), []
        for kept, made in self._kept.values() if not self.volatile else ():
            if kept not in missing:
                found.append(difference(kept, f"{self._root}/{kept}", made, SIDES, self._of_files, is_plain=True))
        return [text for text in found if text]

    def _of_files(self, name: str, paths: list[str], sides: Sides) -> str | None:
        extension = os.path.splitext(paths[1])[1].lower()

        def compare(name: str, paths: list[str], sides: Sides) -> str | None:
            return file_difference(name, paths, sides, _TABLES.get(extension))

        return self.normaliser.of_files(name, paths, sides, compare)

    def update(self) -> None:
        """Write the golden files. What a directory no longer has goes, and nothing beside it.

        A copy is complete before it takes the place of the old file or directory.
        """
        for kept, made in self._kept.values():
            self._require_no_link(kept)
            place = f"{self._root}/{kept}"
            new = f"{place}.{os.getpid()}.new"
            copy(made, new)
            if os.path.isdir(place) or os.path.isdir(new):  # no rename replaces these
                discard(place)
            os.replace(new, place)
        self.case.note(f"wrote {', '.join(kept for kept, _ in self._kept.values())}")

    def _require_no_link(self, kept: str) -> None:
        """Fail if a link on the way would let the update write elsewhere."""
        parts = kept.split("/")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            if os.path.islink(f"{self._root}/{path}"):
                found = f"{path} is a symbolic link, and the update writes only below root\nhint: remove the link"
                self.case.fail("tried to write the golden files", "directories and files", found)


def file_difference(name: str, paths: list[str], sides: Sides, delimiter: str | None = None) -> str | None:
    """Return how two files differ: as a table by cell, as text by line, else by size and the first byte."""
    at = same_bytes_until(paths)
    if at is None:
        return None
    sizes = [os.path.getsize(path) for path in paths]
    texts = [_text(path) for path in paths] if max(sizes) <= LARGEST else []
    lines = [list(io.StringIO(text, newline="\n")) for text in texts if text is not None]
    if len(lines) == 2:
        found = _limited(_cells(lines, delimiter, sides), _CELLS) if delimiter else []
        if not found:
            ends = [[line if line.endswith("\n") else f"{line} (no end of line)" for line in side] for side in lines]
            diff = difflib.unified_diff(ends[0], ends[1], fromfile=sides[0], tofile=sides[1], n=2)
            found = _limited(diff, _LINES)
        return "\n".join([f"{name} differs", *found])
    return f"{name} differs first at offset {at:,}: {sizes[0]:,} bytes {sides[0]}, and {sizes[1]:,} bytes {sides[1]}"


def _text(path: str) -> str | None:
    """Return the text of a file; None if it is binary."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def _cells(lines: list[list[str]], delimiter: str, sides: Sides) -> Iterator[str]:
    """Yield the cells that differ; rows and columns count from 1. Nothing if a side is no table."""
    try:
        tables = [list(csv.reader(side, delimiter=delimiter)) for side in lines]
    except csv.Error:
        return
    for row, pair in enumerate(zip_longest(*tables), 1):
        if None in pair:
            side = 0 if pair[0] is not None else 1
            yield f"row {row:,} is only {sides[side]}: {pair[side]}"
            continue
        for column, cells in enumerate(zip_longest(*pair), 1):
            if cells[0] != cells[1]:
                shown = ["(none)" if cell is None else repr(cell) for cell in cells]
                yield f"row {row:,}, column {column:,}: {shown[0]} {sides[0]}, and {shown[1]} {sides[1]}"


def _limited(lines: Iterator[str], most: int) -> list[str]:
    """Return the first lines, cut to a width, and a line that says that there are more."""
    found = [line.rstrip("\n") for line in islice(lines, most + 1)]
    cut = [line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..." for line in found[:most]]
    return [*cut, *(["... and more"] if len(found) > most else [])]
