"""What the expansion of `each` reads on disk: names in directories, and tables (CSV with a header, or JSON)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.errors import SpecError, raise_if_system_error
from runner.reading import NotRegularError, open_regular
from runner.spec.fields import LABEL, VALUE
from runner.spec.kinds import list_of, map_of, show
from runner.spec.source import LARGEST, parse_source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Rows = list[tuple[str, dict[str, object]]]  # each with its place, `line 2`

_ROWS = list_of(map_of(LABEL, VALUE))


class SourceError(Exception):
    """The values of an `each` cannot be had: the fact, a hint, and the place below the `each` in the spec.

    `is_missing`: the spec may be right, but the files are not there.
    """

    def __init__(self, what: str, hint: str = "", *, at: tuple[str | int, ...] = (), is_missing: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.at = at
        self.is_missing = is_missing


class Disk:
    """Names and tables below `root`, read when they are asked for. Files in directories of `own` are left out.

    What is there in `instead`, a directory laid out as root, is taken from there only.

    `read` are the absolute paths that were looked at, so that a change of any of them is noticed.
    """

    def __init__(self, root: str, own: Collection[str], instead: str | None = None) -> None:
        self.read: set[str] = set()
        self._bases = (root,) if instead is None else (instead, root)
        self._own = own

    def files(self, head: str, tail: str) -> list[str]:
        """Return the paths of the files that `head*tail` matches, relative to root. Raises SourceError."""
        found = (paths for base in self._bases if (paths := [*self._files_in(base, head, tail)]))
        return next(found, [])

    def _files_in(self, base: str, head: str, tail: str) -> Iterator[str]:
        directory, slash, start = head.rpartition("/")
        end, nested, below = tail.partition("/")
        self.read.add(top := _absolute(base, directory))
        try:
            with os.scandir(top) as listed:
                entries = [entry for entry in listed if entry.name.startswith(start) and entry.name.endswith(end)]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise_if_system_error(error, top)
            raise SourceError(f'"{directory}": {error.strerror}', is_missing=True) from error
        for entry in entries:
            if entry.path in self._own or entry.name.startswith("."):
                continue
            path = f"{directory}{slash}{entry.name}{nested}{below}"
            if nested or entry.is_symlink():  # the directory does not change when these do
                self.read.add(_absolute(base, path))
            if os.path.isfile(_absolute(base, path)) if nested else not entry.is_dir():
                yield path

    def table(self, path: str) -> Rows:
        """Return the rows of a table. Raises SourceError."""
        places = [_absolute(base, path) for base in self._bases]
        self.read.add(full := next(filter(os.path.lexists, places), places[-1]))
        try:
            with open(open_regular(full), "rb") as file:
                content = file.read(LARGEST + 1)
        except NotRegularError as error:
            raise SourceError(f'"{path}" {error.what}') from error
        except OSError as error:
            raise_if_system_error(error, full)
            raise SourceError(f'"{path}": {(error.strerror or "").lower()}', is_missing=True) from error
        if len(content) > LARGEST:
            raise SourceError(f'"{path}" is larger than {LARGEST >> 20} MiB, the limit')
        rows = _json_rows(path, content) if path.endswith(".json") else _csv_rows(path, content)
        if not rows:
            raise SourceError(f'"{path}" has no rows', is_missing=True)
        return rows


def _absolute(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path))


def _csv_rows(path: str, content: bytes) -> Rows:
    import csv
    from io import StringIO

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SourceError(f'"{path}", line {line}: is not UTF-8') from error
    reader = csv.reader(StringIO(text, newline=""), delimiter="\t" if path.endswith(".tsv") else ",", strict=True)
    try:
        header, rows = next(reader, []), [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise SourceError(f'"{path}", line {reader.line_num}: {error}') from error
    for name in header:
        if flaws := LABEL.check(name):
            raise SourceError(f'"{path}", line 1: the column {show(name)} has no legal name', flaws[0].hint)
        if header.count(name) > 1:
            raise SourceError(f'"{path}", line 1: two columns are called {show(name)}')
    for line, cells in rows:
        if len(cells) != len(header):
            raise SourceError(f'"{path}", line {line}: {len(cells)} cells, and the header has {len(header)}')
    return [(f"line {line}", dict(zip(header, cells, strict=True))) for line, cells in rows]


def _json_rows(path: str, content: bytes) -> Rows:
    try:
        value, findings = parse_source(path, content)
    except SpecError as error:
        raise SourceError(f"{error.faults[0].where}: {error.faults[0].what}", error.faults[0].hint) from error
    for at, what, hint in (*findings, *_ROWS.check(value)):
        raise SourceError(f'"{path}", item {"/".join(map(str, at))}: {what}' if at else f'"{path}" {what}', hint)
    assert isinstance(value, list)
    for number, row in enumerate(value):
        if row.keys() != value[0].keys():
            raise SourceError(f'"{path}", item {number}: has other names than item 0')
    return [(f"item {number}", row) for number, row in enumerate(value)]
