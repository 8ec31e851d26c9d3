"""The inputs and outputs of a stage: paths by label, normalised.

An entry of an input as written may become several paths, or none: a list of a var, an empty value of an optional input,
a reference to a template.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from runner.spec import checks
from runner.spec.globs import from_root, normal, stem
from runner.spec.kinds import Finding, Place
from runner.spec.values import Reference, spliced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.spec.each.instances import Instance
    from runner.spec.each.references import References
    from runner.spec.model import Join

NEVER_EMPTY = 'if it may be empty, list it in "optional"'


class Inputs(NamedTuple):
    """The inputs of a stage, the joins of its references, and where paths are from that are not one for an entry."""

    paths: dict[str, str | tuple[str, ...]]
    joins: list[Join]
    written: dict[Place, Sequence[Place]]


class Labels:
    """Reads inputs and outputs, with paths relative to `root`. Adds to `findings`.

    `places`: of inputs, outputs and results that the spec has in a list, by label -> by index.
    """

    def __init__(self, root: str, references: References, findings: list[Finding]) -> None:
        self.places: dict[Place, Place] = {}
        self._root = root
        self._findings = findings
        self._references = references

    def outputs(self, instance: Instance) -> dict[str, str]:
        """Return the outputs of an instance."""
        given = instance.given.get("outputs", {})
        return {label: normal(path) for label, _, path in self._labelled(instance, "outputs", given)}

    def inputs(self, instance: Instance) -> Inputs:
        """Return the inputs of an instance."""
        inputs, written = Inputs({}, [], {}), instance.given.get("inputs", {})
        is_moved = isinstance(written, list) and not all(isinstance(entry, str) for entry in written)
        for label, at, given in self._labelled(instance, "inputs", written):
            if isinstance(given, str) and not is_moved:
                inputs.paths[label] = self._path(at, given)
                continue
            is_list = isinstance(given, list)
            if not (given or label in instance.given.get("optional", ())) and is_list:
                self._findings.append(Finding(at, "is empty", NEVER_EMPTY))
            places = [(*at, number) for number in range(len(given))] if is_list else [at]
            meant = [
                (place, path)
                for place, entry in zip(places, given if is_list else [given], strict=True)
                for path in self._meant(instance, label, place, entry, inputs.joins)
            ]
            paths = tuple([path for _, path in meant])
            inputs.paths[label] = paths if is_list or len(paths) != 1 else paths[0]
            if (found := [place for place, _ in meant]) != places or is_moved:
                inputs.written["inputs", label] = [place[2:] for place in found]
        return inputs

    def results(self, instance: Instance) -> Mapping[str, Mapping[str, str]] | None:
        """Return the results of an instance by label."""
        given = instance.given.get("results")
        if isinstance(given, list):
            at = "stages", instance.position, "results"
            self.places.update(((*at, label), (*at, number)) for number, label in enumerate(given))
            return {label: {} for label in given}
        return given

    def _labelled(
        self, instance: Instance, field: str, given: Mapping[str, Any] | list[Any]
    ) -> Iterator[tuple[str, Place, Any]]:
        """Yield inputs or outputs by label, each with its place.

        Without one as written, it is the stem of the path, or the label of the output that it refers to. Values make
        stems, so those of a stage without known instances need not be valid, and are kept apart by a number.
        """
        labels: set[str] = set()
        variables: dict[str, str] = {}
        for step, written in spliced(given) if isinstance(given, list) else given.items():
            at: Place = ("stages", instance.position, field, step)
            label = step if isinstance(step, str) else _label_of(written)
            if isinstance(step, int):
                flaw = checks.stem_flaw(label, field, str(written), labels)
                if flaw and (instance.why or instance.is_unexpanded):
                    label = f"{label} {step}"
                elif flaw:
                    self._findings.append(Finding(at, *flaw))
                    continue
                self.places["stages", instance.position, field, label] = at
            if flaw := checks.variable_flaw(label, variables):
                self._findings.append(Finding(at, *flaw))
            labels.add(label)
            yield label, at, written

    def _meant(
        self, instance: Instance, label: str, at: Place, entry: str | tuple[str, ...] | Reference, joins: list[Join]
    ) -> Sequence[str]:
        """Return the paths that an entry of an input means. Add the join of a reference to `joins`."""
        if isinstance(entry, str):
            return [self._path(at, entry)]
        if not isinstance(entry, Reference):
            return [self._path(at, path) for path in entry]
        paths, join = self._references.meaning(instance, label, at, entry)
        joins += [join] if join else []
        return [self._path(at, path) for path in paths] if entry.rest else paths

    def _path(self, at: Place, written: str) -> str:
        if flaw := checks.glob_flaw(written):
            self._findings.append(Finding(at, *flaw))
        return from_root(written, self._root)


def _label_of(written: str | Reference) -> str:
    if isinstance(written, str):
        return stem(written)
    return stem(written.rest) if written.rest else written.label
