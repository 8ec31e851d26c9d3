"""What the expansion of `each` reads on disk: names in directories, and tables (CSV with a header, or JSON)."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from runner.errors import Fault, SpecError, raise_if_system_error
from runner.spec.fields import PROSE, VALUE
from runner.spec.kinds import Finding, Place, list_of, map_of, pointer, show
from runner.spec.source import decoded, parse_source, read_source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Rows = list[tuple[str, dict[str, object]]]  # each with its place, `samples.csv:2`

_ROWS = list_of(map_of(PROSE, VALUE, least=1))  # a column that no stage uses may have any name
_QUOTES = 'close the quote at the beginning of the cell, and double each " inside it'


class SourceError(Exception):
    """An `each` has no values: a finding, with its place below the `each` in the spec.

    `is_missing`: the spec may be right, but files are missing or unusable.
    """

    def __init__(self, what: str, hint: str = "", *, at: Place = (), is_missing: bool = False) -> None:
        super().__init__(what)
        self.finding = Finding(at, what, hint)
        self.is_missing = is_missing


class Disk:
    """Names and tables below `root`. The directories `own`, and files in `without`, match no pattern.

    `inputs` is a directory laid out as root: what is in it is taken from there only. `examined` are the absolute paths
    on which the answers depend: the no-op record notices a change of any of them.
    """

    def __init__(self, root: str, own: Collection[str], without: Collection[str], inputs: str | None) -> None:
        self.root = root
        self.examined: set[str] = set()
        self._bases = (root,) if inputs is None else (inputs, root)
        self._own = own
        self._without = {os.path.relpath(path, root) for path in without}
        self._listed = cache(_listed)  # many templates have one directory

    def files(self, head: str, tail: str) -> list[str]:
        """Return the paths of the files that `head*tail` matches, relative to root. Raises SourceError."""
        found = (paths for base in self._bases if (paths := [*self._files_in(base, head, tail)]))
        return [path for path in next(found, []) if path not in self._without]

    def _files_in(self, base: str, head: str, tail: str) -> Iterator[str]:
        directory, slash, start = head.rpartition("/")
        end, nested, below = tail.partition("/")
        self.examined.add(top := _absolute(base, directory))
        try:
            entries = self._listed(top)
        except OSError as error:
            raise_if_system_error(error, top)
            raise SourceError(f'"{directory}": {error.strerror}', is_missing=True) from error
        for entry in entries:
            if not (entry.name.startswith(start) and entry.name.endswith(end)) or entry.path in self._own:
                continue
            path = f"{directory}{slash}{entry.name}{nested}{below}"
            if nested or entry.is_symlink():  # the directory does not change when these do
                self.examined.add(_absolute(base, path))
            if os.path.isfile(_absolute(base, path)) if nested else not entry.is_dir():
                yield path

    def table(self, path: str) -> Rows:
        """Return the rows of a table. Raises SourceError."""
        places = [_absolute(base, path) for base in self._bases]
        self.examined.add(full := next(filter(os.path.lexists, places), places[-1]))
        try:
            rows = (_json_rows if path.lower().endswith(".json") else _csv_rows)(path, read_source(full, "table"))
        except SpecError as error:
            fault, is_missing = error.faults[0], isinstance(error.__cause__, OSError)
            what = f"{fault.where.replace(full, path)}: {fault.what}"
            raise SourceError(what, fault.hint, at=("rows",), is_missing=is_missing) from error
        if not rows:
            raise SourceError(f"{path}: has no rows", at=("rows",), is_missing=True)
        return rows


def _listed(directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _absolute(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path))


def _csv_rows(path: str, content: bytes) -> Rows:
    import csv
    from collections import Counter
    from io import StringIO

    text = StringIO(decoded(path, content), newline="")
    reader = csv.reader(text, delimiter="\t" if path.lower().endswith(".tsv") else ",", strict=True)
    lines: list[tuple[str, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            lines.append((f"{path}:{line}", cells))
            line = reader.line_num + 1
    except csv.Error as error:  # a quote that was never closed may have taken in all that follows
        raise SpecError(Fault(f"{path}:{line}", str(error), _QUOTES)) from error
    (at, header), *rows = [(place, cells) for place, cells in lines if cells] or [(path, [])]
    if doubled := [name for name, count in Counter(header).items() if count > 1]:
        raise SpecError(Fault(at, f"two columns are called {show(doubled[0])}"))
    for place, cells in rows:
        if len(cells) != len(header):
            raise SpecError(Fault(place, f"has {len(cells)} cells, and the header has {len(header)}"))
    return [(place, dict(zip(header, cells, strict=True))) for place, cells in rows]


def _json_rows(path: str, content: bytes) -> Rows:
    value, findings = parse_source(path, content)
    for at, what, hint in (*findings, *_ROWS.check(value)):
        raise SpecError(Fault(pointer(path, at), what, hint))
    assert isinstance(value, list)
    for number, row in enumerate(value):
        if row.keys() != value[0].keys():
            raise SpecError(Fault(pointer(path, (number,)), "has other names than the first row"))
    return [(pointer(path, (number,)), row) for number, row in enumerate(value)]
