"""Expands each stage with `each`, a template, into its instances: `trim@a`, `trim@b`.

This is the first step after the table of fields has checked the spec, and works on its JSON. It is pure given the names
and tables on disk. Templates are expanded in the order in which they depend on each other: a pattern also matches the
declared outputs of other stages.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.spec.each.tables import Disk, SourceError
from runner.spec.globs import from_root, is_glob, may_meet, name_flaw, normal
from runner.spec.kinds import Finding, Place, did_you_mean, show
from runner.spec.values import FILLED, literal_glob, references, spelled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from runner.spec.graph import OutputIndex
    from runner.spec.model import Spec, Stage
    from runner.spec.values import Inserter, Json, Values

LONGEST = 200  # bytes of an instance's name, which becomes a part of file names
_STAR = "\1"  # stands for the wildcard of a pattern while values are inserted; no path holds it
_ENCODED = re.compile(r"[^A-Za-z0-9._-]")
_UNSUPPORTED = "a number of instances that only a stage knows is not supported"


class Instance(NamedTuple):
    """A stage to build: the position in the spec of the stage as written, and its JSON with all values in it.

    `values` are those of `each` by name. If files or a table are `missing`, the instances of a template are not known:
    then this stage stands for all of them, and cannot run.
    """

    position: int
    given: Json
    values: Mapping[str, object] = {}
    missing: Finding | None = None


class Row(NamedTuple):
    """The values of an instance, the end of its name, their place below `each`, and the place of the table's row."""

    values: Values
    suffix: str
    at: Place
    source: str = ""


class Pattern(NamedTuple):
    """A pattern `head*tail`, in which only the `*` is a wildcard."""

    head: str
    tail: str

    def __str__(self) -> str:
        return f"{self.head}*{self.tail}"

    def value(self, path: str) -> str | None:
        """Return the text that `*` matches in a path, None if the path does not match."""
        if not (path.startswith(self.head) and path.endswith(self.tail)):
            return None
        value = path[len(self.head) : len(path) - len(self.tail)]
        is_hidden = value.startswith(".") and self.head[-1:] in ("", "/")
        return None if "/" in value or is_hidden or len(path) < len(self.head) + len(self.tail) else value


