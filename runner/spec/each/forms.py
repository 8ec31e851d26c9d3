"""The forms of an `each`, and of an entry of a list: names with patterns and lists, the rows of a table, a stage."""

from __future__ import annotations

import re
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from runner.spec.each.tables import SourceError, Table, doubled, is_json
from runner.spec.globs import from_root, is_glob, name_flaw
from runner.spec.kinds import Finding, Place, did_you_mean, show
from runner.spec.placeholders import REFERENCE
from runner.spec.values import UNKNOWN, Reference, literal_glob, references, spelled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from runner.spec.each.conditions import Where
    from runner.spec.each.instances import Outputs
    from runner.spec.each.tables import Disk
    from runner.spec.values import Inserter, Json, Values

_STAR = "\1"  # stands for the wildcard of a pattern while values are inserted; no path holds it
_ENCODED = re.compile(r"[^A-Za-z0-9._-]")


class Row(NamedTuple):
    """The values of an instance, the end of its name, their place in the spec, and the place of the table's row."""

    values: Values
    suffix: str
    at: Place
    source: str = ""

    def joined(self, other: Row) -> Row:
        """Return the row of both; errors are about the row of a table, if one of them is."""
        if not self.values:
            return other
        at, sources = self.at if self.source else other.at, (self.source, other.source)
        values = {**self.values, **other.values}
        return Row(values, f"{self.suffix},{other.suffix}", at, ", ".join(filter(None, sources)))


class Pattern(NamedTuple):
    """A pattern `head*tail`, in which only the `*` is a wildcard."""

    head: str
    tail: str

    def __str__(self) -> str:
        return f"{self.head}*{self.tail}"

    @property
    def glob(self) -> str:
        """The glob that matches the same paths."""
        return "*".join(map(literal_glob, self))

    def value(self, path: str) -> str | None:
        """Return the text that `*` matches in a path, None if the path does not match."""
        if not (path.startswith(self.head) and path.endswith(self.tail)):
            return None
        value = path[len(self.head) : len(path) - len(self.tail)]
        is_hidden = value.startswith(".") and self.head[-1:] in ("", "/")
        return None if "/" in value or is_hidden or len(path) < len(self.head) + len(self.tail) else value


class Source(NamedTuple):
    """What gives values to a template: its position, its place in the spec, the path or pattern, and its glob."""

    position: int
    at: Place
    path: str
    glob: str


class Form(NamedTuple):
    """What one form gives: the `names` of its values (None: not known), and those that an instance is `named_by`.

    `rows_after` returns its rows, given the values of the entries before it.
    """

    names: Collection[str] | None
    named_by: tuple[str, ...]
    rows_after: Callable[[Values], Sequence[Row]]


