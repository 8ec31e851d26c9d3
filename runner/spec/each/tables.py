"""What the expansion of `each` reads on disk: names in directories, and tables (CSV, or JSON)."""

from __future__ import annotations

import os
from bisect import bisect_left
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, SpecError, raise_if_system_error
from runner.hashing import sha256_of
from runner.spec.fields import ROWS
from runner.spec.kinds import Finding, Place, pointer, show
from runner.spec.model import MadeTable
from runner.spec.source import decoded, parse_source, read_source

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from runner.spec.values import Json

_QUOTES = 'close the quote at the beginning of the cell, and double each " inside it'


class Table(NamedTuple):
    """The names of columns, which are not known for JSON without rows, and the rows, each with its place: `a.csv:2`."""

    columns: tuple[str, ...]
    rows: list[tuple[str, Json]]


class SourceError(Exception):
    """An `each` has no values: a finding, with its place below the `each`, or the entry of one, in the spec.

    `is_missing`: the spec may be right, but files are missing or unusable.
    """

    def __init__(self, what: str, hint: str = "", *, at: Place = (), is_missing: bool = False) -> None:
        super().__init__(what)
        self.finding = Finding(at, what, hint)
        self.is_missing = is_missing


class Made(NamedTuple):
    """What earlier runs made below `workspace`.

    `digest` returns the SHA-256 that the marker of a stage has for an output, given both. None without such a marker,
    and for a directory that is not what it describes.
    """

    workspace: str
    digest: Callable[[str, str], str | None]


NOTHING_MADE = Made("", lambda *_: None)


class Disk:
    """Names and tables below `root`. The directories `own`, and files in `without`, match no pattern.

    `inputs` is a directory laid out as root: what is in it is taken from there only, but for what a stage makes, which
    is as `made` says. `examined` are the absolute paths on which the answers depend: the no-op record notices a change
    of any of them. `made_tables` are the outputs of stages among them.
    """

    def __init__(
        self, root: str, own: Collection[str], without: Collection[str], inputs: str | None, made: Made = NOTHING_MADE
    ) -> None:
        self.root = root
        self.examined: set[str] = set()
        self.made_tables: dict[tuple[str, str], MadeTable] = {}
        self._made = made
        self._bases = (root,) if inputs is None else (inputs, root)
        self._own = own
        self._without = {os.path.relpath(path, root) for path in without}
        self._listed = cache(_listed)  # many templates have one directory

    def files(self, head: str, tail: str) -> list[str]:
        """Return the paths of the files that `head*tail` matches, relative to root. Raises SourceError."""
        found = (paths for base in self._bases if (paths := [*self._files_in(base, head, tail)]))
        return [path for path in next(found, []) if path not in self._without]

    def made_files(self, directory: str, maker: str, head: str, tail: str) -> list[str] | None:
        """Return the paths that `head*tail` matches in a directory that a stage makes; None if it has yet to."""
        self.examined.add(_absolute(self._made.workspace, directory))
        digest = self._made.digest(maker, directory)
        self.made_tables[maker, directory] = MadeTable(maker, directory, digest)
        return None if digest is None else [*self._files_in(self._made.workspace, head, tail)]

    def directories(self, directory: str) -> list[str]:
        """Return the absolute paths at which a directory is there."""
        return [*filter(os.path.isdir, (_absolute(base, directory) for base in self._bases))]

    def _files_in(self, base: str, head: str, tail: str) -> Iterator[str]:
        directory, slash, start = head.rpartition("/")
        end, nested, below = tail.partition("/")
        self.examined.add(top := _absolute(base, directory))
        try:
            entries = self._listed(top)
        except OSError as error:
            raise_if_system_error(error, top)
            raise SourceError(f'"{directory}": {error.strerror}', is_missing=True) from error
        for position in range(bisect_left(entries, start, key=_name), len(entries)):
            entry = entries[position]
            if not entry.name.startswith(start):
                break
            if not entry.name.endswith(end) or entry.path in self._own:
                continue
            path = f"{directory}{slash}{entry.name}{nested}{below}"
            if nested or entry.is_symlink():  # the directory does not change when these do
                self.examined.add(_absolute(base, path))
            if os.path.isfile(_absolute(base, path)) if nested else not entry.is_dir():
                yield path

    def table(
        self, path: str, columns: tuple[str, ...] = (), own: list[Json] | None = None, maker: str | None = None
    ) -> Table | None:
        """Return a table, or that of rows of its `own` that stand in the spec. Raises SourceError.

        A table without a header has these `columns`. `maker` is the stage that makes it: None if it has yet to.
        """
        places = [_absolute(base, path) for base in self._bases]
        full = next(filter(os.path.lexists, places), places[-1])
        try:
            if own is not None:
                return _json_table(path, own)
            if maker is not None:
                full = _absolute(self._made.workspace, path)
            self.examined.add(full)
            content = read_source(full, "table") if maker is None else self._made_table(full, path, maker)
            if content is None:
                return None
            return _parsed(path, content) if is_json(path) else _csv_table(path, content, columns)
        except SpecError as error:
            fault, is_missing = error.faults[0], isinstance(error.__cause__, OSError)
            what = f"{fault.where.replace(full, path)}: {fault.what}"
            raise SourceError(what, fault.hint, at=("rows",), is_missing=is_missing) from error

    def _made_table(self, full: str, path: str, maker: str) -> bytes | None:
        """Return the content of a table that a stage makes; None if its marker describes another."""
        digest, content = self._made.digest(maker, path), None
        if digest is not None:
            with suppress(SpecError):  # it is not there
                content = read_source(full, "table")
        is_recorded = content is not None and sha256_of(content) == digest
        self.made_tables[maker, path] = MadeTable(maker, path, digest if is_recorded else None)
        return content if is_recorded else None


