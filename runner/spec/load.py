"""Loads a spec: parses it, checks it against the table of fields, builds values, and checks these.

All faults are reported at once, so a field that the table refuses is left out, and later checks go on without it.
Building merges defaults, names paths in lists, and normalises all paths.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from runner.errors import Fault, SpecError, UsageError
from runner.paths import StatePaths
from runner.spec import checks
from runner.spec.commands import check_commands, check_version
from runner.spec.each.checks import check_globs, check_sources
from runner.spec.each.expansion import Expander, Unusable
from runner.spec.each.references import References
from runner.spec.each.tables import NOTHING_MADE, Disk
from runner.spec.fields import CHECKPOINT, OFFLINE, RESOURCES, RETRY, SPEC, STAGE
from runner.spec.globs import bare, from_root, is_below, is_glob, normal
from runner.spec.graph import OutputIndex, makers_of, refuse_unknown, unknown_name, without_needs_of_empty
from runner.spec.kinds import Finding, pointer
from runner.spec.labels import Labels
from runner.spec.model import READY_MADE, Checkpoint, Empty, Resources, Retry, Spec, Stage
from runner.spec.sealed import check_sealed
from runner.spec.source import parse_source, read_source
from runner.spec.temporary import check_temporary
from runner.spec.values import Inserter, chosen_vars, spliced

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

    from runner.spec.each.forms import Source
    from runner.spec.each.instances import Instance
    from runner.spec.each.tables import Made
    from runner.spec.kinds import Place
    from runner.spec.values import Json, Var

    Overrides = Mapping[str, Mapping[str, object]]
    MadeIn = Callable[[StatePaths, str], Made]

_BEGINNING = 'a spec begins with {"specVersion": 1, "name": "NAME", "stages": ['
_UNUSED = ("no stage uses it", "write {vars.NAME} where it belongs")


def load_spec(
    path: str,
    *,
    workspace: str | None = None,
    params: Mapping[str, Mapping[str, object]] = {},
    variables: Mapping[str, Var] = {},
    without: Collection[str] = (),
    inputs: str | None = None,
    made_in: MadeIn = lambda *_: NOTHING_MADE,
    content: bytes | None = None,
    checks_disk: bool = True,
) -> Spec:
    """Return the spec at `path`. Everything but its inputs is checked.

    `params` override those of stages: stage -> key -> value, and `variables` the vars. No pattern of an `each` matches
    the files `without`, which are absolute. `inputs` is a directory laid out as root: what a pattern or table of an
    `each` finds there, it takes from there only. `made_in` returns what stages have made, given where state is and
    the workspace; a template whose table or directory is another is open. `content` replaces that of the file. Without
    `checks_disk`, what is in the places of directories, processors and outputs does not matter.

    Raises SpecError with every fault, or UsageError if `params` or `variables` name something unknown, or if the
    workspace is not a directory. An instance that `params` name may be unknown if stages make the values of its
    template: a plan shows whether it is there. A fault that only the values in a table of a stage have makes its
    template `missing`.
    """
    content = read_source(path) if content is None else content
    value, findings = parse_source(path, content, _BEGINNING)
    refused = SPEC.check(value)
    findings += _elsewhere(refused, findings)
    if not isinstance(value, dict):
        raise SpecError(*_faults(path, findings))
    usable, faulty = _without_faults(value, refused) if refused else (value, {})
    broken = [index for index, fields in faulty.items() if {"each", "where"} & {*fields}]

    def build(made_in: MadeIn, unusable: Mapping[int, Unusable]) -> tuple[Spec, list[Finding]]:
        builder = SpecBuilder(path, usable, workspace, variables)
        spec = builder.build(params, builder.expander(broken, unusable, without, inputs, made_in))
        flaws = _checked(builder, spec, usable["stages"], faulty)
        return spec, flaws + (_checked_disk(builder, spec, [*findings, *flaws]) if checks_disk else [])

    spec, flaws = build(made_in, {})
    if flaws and spec.made_tables:
        _, as_written = build(lambda *_: NOTHING_MADE, {})  # every template is open
        spec, flaws = (spec, as_written) if as_written else _without_made_flaws(spec, flaws, partial(build, made_in))
    if findings := [*findings, *flaws]:
        error = SpecError(*_faults(path, findings, {(stage.index,) for stage in spec.stages if stage.template}))
        error.spec = spec
        raise error
    if unknown := [*filter(is_glob, params)]:
        raise UsageError(*(Fault("--param", *unknown_name(name, spec.declared)) for name in unknown))
    refuse_unknown(spec, [name for name in params if not makers_of(spec, name)], "--param")
    spec = spec._replace(content=content) if spec.made_tables else spec
    return spec._replace(stages=tuple(without_needs_of_empty(spec))) if spec.empty else spec


def _checked(builder: SpecBuilder, spec: Spec, written: Sequence[Json], faulty: dict[int, set[str]]) -> list[Finding]:
    """Return the findings of a spec as built, those of its builder first."""
    checked = [*checks.check_names(spec), *check_commands(spec, faulty), *checks.check_outputs(spec)]
    checked += checks.check_results(spec, faulty)
    outputs = OutputIndex(spec.stages)
    checked += [*checks.check_own_inputs(spec.stages, outputs), *checks.check_input_places(spec)]
    checked += [*check_globs(spec.stages, written, outputs), *check_sources(spec, builder.sources, outputs)]
    checked += [*check_temporary(spec, outputs, faulty), *check_sealed(spec, faulty)]
    return [*builder.findings, *map(builder.placed, checked)]


def _checked_disk(builder: SpecBuilder, spec: Spec, earlier: Sequence[Finding]) -> list[Finding]:
    """Return the findings of what is on disk, but not where there is an earlier finding."""
    return _elsewhere(map(builder.placed, checks.check_disk(spec)), earlier)


def _without_made_flaws(
    spec: Spec,
    flaws: list[Finding],
    build: Callable[[Mapping[int, Unusable]], tuple[Spec, list[Finding]]],
) -> tuple[Spec, list[Finding]]:
    """Return a spec without the templates whose made values have flaws, and the flaws that are left.

    One after another is marked as unusable, and `build` builds the spec again, given these by position.
    """
    unusable: dict[int, Unusable] = {}
    tables = spec.made_tables  # those of unusable templates are not read again
    made = {stage.index: stage.sources for stage in spec.stages if stage.sources}
    while flaws and made:
        index = next((index for index in made if flaws[0].at[:2] == ("stages", index)), min(made))
        unusable[index] = Unusable(flaws[0], made.pop(index))
        spec, flaws = build(unusable)
    return spec._replace(made_tables=tables), flaws


def ready_made_directory() -> str:
    """Return the directory of the ready-made stages: in an installed package, or beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "stages")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "stages")