class Expander:
    """Expands the stages of one spec. Adds its findings to those of the inserter.

    `sources`: where the values of each template come from, by name: a pattern, a list, or the path of `rows`.
    `matches`: the files on disk that patterns matched and no stage declares, relative to root. `broken`: positions of
    stages whose `each` has a finding already.
    """

    def __init__(self, stages: Sequence[Json], inserter: Inserter, disk: Disk, broken: Collection[int] = ()) -> None:
        self.matches: set[str] = set()
        self._stages = stages
        self._inserter = inserter
        self._disk = disk
        self._templates = {i: stage for i, stage in enumerate(stages) if "each" in stage or i in broken}
        self._names = {stage.get("name"): i for i, stage in reversed(self._templates.items())}
        self._rows: dict[int, list[Row] | Finding | None] = dict.fromkeys(broken)  # None: there is a finding
        self._made: dict[str, int] = {}  # declared output -> position of its stage
        self._table = cache(disk.table)
        self.sources = {i: self._sources_of(i) for i in self._templates}
        self._outputs = {  # of templates, with a star in the place of each value
            i: inserter.insert(("stages", i, "outputs"), stage.get("outputs", {}), None, "outputs")
            for i, stage in self._templates.items()
        }
        self._needed = {i: self._needed_by(i) for i in self._templates}

    def globs(self) -> Iterator[tuple[str, str]]:
        """Yield each template with the glob of a pattern or table that its values come from."""
        for index, sources in self.sources.items():
            globs = (_glob_of(source) for source in sources.values() if not isinstance(source, list))
            yield from ((self._templates[index].get("name", ""), glob) for glob in globs)

    def expand(self) -> list[Instance]:
        """Return all instances, and the stages without `each`, in the order of the spec."""
        instances: dict[int, list[Instance]] = {}
        for index, stage in enumerate(self._stages):
            if index not in self._templates:
                given = self._inserter.fill(("stages", index), stage, {})
                instances[index] = self._note_outputs([Instance(index, given)])
        for index in self._in_order():
            if index not in self._rows:
                with self._catching(index):
                    self._rows[index] = self._rows_of(index)
            instances[index] = self._note_outputs(self._instances(index))
        return [instance for index in range(len(self._stages)) for instance in instances[index]]

    def _note_outputs(self, instances: list[Instance]) -> list[Instance]:
        """Note the outputs of instances, which patterns of other templates may match. Return the instances."""
        for index, given, _, missing in instances if self._templates else ():
            for path in [] if missing else _paths_in(given.get("outputs", {})):
                self._made[normal(path)] = index
        return instances

    @contextmanager
    def _catching(self, index: int) -> Iterator[None]:
        """Catch the SourceError of a template, and note why it has no values: missing files or a finding."""
        try:
            yield
        except SourceError as error:
            finding = error.finding._replace(at=("stages", index, "each", *error.finding.at))
            self._rows[index] = finding if error.is_missing else None
            if not error.is_missing:
                self._inserter.findings.append(finding)

    # ---- order -------------------------------------------------------------------------------------------------------

    def _in_order(self) -> Iterator[int]:
        """Yield the positions of templates, each after those that it depends on. Those in a cycle come last."""
        pending = self._needed
        while pending:
            ready = [index for index, needed in pending.items() if needed.isdisjoint(pending)]
            for index in ready or pending:
                with self._catching(index):
                    if not ready:
                        raise SourceError("its values depend on its own instances", _UNSUPPORTED)
                yield index
            pending = {index: needed for index, needed in pending.items() if ready and index not in ready}

    def _needed_by(self, index: int) -> set[int]:
        """Return the positions of the templates that this one depends on."""
        each = self._templates[index].get("each")
        if isinstance(each, str):
            return {self._names[each]} if each in self._names else set()
        patterns = [str(source) for source in self.sources[index].values() if isinstance(source, Pattern)]
        return {
            other
            for other, outputs in self._outputs.items()
            if other != index
            for path in map(normal, _paths_in(outputs))
            if any(may_meet(pattern, path) for pattern in patterns)
        }

    # ---- values ------------------------------------------------------------------------------------------------------

    def _sources_of(self, index: int) -> dict[str, Any]:
        """Return where the values of a template come from, by name: patterns and lists; or the path of its `rows`."""
        each, sources = self._templates[index].get("each"), dict[str, Any]()
        if isinstance(each, dict) and "rows" in each:
            at = ("stages", index, "each", "rows")
            return {"rows": from_root(self._inserter.insert(at, each["rows"], {}, "processor"), self._disk.root)}
        for name, given in each.items() if isinstance(each, dict) else ():
            with self._catching(index):
                sources[name] = self._pattern(index, name, given) if isinstance(given, str) else given
        return sources

    def _pattern(self, index: int, name: str, text: str) -> Pattern:
        if text.count("*") != 1 or is_glob(text.replace("*", "", 1)) or text.endswith("/"):
            hint = "the value is the text that one * matches; several values are several names, or the rows of a table"
            raise SourceError(f"{show(text)} must have exactly one *, and no other wildcard", hint, at=(name,))
        at = ("stages", index, "each", name)
        given = _STAR.join(self._inserter.insert(at, part, {}, "processor") for part in text.split("*"))
        head, star, tail = from_root(given, self._disk.root).partition(_STAR)
        if not star:
            raise SourceError('".." after the *', "say where the files are without it", at=(name,))
        return Pattern(head, tail)

    def _rows_of(self, index: int) -> list[Row] | Finding | None:
        """Return the values of a template's instances, or why a template that it depends on has none."""
        each, sources = self._templates[index]["each"], self.sources[index]
        for other in sorted(self._needed[index]):
            if isinstance(each, str) or not isinstance(self._rows[other], list):
                return self._rows[other]
        if isinstance(each, str):
            hint = did_you_mean(each, [name for name in self._names if name]) or "name a stage that has an each"
            raise SourceError(f"no stage named {show(each)} has an each", hint)
        if "rows" in sources:
            return self._table_rows(sources["rows"], each.get("key"))
        columns = [self._column(index, name, source) for name, source in sources.items()]
        return [
            _row(dict(zip(sources, [value for _, value in chosen], strict=True)), sources, chosen[0][0])
            for chosen in product(*columns)
        ]

    def _column(self, index: int, name: str, source: Pattern | list[object]) -> list[tuple[Place, object]]:
        """Return the values of one name, each with its place below `each`."""
        given = self._inserter.insert(("stages", index, "each", name), source, {}, "params")
        cells: list[tuple[Place, object]] = [((name, number), value) for number, value in enumerate(given)]
        if isinstance(source, Pattern):
            cells = [((name,), value) for value in sorted(self._matched(index, name, source))]
            if not cells:
                hint = "hidden files and orphans are never matched"
                raise SourceError(f'no file matches "{source}"', hint, at=(name,), is_missing=True)
        first: dict[str, str] = {}
        for at, value in cells:
            text = spelled(value)
            if not text:
                raise SourceError("an empty value", "an instance gets its name from its values", at=at)
            if other := first.get(text.lower()):
                differs = "appears twice" if other == text else f"differs from {show(other)} by case only"
                raise SourceError(f"{show(text)} {differs}", at=at)
            first[text.lower()] = text
        return cells

    def _matched(self, index: int, name: str, pattern: Pattern) -> set[str]:
        """Return the values of the declared outputs, and of the files on disk, that the pattern of a name matches."""
        made = [path for path, maker in self._made.items() if maker != index]
        on_disk = [path for path in self._disk.files(*pattern) if path not in self._made]
        matches = {path: value for path in (*made, *on_disk) if (value := pattern.value(path)) is not None}
        read = matches.keys() & on_disk
        for flaw in filter(None, map(name_flaw, sorted(read))):
            raise SourceError(*flaw, at=(name,), is_missing=True)
        self.matches.update(read)
        return set(matches.values())

    def _table_rows(self, path: str, key: str | list[str] | None) -> list[Row]:
        table = self._table(path)
        columns = list(table[0][1])
        names = key if isinstance(key, list) else [key or columns[0]]
        for name in names:
            if name not in columns:
                raise SourceError(f"{path}: no column {show(name)}", did_you_mean(name, columns), at=("key",))
            if names.count(name) > 1:
                raise SourceError(f"{show(name)} appears more than once", at=("key",))
        for place, values in table:
            for text in (spelled(values[name]) for name in names):
                if not text or text != text.strip():
                    raise SourceError(f"{place}: the key {show(text)} is empty or has spaces around it", at=("rows",))
        return [_row(values, names, ("rows",), place) for place, values in table]

    # ---- instances ---------------------------------------------------------------------------------------------------

    def _instances(self, index: int) -> list[Instance]:
        stage, rows, at = self._templates[index], self._rows[index], ("stages", index)
        name, body = stage.get("name", ""), {field: value for field, value in stage.items() if field != "each"}
        if not isinstance(rows, list):
            body = dict(self._inserter.fill(at, body, None))
            if rows:  # files are missing: it cannot run, so its inputs and program do not matter
                needs = [self._templates[other].get("name", "") for other in sorted(self._needed[index])]
                body = {"name": name, "command": ["{python}"], "needs": needs, "outputs": body["outputs"]}
            return [Instance(index, body, missing=rows or Finding(at, "other findings say why"))]
        written = [stage.get(field) for field in FILLED]
        used = sorted({name for form, name in references(written) if form == "each"})
        first: dict[str, Row] = {}
        instances = []
        for row in rows:
            body["name"] = f"{name}@{row.suffix}"
            other = first.setdefault(row.suffix.lower(), row)
            with self._catching(index):
                _check_row(row, other, used, body["name"], row.at if isinstance(stage["each"], dict) else ())
            if other is row:
                origin = f"{row.source}: {body['name']}: ".removeprefix(": ")
                instances.append(Instance(index, self._inserter.fill(at, body, row.values, origin), row.values))
        return instances


