"""What references mean: inputs such as `{outputs.trim.clean}`, which name an output of another stage.

They become paths as soon as all instances are known, so only loading knows them. Of a template, a reference means the
instances that agree with the reader in every name that both have. An index by the values of these names finds them.
"""

from __future__ import annotations

from functools import cache, cached_property
from typing import TYPE_CHECKING, NamedTuple

from runner.spec.each.instances import outputs_of
from runner.spec.kinds import Finding, Place, did_you_mean, show
from runner.spec.model import Join
from runner.spec.values import literal_glob, spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runner.spec.each.instances import Instance
    from runner.spec.values import Reference


class _Relation(NamedTuple):
    """What the instances of a template get from a reference, or why they get nothing: a flaw with a hint.

    `path`: the output of a single stage. Else `paths` are those of a template with `total` instances, by the values of
    the names that both have, which are `by`.
    """

    flaw: tuple[str, str] | None = None
    path: str | None = None
    paths: Mapping[tuple[str, ...], list[str]] = {}
    total: int = 0
    by: tuple[str, ...] = ()


class References:
    """The outputs of all instances. Adds to `findings`, and collects `warnings`."""

    def __init__(self, instances: Sequence[Instance], findings: list[Finding]) -> None:
        self.warnings: dict[Place, Finding] = {}  # once for all instances
        self._findings = findings
        self._instances = instances
        self._relations: dict[tuple[int, str, str, bool], _Relation] = {}
        self._index = cache(self._indexed)

    def meaning(self, reader: Instance, label: str, at: Place, reference: Reference) -> tuple[list[str], Join | None]:
        """Return the paths that a reference of an input means, and how they were chosen, unless it names one stage.

        `at` is its place in the spec. Of a template whose instances are not known, the path is a glob.
        """
        stage, output, rest = reference
        key = (reader.position, stage, output, bool(rest))
        relation = self._relations.get(key)
        if relation is None:
            relation = self._relations[key] = self._related(reader, at, reference)
        if relation.flaw:
            self._findings.append(Finding(at, *relation.flaw))
            return [], None
        if relation.path is not None:
            return [relation.path + rest], None
        paths = relation.paths.get(_values(reader, relation.by), [])
        join = Join(label, at[3:], stage, len(paths), relation.total, relation.by)
        return [path + rest for path in paths] if rest else paths, join

    def _related(self, reader: Instance, at: Place, reference: Reference) -> _Relation:
        """Return what the instances of a reader's template get from a reference, `at` this place."""
        makers = self._makers_of(reference.stage)
        if not makers:
            return _Relation(self._unknown(reference))
        maker, outputs = makers[0], outputs_of(makers[0])
        path = outputs.get(reference.label)
        if path is None:
            what = f'{reference}: stage "{reference.stage}" has no output named {show(reference.label)}'
            return _Relation((what, did_you_mean(reference.label, outputs)))
        if reference.rest and not path.endswith("/"):
            return _Relation((f'{reference} is "{path}", which is no directory', "only a directory can begin a path"))
        if maker.why:
            return _Relation()
        if reader.why or maker.is_unexpanded or not maker.named_by or "@" in reference.stage:
            return _Relation(path=literal_glob(path) if reference.rest and not maker.is_unexpanded else path)
        by = tuple(name for name in reader.named_by if name in maker.named_by)
        if reader.named_by and not by:
            self._note_nothing_common(reader, maker, at, reference)
        paths = self._index(reference.stage, reference.label, by, bool(reference.rest))
        return _Relation(paths=paths, total=len(makers), by=by)

    @cached_property
    def _makers(self) -> dict[str, list[Instance]]:
        """The instances of each template, and each stage and instance alone, by name."""
        makers: dict[str, list[Instance]] = {}
        for instance in self._instances:
            name = instance.given.get("name", "")
            makers.setdefault(name, []).append(instance)
            if instance.named_by and "@" in name:
                makers.setdefault(name.partition("@")[0], []).append(instance)
        return makers

    def _makers_of(self, stage: str) -> list[Instance]:
        """Return the instances that a name means: of a template without known instances, what stands for them."""
        template = self._makers.get(stage.partition("@")[0], [])
        is_known = not template or not (template[0].is_unexpanded or template[0].why)
        return self._makers.get(stage, [] if is_known else template)

    def _indexed(self, stage: str, label: str, by: Sequence[str], is_begin: bool) -> dict[tuple[str, ...], list[str]]:
        """Return the paths of an output of all instances of a template, by the values of the names `by`.

        `is_begin`: a path, which may be a glob, goes on after it.
        """
        index: dict[tuple[str, ...], list[str]] = {}
        for maker in self._makers[stage]:
            if (path := outputs_of(maker).get(label)) is not None:
                index.setdefault(_values(maker, by), []).append(literal_glob(path) if is_begin else path)
        return {values: sorted(paths) for values, paths in index.items()}

    def _unknown(self, reference: Reference) -> tuple[str, str]:
        """Return the flaw of a reference to a stage that does not exist."""
        is_instance = reference.stage.partition("@")[0] in self._makers
        known = [name for name in self._makers if is_instance or "@" not in name]
        return f"{reference}: no stage named {show(reference.stage)}", did_you_mean(reference.stage, known)

    def _note_nothing_common(self, reader: Instance, maker: Instance, at: Place, reference: Reference) -> None:
        """Note that no name is common to a reader and a template, so that the reference means all instances."""
        what = f'{reference} means all instances of "{reference.stage}"'
        for column in maker.named_by:
            if column in reader.values:
                hint = f'add {column} to "key", or write the path'
                self._findings.append(Finding(at, f'{what}: "key" does not hold {show(column)}', hint))
                return
        names = ", ".join(maker.named_by)
        hint = f'if each instance should read its own, its "each" needs {names}; or write the path'
        self.warnings.setdefault(at, Finding(at, f"{what}: no name is common to both", hint))


def _values(instance: Instance, names: Iterable[str]) -> tuple[str, ...]:
    return tuple([spelled(instance.values[name]) for name in names])