class Reader:
    """Reads what gives values to the template at position `index`, as far as its `where` allows.

    `sources` are the patterns and tables that it read, `matches` the files on disk that patterns matched and no stage
    declares. `makers` are the stages that make any of the sources; it `is_open` if one of them has yet to. `reasons`
    say why there are no values, and `directories` are those in which a pattern matched nothing; they are absolute.

    The SourceErrors that it raises have places below the form.
    """

    def __init__(self, index: int, inserter: Inserter, disk: Disk, outputs: Outputs, where: Where) -> None:
        self._index = index
        self._inserter = inserter
        self._disk = disk
        self._outputs = outputs
        self.where = where
        self.sources: list[Source] = []
        self.matches: set[str] = set()
        self.makers: dict[str, None] = {}
        self.is_open = False
        self.reasons: list[Finding] = []
        self.directories: dict[str, None] = {}

    def table(self, at: Place, given: Json) -> Form:
        """Return the form of the rows of a table, `at` this place in the spec."""
        columns, rows = tuple(given.get("columns", ())), given["rows"]
        if columns and (isinstance(rows, list) or is_json(rows)):
            raise SourceError('"columns" are for a table without a header', "its rows have names", at=("columns",))
        _check_doubled(columns, "columns")
        if isinstance(rows, list):
            path, own, maker = "rows", self._inserter.insert((*at, "rows"), rows, {}, "params"), None
        else:
            path, own = self._table_path(at, rows), None
            self.sources.append(Source(self._index, (*at, "rows"), path, literal_glob(path)))
            if (maker := self._outputs.maker_of(path)) is not None:
                self.makers[maker] = None
        table = self._disk.table(path, columns, own, maker)
        if table is None:
            self.is_open = True
            table = Table((), [])
        key = given.get("key") or list(table.columns[:1])
        key = key if isinstance(key, list) else [key]
        for name in key if table.columns else ():
            if name not in table.columns:
                raise SourceError(f"{path}: no column {show(name)}", did_you_mean(name, table.columns), at=("key",))
        _check_doubled(key, "key")
        kept = [(place, values) for place, values in table.rows if self.where.keeps(values)]
        for place, values in kept:
            for text in (spelled(values[name]) for name in key):
                if not text or text != text.strip():
                    raise SourceError(f"{place}: the key {show(text)} is empty or has spaces around it", at=("rows",))
        if not kept:
            none = Finding((*at, "rows"), f"{path}: has no rows")
            self.reasons.append(self.where.emptied() if table.rows else none)
        result = [row_of(values, key, (*at, "rows"), place) for place, values in kept]
        return Form(table.columns or None, tuple(key), lambda _: result)

    def _table_path(self, at: Place, given: str) -> str:
        """Return the path of a table, which may be a reference to an output."""
        if reference := table_reference(given):
            return self._outputs.path_of(reference)
        return from_root(self._inserter.insert((*at, "rows"), given, {}, "processor"), self._disk.root)

    def names(self, at: Place, given: Json, earlier: Collection[str] | None) -> Form:
        """Return the form of names, whose patterns may use the names of `earlier` entries (None: not known)."""
        patterns = {name: source for name, source in given.items() if isinstance(source, str)}
        for name, pattern in patterns.items():
            for text in references(pattern, "each"):
                if earlier is not None and text not in earlier:
                    hint = did_you_mean(text, earlier) or "a pattern can use the entries of the list before its own"
                    raise SourceError(f"{{each.{text}}}: no value named {show(text)}", hint, at=(name,))
        used = dict.fromkeys(references([*patterns.values()], "each"))
        for match in filter(None, map(REFERENCE.match, patterns.values())):
            used.update(dict.fromkeys(self._outputs.names_of(match[1]) & {*(earlier or ())}))
        rows_with = cache(partial(self._combinations, at, given))

        def rows_after(values: Values) -> list[Row]:
            # As text, because 1, 1.0 and true are equal.
            return rows_with(*((name, spelled(values.get(name, UNKNOWN))) for name in used))

        return Form(given, tuple(given), rows_after)

    def _combinations(self, at: Place, given: Json, *earlier: tuple[str, str]) -> list[Row]:
        """Return the rows of names, given the values of `earlier` entries that their patterns use."""
        columns = []
        for name, source in given.items():
            cells = self._cells((*at, name), source, dict(earlier))
            kept = [(step, value) for step, value in cells if self.where.keeps({name: value})]
            if cells and not kept:
                self.reasons.append(self.where.emptied())
            _check_column(kept)
            columns.append([((*at, *step), value) for step, value in kept])
        return [
            row_of(dict(zip(given, [value for _, value in cells], strict=True)), given, cells[0][0])
            for cells in product(*columns)
        ]

    def _cells(self, at: Place, source: str | list[object], earlier: Values) -> list[tuple[Place, object]]:
        """Return the values of one name, each with its place below the form."""
        name = at[-1]
        if (listed := listed_values(self._inserter, at, source)) is not None:
            if not listed:
                self.reasons.append(Finding(at, f"{source} is an empty list", '"mayBeEmpty": true allows that'))
            written = isinstance(source, list)
            return [((name, number) if written else (name,), value) for number, value in enumerate(listed)]
        assert isinstance(source, str)
        pattern = self._pattern(at, source, earlier)
        if pattern is None:
            return []
        self.sources.append(Source(self._index, at, str(pattern), pattern.glob))
        values = self._matched(name, pattern)
        if not values and not self.is_open:
            self._note_no_match(at, pattern)
        return [((name,), value) for value in sorted(values)]

    def _pattern(self, at: Place, source: str, earlier: Values) -> Pattern | None:
        """Return the pattern of a name, which may begin with a reference to a directory; None if that means none."""
        root, match = self._disk.root, REFERENCE.match(source)
        if not match:
            return pattern_of(self._inserter, at, source, earlier, root)
        reference = Reference(match[1], match[2], source[match.end() :])
        head, tail = pattern_of(self._inserter, at, reference.rest, earlier, root)
        makers = self._outputs.agreeing(reference, earlier)
        paths = [self._outputs.path_of(reference._replace(stage=maker), at[-1]) for maker in makers]
        if not paths:
            self.reasons.append(Finding(at, f"{reference}: no instance agrees with the entries before"))
            return None
        if len(paths) > 1 or not paths[0].endswith("/") or head.startswith(("/", "../")):
            flaw = (
                f"means {len(paths):,} outputs"
                if len(paths) > 1
                else f'is "{paths[0]}", which holds no "{head}*{tail}"'
            )
            raise SourceError(f"{reference} {flaw}", "only one directory can begin a pattern", at=at[-1:])
        return Pattern(f"{paths[0]}{head}", tail)

    def _matched(self, name: str | int, pattern: Pattern) -> set[str]:
        """Return the values of the declared outputs, and of the files on disk, that the pattern of a name matches."""
        if above := self._outputs.directory_of(pattern.head):
            directory, maker = above
            self.makers[maker] = None
            found = self._disk.made_files(directory, maker, *pattern)
            self.is_open |= found is None
            matches = {path: value for path in found or () if (value := pattern.value(path)) is not None}
            self._check_names(name, matches)
            return {*matches.values()}
        made = (path for path, position in self._outputs.starting_with(pattern.head) if position != self._index)
        on_disk = [path for path in self._disk.files(*pattern) if path not in self._outputs.made]
        matches = {path: value for path in (*made, *on_disk) if (value := pattern.value(path)) is not None}
        read = matches.keys() & on_disk
        self._check_names(name, read)
        self.matches.update(read)
        return set(matches.values())

    def _check_names(self, name: str | int, paths: Iterable[str]) -> None:
        """Raise SourceError for a file whose name no stage could get."""
        for flaw in filter(None, map(name_flaw, sorted(paths))):
            raise SourceError(*flaw, at=(name,), is_missing=True)

    def _note_no_match(self, at: Place, pattern: Pattern) -> None:
        """Note that a pattern matches nothing.

        Raises SourceError if its directory is not there, and no output may lie in it.
        """
        directory, what = pattern.head.rpartition("/")[0], f'no file matches "{pattern}"'
        if not self._outputs.may_lie_in(directory):
            if not (there := self._disk.directories(directory)):
                raise SourceError(what, f'there is no directory "{directory}"', at=at[-1:], is_missing=True)
            self.directories.update(dict.fromkeys(there))
        self.reasons.append(Finding(at, what, "hidden files and orphans are never matched"))