def _elsewhere(new: Iterable[Finding], earlier: Sequence[Finding]) -> list[Finding]:
    """Return the new findings whose place has no earlier one."""
    places = {finding.at for finding in earlier}
    return [finding for finding in new if finding.at not in places]


def _faults(path: str, findings: Iterable[Finding], templates: Container[object] = ()) -> list[Fault]:
    """Return each finding once, as a fault, in the order of the tables of fields. Unknown fields of an object are last.

    If several instances of a template have a finding at one place, only the first is kept.
    """
    first: dict[object, Finding] = {}
    for finding in findings:
        first.setdefault(finding.at if finding.at[1:2] in templates else finding, finding)
    tables = ((0, SPEC.fields), (2, STAGE.fields))  # each at its depth
    ranks = {(depth, name): rank for depth, fields in tables for rank, name in enumerate(fields)}

    def position(finding: Finding) -> list[tuple[int, str]]:
        return [
            (step, "") if isinstance(step, int) else (ranks.get((depth, step), len(ranks)), step)
            for depth, step in enumerate(finding.at)
        ]

    ordered = sorted(first.values(), key=position)
    return [Fault(pointer(path, finding.at), finding.what, finding.hint) for finding in ordered]


def _without_faults(value: Json, findings: Sequence[Finding]) -> tuple[Json, dict[int, set[str]]]:
    """Return the spec without the fields that have findings, and for each stage the fields that it has lost."""
    stages = value.get("stages")
    kept = [stage if isinstance(stage, dict) else {} for stage in stages] if isinstance(stages, list) else []
    faulty = {
        index: ({"outputs"} if stage else {"outputs", "processor"}) - stage.keys() for index, stage in enumerate(kept)
    }
    refused: set[str | int] = {"stages"}
    for at, _, _ in findings:
        if at[:1] == ("stages",) and len(at) > 1:
            faulty[cast("int", at[1])].update(map(str, at[2:3]))
        else:
            refused.update(at[:1])
    top: dict[str, object] = {key: member for key, member in value.items() if key not in refused}
    top |= {"vars": None} if "vars" in refused else {}
    top["stages"] = [
        {key: member for key, member in stage.items() if key not in faulty[index]} for index, stage in enumerate(kept)
    ]
    return top, faulty