def _glob_of(source: Pattern | str) -> str:
    """Return the glob of a pattern, or of the path of a table."""
    return "*".join(map(literal_glob, source if isinstance(source, Pattern) else [source]))


def check_globs(stages: Sequence[Stage], written: Sequence[Json], outputs: OutputIndex) -> Iterator[Finding]:
    """Refuse a glob of an instance that matches an output of an instance with another value of the same name."""
    values = {stage.name: stage.values for stage in stages if stage.values}
    templates = [(i, given.get("inputs", {})) for i, given in enumerate(written) if "each" in given]
    globs = {index for index, inputs in templates if any(map(is_glob, _paths_in(inputs)))}
    for stage in (stage for stage in stages if stage.values and stage.index in globs):
        texts = _paths_in(written[stage.index].get("inputs", {}))
        for (_, at, path), text in zip(stage.entries(), texts, strict=False):
            if not is_glob(text):
                continue
            used = {name for form, name in references(text) if form == "each"} & stage.values.keys()
            for producer, output in outputs.matches(path):
                other = values.get(producer, {})
                if any(spelled(other.get(name, own := stage.values[name])) != spelled(own) for name in used):
                    what = f'"{path}" of "{stage.name}" also matches "{output}" of "{producer}"'
                    hint = "put something between the value and the wildcard that no value holds"
                    yield Finding(("stages", stage.index, "inputs", *at), what, hint)