def is_json(path: str) -> bool:
    """Whether a table is JSON, by the ending of its path."""
    return path.lower().endswith(".json")


def _listed(directory: str) -> list[os.DirEntry[str]]:
    """Return the entries of a directory, sorted by name, without hidden ones."""
    try:
        with os.scandir(directory) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=_name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _absolute(base: str, path: str) -> str:
    return os.path.normpath(os.path.join(base, path))


def _csv_table(path: str, content: bytes, columns: tuple[str, ...]) -> Table:
    import csv
    from io import StringIO

    is_tabbed = path.lower().endswith(".tsv") or (columns and not path.lower().endswith(".csv"))
    reader = csv.reader(StringIO(decoded(path, content), newline=""), delimiter="\t" if is_tabbed else ",", strict=True)
    lines: list[tuple[str, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            lines.append((f"{path}:{line}", cells))
            line = reader.line_num + 1
    except csv.Error as error:  # a quote that was never closed may have taken in all that follows
        hint = f"{_QUOTES}; a cell has at most {csv.field_size_limit():,} characters"
        raise SpecError(Fault(f"{path}:{line}", str(error), hint if "limit" in str(error) else _QUOTES)) from error
    rows = [(place, cells) for place, cells in lines if cells]
    names = columns
    if not columns:
        at, header = rows.pop(0) if rows else (path, [])
        names = tuple(header)
        if name := doubled(names):
            raise SpecError(Fault(at, f"two columns are called {show(name)}"))
    for place, cells in rows:
        if len(cells) != len(names) and not (columns and len(cells) > len(names)):
            wanted = f'"columns" has {len(names)} names' if columns else f"the header has {len(names)}"
            raise SpecError(Fault(place, f"has {len(cells)} cells, and {wanted}"))
    return Table(names, [(place, dict(zip(names, cells, strict=False))) for place, cells in rows])


def doubled(names: Sequence[str]) -> str | None:
    """Return the first name that appears more than once, or None."""
    if len({*names}) == len(names):
        return None
    return next(name for name in names if names.count(name) > 1)


def _parsed(path: str, content: bytes) -> Table:
    value, findings = parse_source(path, content)
    for at, what, hint in (*findings, *ROWS.check(value)):
        raise SpecError(Fault(pointer(path, at), what, hint))
    assert isinstance(value, list)
    return _json_table(path, value)


def _json_table(path: str, rows: list[Json]) -> Table:
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise SpecError(Fault(pointer(path, (number,)), "has other names than the first row"))
    return Table(tuple(rows[0]) if rows else (), [(pointer(path, (i,)), row) for i, row in enumerate(rows)])
