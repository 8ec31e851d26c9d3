"""`golden`: compares the outputs of the undisturbed run with golden files, or writes these."""

from __future__ import annotations

import csv
import difflib
import io
import os
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

from pytest_offpipe.checks.case import Bench, Case
from pytest_offpipe.compare import difference, first_difference, of_bytes, text_of
from pytest_offpipe.sandbox import copy, discard
from pytest_offpipe.settings import TABLES, UPDATE_GOLDEN
from runner.display.text import printable
from runner.spec.globs import bare, is_glob, matches, may_match_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_offpipe.compare import Sides

SIDES = ("golden", "made")
_PLACES = ("among golden files", "as made")  # where a file is missing, or is a directory
_LINES = 40  # of a unified diff
_CELLS = 10
_WIDTH = 160  # characters of a line
_DONE = "compared the outputs of the undisturbed run with the golden files"


def check_golden(case: Case) -> None:
    """Compare each output that has a golden file, or write these files."""
    golden = _Golden(case)
    if case.item.config.getoption(UPDATE_GOLDEN):
        golden.update()
        return
    found, missing = golden.differences(), golden.missing()
    if found:
        hint = "hint: if the new outputs are right, keep them: --offpipe-update-golden"
        case.fail(_DONE, "the same, after filters", "\n".join([*found.values(), hint]), log=golden.undisturbed.log)
    if missing:
        case.unmade(f"no golden file: {', '.join(missing)}\nhint: --offpipe-update-golden writes it")


class _Golden(Bench):
    """The outputs of a stage and their golden files."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self._root = case.spec.root
        top = os.path.normpath(self.extension["golden"])
        made = self.undisturbed.outputs.paths
        self._kept = [(f"{top}/{bare(path)}", made[name]) for name, path in self.stage.outputs.items()]
        self._require_own_places()

    def _require_own_places(self) -> None:
        """Fail if golden files are in the place of other files, which an update or a run would replace."""
        for path, what in self._declared():
            for kept, made in self._kept:
                if _meet(path, kept, is_directory=os.path.isdir(made)):
                    found = f'{kept} is in the place of "{path}", {what}'
                    self._refuse_place(found, "name another directory for golden files")

    def _declared(self) -> Iterator[tuple[str, str]]:
        """Yield each path and glob that the spec gives another meaning, and what it is."""
        spec = self.case.spec
        yield os.path.relpath(spec.paths.state_dir, self._root), "the state directory"
        for stage in spec.stages:
            for _, _, path in stage.entries():
                yield path, f"an input of stage {stage.name}"
            for path in stage.outputs.values():
                yield path, f"an output of stage {stage.name}"

    def _refuse_place(self, found: str, hint: str) -> None:
        self.case.fail("looked where golden files are", "a place below root for them alone", f"{found}\nhint: {hint}")

    def missing(self) -> list[str]:
        """Return the golden files that are not there, relative to root."""
        return [kept for kept, _ in self._kept if not os.path.lexists(f"{self._root}/{kept}")]

    def differences(self) -> dict[str, str]:
        """Return how outputs differ from golden files that are there; nothing if the stage is volatile."""
        missing, found = self.missing(), {}
        of_files = partial(self.normaliser.of_files, compare=file_difference)
        for kept, made in self._kept if not self.volatile else ():
            paths = f"{self._root}/{kept}", made
            if kept not in missing and (text := difference(kept, *paths, _PLACES, of_files, 0)):
                found[kept] = text
        return found

    def update(self) -> None:
        """Write the golden files that are missing or differ.

        What a directory no longer has goes, and nothing beside it. A copy is complete before the old one goes.
        """
        for kept, _ in self._kept:
            self._require_no_link(kept)
        written = {*self.missing(), *self.differences()}
        for kept, made in self._kept:
            if kept in written:
                place = f"{self._root}/{kept}"
                new = f"{os.path.dirname(place)}/.offpipe-new-{os.path.basename(place)}"
                discard(new)  # of an update that was killed
                copy(made, new)
                if os.path.isdir(place) or os.path.isdir(new):  # no rename replaces these
                    discard(place)
                os.replace(new, place)
        self.case.note(f"wrote {', '.join(sorted(written)) or 'nothing: all are the same'}")

    def _require_no_link(self, kept: str) -> None:
        """Fail if a link on the way would let the update write elsewhere."""
        parts = kept.split("/")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            if os.path.islink(f"{self._root}/{path}"):
                self._refuse_place(
                    f"{path} is a symbolic link, and the update writes only below root", "remove the link"
                )


def _meet(declared: str, kept: str, *, is_directory: bool) -> bool:
    """Whether a declared path or glob is, holds or lies in the place of a golden file or directory."""
    if is_glob(declared):
        return matches(declared, kept) or (is_directory and may_match_below(declared, kept))
    paths = f"{bare(declared)}/", f"{kept}/"
    return paths[0].startswith(paths[1]) or paths[1].startswith(paths[0])


def file_difference(name: str, paths: list[str], _: Sides) -> str | None:
    """Return how two files differ: as a table by cell, as text by line, else by size and the first byte."""
    if (different := first_difference(paths)) is None:
        return None
    lines = [list(io.StringIO(text, newline="\n")) for text in map(text_of, paths) if text is not None]
    if len(lines) == 2:
        delimiter = TABLES.get(os.path.splitext(name)[1].lower())
        found = _limited(_cells(lines, delimiter), _CELLS) if delimiter else []
        if not found and max(map(len, chain(*lines))) > _WIDTH:
            return of_bytes(name, paths, SIDES)  # shows the part of a line that differs
        if not found:
            ends = [[line if line.endswith("\n") else f"{line} (no end of line)" for line in side] for side in lines]
            diff = difflib.unified_diff(ends[0], ends[1], fromfile=SIDES[0], tofile=SIDES[1], n=2)
            found = _limited(diff, _LINES)
        return "\n".join([f"{name} differs", *found])
    sizes = [f"{os.path.getsize(path):,} bytes {side}" for path, side in zip(paths, SIDES, strict=True)]
    return f"{name} differs first at offset {different[0]:,}: {', and '.join(sizes)}"


def _cells(lines: list[list[str]], delimiter: str) -> Iterator[str]:
    """Yield the cells that differ; rows and columns count from 1. Nothing if rows or columns are missing on a side."""
    try:
        tables = [list(csv.reader(side, delimiter=delimiter)) for side in lines]
    except csv.Error:
        return
    if [*map(len, tables[0])] != [*map(len, tables[1])]:
        return
    for row, pair in enumerate(zip(*tables, strict=True), 1):
        for column, (golden, made) in enumerate(zip(*pair, strict=True), 1):
            if golden != made:
                yield f"row {row:,}, column {column:,}: {golden!r} {SIDES[0]}, and {made!r} {SIDES[1]}"


def _limited(lines: Iterator[str], most: int) -> list[str]:
    """Return the first lines, cut to a width, and a line that says that there are more."""
    found = [printable(line.rstrip("\n")) for line in islice(lines, most + 1)]
    cut = [line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..." for line in found[:most]]
    return [*cut, *(["... and more"] if len(found) > most else [])]