def check_sources(spec: Spec, sources: Mapping[int, Mapping[str, Any]], outputs: OutputIndex) -> Iterator[Finding]:
    """Refuse what only a stage knows: outputs of its own template, files in a directory output, tables as outputs."""
    positions = {stage.name: stage.index for stage in spec.stages}
    for index, name, source in ((index, *item) for index, given in sources.items() for item in given.items()):
        if isinstance(source, list):
            continue
        for producer, path in outputs.matches(_glob_of(source)):
            if name == "rows" or path.endswith("/") or positions[producer] == index:
                what = f'"{source}" reads "{path}", an output of stage "{producer}"'
                yield Finding(("stages", index, "each", name), what, _UNSUPPORTED)
                break


def _check_row(row: Row, other: Row, used: Iterable[str], name: str, at: Place) -> None:
    """Raise SourceError if the name is too long, or if the row of that name, `other`, has other values of `used`."""
    if len(name) > LONGEST:
        raise SourceError(f"the name of the instance has {len(name)} bytes, {LONGEST} at most", at=at)
    if row.suffix != other.suffix:
        raise SourceError(f"{row.source}: {row.suffix} differs from {other.suffix} by case only", at=at)
    for column in used:
        value, before = row.values.get(column), other.values.get(column)
        if (type(value), spelled(value)) != (type(before), spelled(before)):  # 1, 1.0 and true are equal
            what = f"has another {column} than {other.source}, which has the same key, {row.suffix}"
            raise SourceError(f"{row.source}: {what}", at=at)


def _row(values: Values, key: Iterable[str], at: Place, source: str = "") -> Row:
    return Row(values, ",".join(_ENCODED.sub(_percent, spelled(values[name])) for name in key), at, source)


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape"))


def _paths_in(paths: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield the paths of inputs or outputs as written."""
    for path in paths.values() if isinstance(paths, dict) else paths:
        yield from [path] if isinstance(path, str) else path
