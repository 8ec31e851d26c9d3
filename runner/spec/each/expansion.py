"""Expands each stage with `each`, a template, into its instances: `trim@a`, `trim@b`.

This is the first step after the table of fields has checked the spec, and works on its JSON. It is pure given the names
and tables on disk. Templates are expanded in the order in which they depend on each other: a pattern also matches the
declared outputs of other stages.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.spec.each.conditions import Where, is_off
from runner.spec.each.forms import Form, Reader, Row, Source, listed_values, pattern_of
from runner.spec.each.instances import Instance, Outputs
from runner.spec.each.tables import Disk, SourceError
from runner.spec.globs import may_meet, normal
from runner.spec.kinds import Finding, Place, did_you_mean, show
from runner.spec.model import OFF
from runner.spec.placeholders import REFERENCE
from runner.spec.values import FILLED, UNKNOWN, paths_in, references, spelled

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from runner.spec.values import Inserter, Json

LONGEST = 200  # bytes of an instance's name, which becomes a part of file names


class Values(NamedTuple):
    """The rows of a template, the `names` of their values (None: not known), and those that instances are `named_by`.

    If there are no rows, `why` says so, and `directories` are those in which patterns found no file.
    """

    rows: Sequence[Row]
    names: Collection[str] | None = ()
    named_by: tuple[str, ...] = ()
    why: str = ""
    directories: tuple[str, ...] = ()

    def times(self, form: Form) -> Values:
        """Return all combinations of these rows with those of a form. Raises SourceError for a name of both."""
        for name in form.names or ():
            if name in (self.names or ()):
                what = f"{show(name)} is also a name of an earlier entry"
                raise SourceError(what, "an instance has one value of each name")
        names = None if self.names is None or form.names is None else (*self.names, *form.names)
        rows = [row.joined(more) for row in self.rows for more in form.rows_after(row.values)]
        return Values(rows, names, (*self.named_by, *form.named_by))


class Unusable(NamedTuple):
    """What is wrong with the values of a template, and the stages that made them."""

    flaw: Finding
    sources: tuple[str, ...]


class _Open:
    """Stands for values that are not known before stages have made them."""


_OPEN = _Open()


class Expander:
    """Expands the stages of one spec. Adds its findings to those of the inserter.

    `sources`: where values come from. `matches`: the files on disk that patterns matched and no stage declares,
    relative to root. `warnings` are about the `where` of templates. `broken`: positions of stages whose `each` or
    `where` has a finding already. `unusable`: templates by position. `may_be_empty`: what a stage has that does not say
    so.
    """

    def __init__(
        self,
        stages: Sequence[Json],
        inserter: Inserter,
        disk: Disk,
        broken: Collection[int] = (),
        unusable: Mapping[int, Unusable] = {},
        *,
        may_be_empty: bool = False,
    ) -> None:
        self.matches: set[str] = set()
        self.sources: list[Source] = []
        self.warnings: list[Finding] = []
        self._stages = stages
        self._inserter = inserter
        self.disk = disk
        self._off = {i for i, stage in enumerate(stages) if is_off(inserter, ("stages", i), stage)}
        inserter.without_instances |= self._off
        self._templates = {i: stage for i, stage in enumerate(stages) if "each" in stage or i in broken}
        self._names = {stage.get("name"): i for i, stage in reversed(self._templates.items())}
        self._values: dict[int, Values | _Open | Finding | None] = dict.fromkeys(broken)  # None: there is a finding
        self._values.update((i, flaw) for i, (flaw, _) in unusable.items())
        self._sources = {i: sources for i, (_, sources) in unusable.items()}
        self._may_be_empty = {i: stage.get("mayBeEmpty", may_be_empty) for i, stage in self._templates.items()}
        self._outputs = Outputs()
        outputs = {i: [*self._output_patterns(i)] for i in {*self._templates, *self._off}}
        self._outputs.patterns += (path for paths in outputs.values() for path in paths)
        patterns = {i: [*self._patterns(i)] for i in self._templates if i not in self._off}
        self._reads_outputs = any(patterns.values()) or any(True for i in patterns for _ in self._referred(i))
        self._needed = {
            i: self._needed_by(i, patterns[i], outputs) if i in patterns else set() for i in self._templates
        }

    def globs(self) -> Iterator[tuple[str, str]]:
        """Yield each template with the glob of a pattern or table that its values come from."""
        yield from ((self._stages[source.position].get("name", ""), source.glob) for source in self.sources)

    def expand(self) -> list[Instance]:
        """Return all instances, and the stages without `each`, in the order of the spec."""
        instances: dict[int, list[Instance]] = {}
        for index, stage in enumerate(self._stages):
            if index not in self._templates:
                given, why = self._inserter.fill(("stages", index), stage, {}), OFF if index in self._off else ""
                instances[index] = self._note_outputs([Instance(index, given, why=why)])
                self._refuse_alone(index, stage)
        for index in self._in_order():
            if index not in self._values:
                with self._catching(index):
                    self._values[index] = self._values_of(index)
            instances[index] = self._note_outputs(self._instances(index))
        return [instance for index in range(len(self._stages)) for instance in instances[index]]

    def _note_outputs(self, instances: list[Instance]) -> list[Instance]:
        """Note the outputs of instances, which patterns of other templates may match. Return the instances."""
        for instance in instances if self._templates else ():
            is_known = not (instance.is_unexpanded or instance.why)
            if is_known and (self._reads_outputs or not instance.named_by):
                self._outputs.note(instance)
        return instances

    def _refuse_alone(self, index: int, stage: Json) -> None:
        """Refuse what says something of an `each` in a stage without one."""
        for field in ("where", "mayBeEmpty"):
            if field in stage:
                what = f'"{field}" is for a stage with "each"'
                self._inserter.findings.append(Finding(("stages", index, field), what, 'give the stage an "each"'))

    @contextmanager
    def _catching(self, index: int, *place: str | int) -> Iterator[None]:
        """Catch the SourceError of a template, or of the entry of its `each` at this place. Note why it has no values.

        That is a finding, also for missing files.
        """
        try:
            yield
        except SourceError as error:
            finding = error.finding._replace(at=("stages", index, "each", *place, *error.finding.at))
            self._values[index] = finding if error.is_missing else None
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
                        what = f"its values depend on its own instances: {self._cycle(index)}"
                        raise SourceError(what, "no stage can make its own values")
                yield index
            pending = {index: needed for index, needed in pending.items() if ready and index not in ready}

    def _cycle(self, index: int) -> str:
        """Return the templates of a cycle from one on which the template at `index` depends: `a -> b -> a`."""
        trail = [index]
        while trail.count(trail[-1]) == 1:
            trail.append(min(self._needed[trail[-1]], default=trail[-1]))
        circle = reversed(trail[trail.index(trail[-1]) :])
        return " -> ".join(self._templates[place].get("name", "") for place in circle)

    def _entries(self, index: int) -> list[tuple[Place, Any]]:
        """Return the forms of a template's `each`, one or those of a list, each with its place below `each`."""
        each = self._templates[index].get("each")
        if isinstance(each, list):
            return [((number,), entry) for number, entry in enumerate(each)]
        return [] if each is None else [((), each)]

    def _held(self, index: int) -> list[int]:
        """Return the positions of the templates that are, or are held by, the `each` of a template."""
        entries = (entry for _, entry in self._entries(index))
        return [self._names[entry] for entry in entries if isinstance(entry, str) and entry in self._names]

    def _referred(self, index: int) -> Iterator[str]:
        """Yield the stages as written that references in the `each` of a template name, also by an instance."""
        for _, entry in self._entries(index):
            for text in entry.values() if isinstance(entry, dict) else ():
                if isinstance(text, str) and (match := REFERENCE.match(text)):
                    yield match[1].partition("@")[0]

    def _patterns(self, index: int) -> Iterator[str]:
        """Yield the patterns of a template, with a `*` for each value that they use. Notes those that are wrong."""
        for place, entry in self._entries(index):
            for name, text in entry.items() if isinstance(entry, dict) and "rows" not in entry else ():
                with self._catching(index, *place):
                    at = ("stages", index, "each", *place, name)
                    if not isinstance(text, str) or REFERENCE.match(text):
                        continue
                    if listed_values(self._inserter, at, text) is None:
                        yield str(pattern_of(self._inserter, at, text, None, self.disk.root))

    def _output_patterns(self, index: int) -> Iterator[str]:
        """Yield the outputs of a stage, with a `*` for each value of `each`."""
        given = self._stages[index].get("outputs", {})
        filled = self._inserter.insert(("stages", index, "outputs"), given, None, "outputs")
        yield from map(normal, paths_in(filled))

    def _needed_by(self, index: int, patterns: Sequence[str], outputs: Mapping[int, Sequence[str]]) -> set[int]:
        """Return the positions of the templates that one with these patterns depends on."""
        others = self._templates.keys() - {index} if patterns else ()
        met = (other for other in others if any(may_meet(mine, path) for mine in patterns for path in outputs[other]))
        referred = (self._names[name] for name in self._referred(index) if name in self._names)
        return {*self._held(index), *met, *referred}

    # ---- values ------------------------------------------------------------------------------------------------------

    def _values_of(self, index: int) -> Values | _Open | Finding | None:
        """Return the values of a template, or why it, or a template that it depends on, has none."""
        stage, needed = self._templates[index], sorted(self._needed[index])
        lacking = [values for other in needed if not isinstance(values := self._values[other], Values)]
        sources = dict.fromkeys(chain.from_iterable(self._sources.get(other, ()) for other in needed))
        self._sources[index] = tuple(sources)
        if lacking or index in self._off:
            for field in {"each", "where"} & stage.keys():  # their vars are in use
                self._inserter.insert(("stages", index, field), stage[field], None, "params")
            lacking.sort(key=lambda values: values is _OPEN)  # those that are wrong come first
            return lacking[0] if lacking else Values((), None, why=OFF)
        where = Where(self._inserter, ("stages", index, "where"), stage.get("where", {}))
        reader, values = Reader(index, self._inserter, self.disk, self._outputs, where), Values([Row({}, "", ())])
        for place, entry in self._entries(index):
            earlier, values = values, values._replace(names=None)  # which stays, if the entry is refused
            with self._catching(index, *place):
                form = self._form(reader, ("stages", index, "each", *place), entry, earlier.names)
                values = earlier.times(form)
        self.sources += reader.sources
        self.matches |= reader.matches
        self._sources[index] = tuple(sources | reader.makers)
        if reader.is_open:
            self._values.setdefault(index, _OPEN)
        if index in self._values:
            return self._values[index]
        self._inserter.findings += where.unknown(values.names)
        self.warnings += where.unmet()
        if values.rows:
            return values
        held = self._held(index)
        self._may_be_empty[index] |= any(self._may_be_empty[other] for other in held)
        why = reader.reasons[0]
        if not (self._may_be_empty[index] or any(self._is_empty(other) for other in held)):
            return why
        return values._replace(why=why.what, directories=tuple(reader.directories))

    def _is_empty(self, index: int) -> bool:
        values = self._values[index]
        return isinstance(values, Values) and not values.rows

    def _form(self, reader: Reader, at: Place, entry: Any, earlier: Collection[str] | None) -> Form:  # noqa: ANN401 - JSON
        """Return one form of an `each`, `at` this place, after others with the names `earlier`."""
        if not isinstance(entry, str):
            return reader.table(at, entry) if "rows" in entry else reader.names(at, entry, earlier)
        values = self._values[self._names[entry]] if entry in self._names else None
        if not isinstance(values, Values):
            hint = did_you_mean(entry, [name for name in self._names if name]) or "name a stage that has an each"
            raise SourceError(f"no stage named {show(entry)} has an each", hint)
        rows = [row._replace(at=at) for row in values.rows if reader.where.keeps(row.values)]
        if not rows:
            none = Finding(at, f'"{entry}" has no instances')
            reader.reasons.append(reader.where.emptied() if values.rows else none)
        return Form(values.names, values.named_by, lambda _: rows)

    # ---- instances ---------------------------------------------------------------------------------------------------

    def _instances(self, index: int) -> list[Instance]:
        """Return the instances of a template, or what stands for them."""
        stage, values, at = self._templates[index], self._values[index], ("stages", index)
        name, body = stage.get("name", ""), {field: value for field, value in stage.items() if field != "each"}
        if not isinstance(values, Values) or not values.rows:
            return [self._stand_in(index, values, body)]
        used_by = {field: references(body.get(field), "each") for field in FILLED}
        used = sorted({name for names in used_by.values() for name in names})
        varying = [field for field, names in used_by.items() if names]
        body = self._inserter.fill(at, body, {}, fields=FILLED.keys() - varying)  # the same in all instances
        first: dict[str, Row] = {}
        instances = []
        for row in values.rows:
            body["name"] = f"{name}@{row.suffix}"
            other = first.setdefault(row.suffix.lower(), row)
            if flaw := _row_flaw(row, other, used, body["name"]):
                self._inserter.findings.append(Finding(row.at, flaw))
                self._values[index] = None
            if other is row:
                origin = f"{row.source}: {body['name']}: ".removeprefix(": ")
                given = self._inserter.fill(at, body, row.values, origin, varying)
                instances.append(Instance(index, given, row.values, values.named_by, self._sources[index]))
        return instances

    def _stand_in(self, index: int, values: Values | _Open | Finding | None, body: Json) -> Instance:
        """Return what stands for the instances of a template that has none, or none that are known."""
        at, sources = ("stages", index), self._sources.get(index, ())
        if isinstance(values, Values):
            self._inserter.without_instances.add(index)
            unknown = None if values.names is None else dict.fromkeys(values.names, UNKNOWN)
            given, why, directories = self._inserter.fill(at, body, unknown), values.why, values.directories
            return Instance(index, given, named_by=values.named_by, sources=sources, why=why, directories=directories)
        body = self._inserter.fill(at, body, None)
        if isinstance(values, _Open):
            return Instance(index, body, sources=sources, is_open=True)
        if values:  # files are missing: it cannot run, so its program does not matter
            needs = [self._templates[other].get("name", "") for other in sorted(self._needed[index])]
            fields = ("name", "inputs", "optional", "outputs")
            body = {field: body[field] for field in fields if field in body}
            body |= {"command": ["{python}"], "needs": needs}
        missing = values or Finding(at, "other findings say why")
        return Instance(index, body, sources=sources, missing=missing)


def _row_flaw(row: Row, other: Row, used: Iterable[str], name: str) -> str | None:
    """Return why a row makes no instance: its name is too long, or the row of that name, `other`, differs from it."""
    if len(name) > LONGEST:
        return f"the name of the instance has {len(name)} bytes, {LONGEST} at most"
    if row is other:
        return None
    source = f"{row.source}: " if row.source else ""
    if row.suffix != other.suffix:
        return f"{source}{row.suffix} differs from {other.suffix} by case only"
    for column in used:
        value, before = row.values.get(column), other.values.get(column)
        if (type(value), spelled(value)) != (type(before), spelled(before)):  # 1, 1.0 and true are equal
            return f"{source}has another {column} than {other.source}, which has the same key, {row.suffix}"
    return None
