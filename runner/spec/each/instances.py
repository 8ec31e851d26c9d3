"""The stages to build, among them the instances of templates, and their declared outputs."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.spec.each.tables import SourceError
from runner.spec.globs import may_meet, normal, parents, stem
from runner.spec.kinds import did_you_mean, show
from runner.spec.values import spelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.spec.kinds import Finding
    from runner.spec.values import Json, Reference, Values


class Instance(NamedTuple):
    """A stage to build: the position in the spec of the stage as written, and its JSON with all values in it.

    `values` are those of `each` by name; its name is made of those that are `named_by`, and `sources` are the stages
    that make them. If the instances of a template are not known, one stands for all of them: files or a table are
    `missing`, and it cannot run, or it `is_open` until its sources are up to date. If there are none, `why` says so,
    and this is the stage as written, with a `*` for each value; see `Empty`.
    """

    position: int
    given: Json
    values: Mapping[str, object] = {}
    named_by: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    is_open: bool = False
    missing: Finding | None = None
    why: str = ""
    directories: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the stage; empty if that was refused."""
        return cast("str", self.given.get("name", ""))

    @property
    def is_unexpanded(self) -> bool:
        """Whether this stands for instances that are not known."""
        return self.is_open or self.missing is not None


class Outputs:
    """The declared outputs of stages and instances. `made`: path -> the one that makes it.

    `patterns`: those of templates, with a `*` for each value, and those of stages that are off.
    """

    def __init__(self) -> None:
        self.made: dict[str, Instance] = {}
        self.patterns: list[str] = []
        self._by_name: dict[str, Instance] = {}
        self._instances: dict[str, list[Instance]] = {}  # by template
        self._sorted: list[str] = []

    def note(self, instance: Instance) -> None:
        """Note a stage or an instance, with its outputs."""
        self._by_name[instance.name] = instance
        if instance.named_by:
            self._instances.setdefault(instance.name.partition("@")[0], []).append(instance)
        self.made.update((path, instance) for path in outputs_of(instance).values())

    def maker_of(self, path: str) -> str | None:
        """Return the name of the stage or instance that makes a path; None if none does."""
        return self.made[path].name if path in self.made else None

    def directory_of(self, path: str) -> tuple[str, str] | None:
        """Return the directory output that a path lies in, and the stage or instance that makes it."""
        above = (f"{parent}/" for parent in parents(f"{path}*"))
        return next(((place, self.made[place].name) for place in above if place in self.made), None)

    def names_of(self, template: str) -> set[str]:
        """Return the names that instances of a template are named by."""
        return {name for instance in self._instances.get(template, ())[:1] for name in instance.named_by}

    def agreeing(self, reference: Reference, values: Values) -> list[str]:
        """Return the instances of a template that agree with values in every name that both have; a stage is one."""
        if reference.stage not in self._instances:
            return [reference.stage]
        return [
            instance.name
            for instance in self._instances[reference.stage]
            if all(
                spelled(instance.values[name]) == values.get(name, spelled(instance.values[name]))
                for name in instance.named_by
            )
        ]

    def path_of(self, reference: Reference, name: str | int = "rows") -> str:
        """Return the path of the output that a reference to a stage means. SourceError, `name` is its place."""
        stage, label, _ = reference
        if stage not in self._by_name:
            hint = did_you_mean(stage, self._by_name) or "name a stage"
            if stage in self._instances:
                hint = f"name one instance, such as {show(self._instances[stage][0].name)}"
            raise SourceError(f"{reference}: no stage or instance named {show(stage)}", hint, at=(name,))
        paths = outputs_of(self._by_name[stage])
        if label not in paths:
            what = f'{reference}: stage "{stage}" has no output named {show(label)}'
            raise SourceError(what, did_you_mean(label, paths), at=(name,))
        return paths[label]

    def starting_with(self, head: str) -> Iterator[tuple[str, int]]:
        """Yield those of `made` that begin with a text, each with its position."""
        if len(self._sorted) != len(self.made):
            self._sorted = sorted(self.made)
        for place in range(bisect_left(self._sorted, head), len(self._sorted)):
            path = self._sorted[place]
            if not path.startswith(head):
                break
            yield path, self.made[path].position

    def may_lie_in(self, directory: str) -> bool:
        """Whether an output, of any instance, may lie in a directory."""
        top = f"{directory}/"
        return any(self.starting_with(top)) or any(may_meet(top, pattern) for pattern in self.patterns)


def outputs_of(instance: Instance) -> dict[str, str]:
    """Return the outputs of a stage or an instance by label, normalised."""
    given = instance.given.get("outputs", {})
    labelled = given.items() if isinstance(given, dict) else ((stem(path), path) for path in given)
    return {label: normal(path) for label, path in labelled}