class SpecBuilder:
    """Builds the values of a spec in which every field passed the table's checks. Collects `findings`."""

    def __init__(self, path: str, given: Json, workspace: str | None = None, variables: Mapping[str, Var] = {}) -> None:
        self._path = path
        self._given = given
        self._top = {**SPEC.defaults, **given}
        directory = os.path.dirname(os.path.abspath(path))
        self._root = os.path.normpath(os.path.join(directory, self._top["root"]))
        self._workspace = self._root if workspace is None else os.path.abspath(workspace)
        self._offline = {**OFFLINE.defaults, **self._top["offline"]}
        self._vars = self._top.get("vars", {})  # None: they were refused
        self._inserter = Inserter(None if self._vars is None else chosen_vars(self._vars, variables))
        self.findings = self._inserter.findings
        self._defaults = {"name": "", "programIdentity": self._top["programIdentity"], **self._top["defaults"]}
        self._env = self._inserter.insert(("defaults", "env"), self._defaults.get("env", {}), {}, "env")
        self._tools = self._inserter.insert(("defaults", "tools"), self._defaults.get("tools"), {}, "tools")
        # Stages without a section of their own share its value.
        self._sections = {name: build(self._defaults.get(name, {})) for name, build in _SECTIONS.items()}
        self._version = self._filled_version(("defaults",), self._defaults)
        self._versions = {  # of stages with their own
            index: self._filled_version(("stages", index), stage)
            for index, stage in enumerate(given.get("stages", ()))
            if "programVersion" in stage
        }
        self._paths = self._state_paths()
        self.sources: Sequence[Source] = ()  # of the values of templates
        self._labels = self._labels_of(References((), self.findings))

    def expander(
        self,
        broken: Collection[int],
        unusable: Mapping[int, Unusable],
        without: Collection[str],
        inputs: str | None,
        made_in: MadeIn,
    ) -> Expander:
        """Return what finds the instances of templates.

        The `each` or `where` of `broken` stages was refused, and the values of `unusable` ones have a flaw. Files in
        `without` match no pattern; `inputs` and `made_in` as in load_spec.
        """
        paths = self._paths
        made = made_in(paths, self._workspace)
        disk = Disk(self._root, (paths.state_dir, paths.locks_dir), without, inputs, made)
        may_be_empty = self._defaults.get("mayBeEmpty", False)
        return Expander(self._top["stages"], self._inserter, disk, broken, unusable, may_be_empty=may_be_empty)

    def build(self, params: Overrides, expander: Expander) -> Spec:
        """Return the spec, with `params` in place of those of stages, and instances in place of stages with `each`."""
        stages: list[Stage] = []
        empty: list[Empty] = []
        instances = expander.expand()
        self._labels = self._labels_of(references := References(instances, self.findings))
        for instance in instances:
            stage = self.build_stage(instance, params)
            if instance.why:
                empty.append(Empty(stage, instance.why, instance.directories))
            else:
                stages.append(stage)
        self.sources = expander.sources
        unused = [name for name in self._vars or () if name not in self._inserter.used]
        warnings = [*expander.warnings, *references.warnings.values()]
        warnings += (Finding(("vars", name), *_UNUSED) for name in unused)
        return Spec(
            path=os.path.abspath(self._path),
            shown=self._path,
            name=self._top.get("name", ""),
            root=self._root,
            workspace=self._workspace,
            paths=self._paths,
            stages=tuple(stages),
            empty=tuple(empty),
            ready_made=ready_made_directory(),
            processor_identity=self._top["processorIdentity"],
            banned_imports=tuple(self._offline["bannedImports"]),
            allow_imports=tuple(self._offline["allowImports"]),
            vars=self._inserter.variables or None,
            warnings=tuple(self._fault(finding) for finding in warnings),
            expanded_from=frozenset(expander.disk.examined),
            each_globs=tuple(expander.globs()),
            made_tables=tuple(expander.disk.made_tables.values()),
            matches=frozenset(os.path.normpath(os.path.join(self._root, path)) for path in expander.matches),
            description=self._top["description"],
            extensions=_extensions(self._given),
        )

    def _labels_of(self, references: References) -> Labels:
        return Labels(self._root, references, self.findings)

    def placed(self, finding: Finding) -> Finding:
        """Return the finding with an index for an input, output or result that the spec has in a list."""
        return finding._replace(at=self._labels.places.get(finding.at, finding.at))

    def build_stage(self, instance: Instance, params: Overrides) -> Stage:
        """Return the stage of an instance, with `params` in place of its own."""
        index, given, missing = instance.position, instance.given, instance.missing
        values = {**STAGE.values({**self._defaults, **given}), **self._sections}
        name = values["name"]
        for field in ("$schema", "each", "where", "if", "may_be_empty", "offline"):
            del values[field]
        inputs = self._labels.inputs(instance)
        for field in ("command", "args"):
            if values[field] and tuple in map(type, values[field]):
                words = spliced(values[field])
                values[field] = tuple(word for _, word in words)
                inputs.written[field,] = [(field, number) for number, _ in words]
        for section in _SECTIONS.keys() & given.keys():
            values[section] = _SECTIONS[section]({**self._defaults.get(section, {}), **given[section]})
        values |= {
            "index": index,
            "outputs": self._labels.outputs(instance),
            "inputs": inputs.paths,
            "seen_as": {label: normal(path) for label, path in values["seen_as"].items()},
            "results": self._labels.results(instance),
            "processor": self._processor(given.get("processor")),
            "params": {**values["params"], **params.get(name.partition("@")[0], {}), **params.get(name, {})},
            "env": {**self._env, **given.get("env", {})},
            "retry_on_timeout": _retry_on_timeout(given, self._defaults),
            "tools": self._environments(given.get("tools", self._tools)),
            "program_version": self._versions.get(index, self._version),
            "on_attempt": given.get("offline", {}).get("onAttempt", self._offline["onAttempt"]),
            "extensions": _extensions(given),
            "values": instance.values,
            "named_by": instance.named_by,
            "sources": instance.sources,
            "is_open": instance.is_open,
            "missing": missing and self._fault(missing),
            "joins": () if missing else tuple(inputs.joins),
            "written": inputs.written,
        }
        return Stage(**values)

    def _filled_version(self, at: Place, given: Json) -> tuple[str, ...] | None:
        """Return the command in `programVersion` with the values of vars; None if there is none."""
        at, words = (*at, "programVersion"), given.get("programVersion", ())
        self.findings += check_version(at, words)
        return tuple(self._inserter.insert(at, words, None, "programVersion")) or None

    def _environments(self, given: str | list[str] | None) -> tuple[str, ...] | None:
        """Return the paths of environments of tools, relative to root."""
        paths = [given] if isinstance(given, str) else given
        return tuple(bare(from_root(path, self._root)) for path in paths) if paths else None

    def _fault(self, finding: Finding) -> Fault:
        return Fault(pointer(self._path, finding.at), finding.what, finding.hint)

    def _processor(self, written: str | None) -> str | None:
        return written if written is None or written.startswith(READY_MADE) else from_root(written, self._root)

    def _state_paths(self) -> StatePaths:
        """Return the directories of state and locks, which must be below the workspace."""
        state = bare(normal(self._top["stateDir"]))
        locks = bare(normal(self._given.get("locksDir", f"{state}/locks" if "stateDir" in self._given else "locks")))
        for field, directory in (("stateDir", state), ("locksDir", locks)):
            if not is_below(f"{directory}/"):
                what = f'"{directory}" is not below the workspace'
                self.findings.append(Finding((field,), what, 'for example "state"'))
        if f"{locks}/".startswith((f"{state}/tmp/", f"{state}/logs/")):
            what = f'"{locks}" is where runs keep logs or scratch'
            self.findings.append(Finding(("locksDir",), what, f'"{state}/locks"'))
        return StatePaths(os.path.join(self._workspace, state), os.path.join(self._workspace, locks))


def _retry(given: Json) -> Retry:
    values = RETRY.values(given)
    if values["max_delay_seconds"] is None:  # so that the default does not cut a given delay
        delays = values["delay_seconds"]
        values["max_delay_seconds"] = max(60.0, *(delays if isinstance(delays, tuple) else (delays,)))
    del values["retry_on_timeout"]
    return Retry(**values)


_SECTIONS: dict[str, Callable[[Json], Any]] = {
    "retry": _retry,
    "checkpoint": lambda given: Checkpoint(**CHECKPOINT.values(given)),
    "resources": lambda given: Resources(**RESOURCES.values(given)),
}


def _retry_on_timeout(*places: Json) -> bool:
    """Return the first value given: by the stage, its retry, the defaults, or their retry."""
    sections = (section for place in places for section in (place, place.get("retry", {})))
    return next((section["retryOnTimeout"] for section in sections if "retryOnTimeout" in section), False)


def _extensions(given: Json) -> dict[str, object]:
    """Return the user's own keys, which begin with `x-`."""
    return {key: member for key, member in given.items() if key.startswith("x-")}