def listed_values(inserter: Inserter, at: Place, source: str | list[object]) -> list[object] | None:
    """Return the values of a name that has a list, or a var that is one; None for a pattern."""
    given = inserter.insert(at, source, None if isinstance(source, str) else {}, "params")
    return given if isinstance(given, list) else None


def pattern_of(inserter: Inserter, at: Place, text: str, each: Values | None, root: str) -> Pattern:
    """Return a pattern as written with the values in it; those of `each` may be unknown. Raises SourceError."""
    if "{outputs." in text:
        hint = "a reference can only begin a pattern, and names one directory"
        raise SourceError(f"{show(text)} has no reference that can be resolved", hint, at=at[-1:])
    if text.count("*") != 1 or is_glob(text.replace("*", "", 1)) or text.endswith("/"):
        hint = "the value is the text that one * matches; several values are several names, or the rows of a table"
        raise SourceError(f"{show(text)} must have exactly one *, and no other wildcard", hint, at=at[-1:])
    given = _STAR.join(inserter.insert(at, part, each, "processor") for part in text.split("*"))
    head, star, tail = from_root(given, root).partition(_STAR)
    if not star:
        raise SourceError('".." after the *', "say where the files are without it", at=at[-1:])
    return Pattern(head, tail)


def table_reference(text: str) -> Reference | None:
    """Return the reference that stands for the path of a table. None for a path; SourceError for a part of one."""
    match = REFERENCE.fullmatch(text)
    if not match and "{outputs." in text:
        raise SourceError(f"{show(text)} is more than a reference", "a table is a whole output", at=("rows",))
    return Reference(match[1], match[2], "") if match else None


def row_of(values: Values, key: Iterable[str], at: Place, source: str = "") -> Row:
    """Return a row, which gets its suffix from the values of `key`."""
    return Row(values, ",".join(_ENCODED.sub(_percent, spelled(values[name])) for name in key), at, source)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def _check_doubled(names: Sequence[str], field: str) -> None:
    if name := doubled(names):
        raise SourceError(f"{show(name)} appears more than once", at=(field,))


def _check_column(cells: Iterable[tuple[Place, object]]) -> None:
    """Raise SourceError for an empty value, or for two that are equal or differ by case only."""
    first: dict[str, str] = {}
    for at, value in cells:
        text = spelled(value)
        if not text:
            raise SourceError("an empty value", "an instance gets its name from its values", at=at)
        if other := first.get(text.lower()):
            differs = "appears twice" if other == text else f"differs from {show(other)} by case only"
            raise SourceError(f"{show(text)} {differs}", at=at)
        first[text.lower()] = text
