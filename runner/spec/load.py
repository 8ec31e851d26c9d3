"""Loads a spec: reads it strictly, walks it against the table of fields, checks what its names mean, and gives values.

All faults are reported at once. A field that fails the walk is left out, and the checks that follow go on without it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from runner.errors import Fault, SpecError, UsageError
from runner.paths import StatePaths
from runner.spec.build import StageBuilder, extensions
from runner.spec.disk import check_disk, ready_made_directory
from runner.spec.fields import SPEC, STAGE
from runner.spec.kinds import Finding
from runner.spec.locations import bare, is_below, normal
from runner.spec.model import ProcessorIdentity, Spec
from runner.spec.outputs import check_outputs, check_own_inputs
from runner.spec.references import check_needs, check_stage, check_stage_names
from runner.spec.source import parse_source, read_source
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from runner.spec.model import Stage

    Json = Mapping[str, object]
    Overrides = Mapping[str, Mapping[str, object]]

_NO_OVERRIDES: Overrides = {}


def load_spec(path: str, *, workspace: str | None = None, params: Overrides = _NO_OVERRIDES) -> Spec:
    """Return the spec at `path`, checked whole but for its inputs.

    `params` override those of stages: {stage: {key: value}}. Raises SpecError with every fault,
    UsageError when `params` name a stage that is not there.
    """
    value, findings = parse_source(path, read_source(path))
    placed = {finding.at for finding in findings}
    walked = SPEC.check(value)
    findings += [finding for finding in walked if finding.at not in placed]
    if not isinstance(value, dict):
        raise SpecError(*_faults(path, findings))
    usable = _Usable(value, walked)
    spec = _build(path, usable, workspace, params, findings)
    findings += [*check_stage_names(spec.stages), *check_needs(spec.stages)]
    for stage in spec.stages:
        findings += check_stage(stage, usable.stages[stage.index], usable.faulty.get(stage.index, ()))
    findings += check_outputs(spec, usable.stages)
    findings += check_own_inputs(spec.stages, usable.stages)
    refused = {finding.at for finding in findings}
    findings += [finding for finding in check_disk(spec, usable.stages) if finding.at not in refused]
    if findings:
        raise SpecError(*_faults(path, findings))
    _require_stages(params, spec.stages)
    return spec


def pointer(path: str, at: Sequence[str | int]) -> str:
    """Return `path#/json/pointer`, or `path` alone for the whole value; what a terminal could not show is escaped."""
    tokens = "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in at)
    if not tokens.isprintable():
        tokens = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in tokens)
    return f"{path}#{tokens}" if tokens else path


class _Usable:
    """The parts of a spec that the walk found nothing wrong with; `faulty`: stage index -> the fields left out."""

    def __init__(self, value: dict[str, object], walked: Sequence[Finding]) -> None:
        self.top = value
        self.faulty: dict[int, Collection[str]] = {}
        if walked:
            self._leave_out(value, walked)
        self.stages = cast("list[dict[str, object]]", self.top.get("stages", []))

    def _leave_out(self, value: dict[str, object], walked: Sequence[Finding]) -> None:
        stages = value.get("stages")
        kept = [dict(stage) if isinstance(stage, dict) else {} for stage in stages] if isinstance(stages, list) else []
        faulty = {index: {"outputs"} if stage else {"outputs", "processor"} for index, stage in enumerate(kept)}
        faulty = {index: fields - kept[index].keys() for index, fields in faulty.items()}
        bad_top: set[str] = set()
        for finding in walked:
            at = finding.at
            if len(at) >= 2 and at[0] == "stages" and isinstance(at[1], int):
                faulty.setdefault(at[1], set()).update(str(step) for step in at[2:3])
            elif at:
                bad_top.add(str(at[0]))
        for index, fields in faulty.items():
            kept[index] = {key: member for key, member in kept[index].items() if key not in fields}
        self.top = {key: member for key, member in value.items() if key not in bad_top} | {"stages": kept}
        self.faulty.update(faulty)


def _build(path: str, usable: _Usable, workspace: str | None, params: Overrides, findings: list[Finding]) -> Spec:
    top = {**SPEC.defaults, **usable.top}
    absolute = os.path.abspath(path)
    root = os.path.normpath(os.path.join(os.path.dirname(absolute), cast(str, top["root"])))
    base = root if workspace is None else os.path.abspath(workspace)
    offline = cast("Json", top["offline"])
    builder = StageBuilder(cast("Json", top["defaults"]), offline, root, findings)
    stages = []
    for index, given in enumerate(usable.stages):
        overrides = params.get(cast(str, given.get("name", "")))
        own = {**cast("Json", given.get("params", {})), **overrides} if overrides else None
        stages.append(builder.build(index, given if own is None else {**given, "params": own}))
    return Spec(
        path=absolute,
        shown=path,
        name=cast(str, top.get("name", "")),
        root=root,
        workspace=base,
        paths=_state_paths(usable.top, base, findings),
        stages=tuple(stages),
        ready_made=ready_made_directory(),
        processor_identity=cast(ProcessorIdentity, top["processorIdentity"]),
        banned_imports=tuple(cast("list[str]", offline.get("bannedImports", ()))),
        allow_imports=tuple(cast("list[str]", offline.get("allowImports", ()))),
        description=cast(str, top["description"]),
        extensions=extensions(usable.top),
    )


def _state_paths(given: Json, workspace: str, findings: list[Finding]) -> StatePaths:
    """State and locks are below the workspace; a state directory of one's own takes the locks along."""
    default = cast(str, SPEC.defaults["stateDir"])
    state = bare(normal(cast(str, given.get("stateDir", default))))
    locks = f"{state}/locks" if "stateDir" in given else "locks"
    locks = bare(normal(cast(str, given.get("locksDir", locks))))
    for field, directory in (("stateDir", state), ("locksDir", locks)):
        if not is_below(f"{directory}/"):
            findings.append(Finding((field,), f'"{directory}" is not below the workspace', f'for example "{default}"'))
    if f"{locks}/".startswith((f"{state}/tmp/", f"{state}/logs/")):
        findings.append(Finding(("locksDir",), f'"{locks}" is where runs keep logs or scratch', f'"{state}/locks"'))
    return StatePaths(os.path.join(workspace, state), os.path.join(workspace, locks))


def _require_stages(params: Overrides, stages: Sequence[Stage]) -> None:
    names = [stage.name for stage in stages]
    unknown = [name for name in params if name not in names]
    if unknown:
        raise UsageError(*(Fault("--param", f'no stage named "{name}"', did_you_mean(name, names)) for name in unknown))


def _place(at: Sequence[str | int]) -> list[tuple[int, str]]:
    """Return what sorts findings as the table of fields has them; indices by number, unknown names last."""
    ranks = {name: rank for rank, name in enumerate([*SPEC.fields, *STAGE.fields])}
    unknown = len(ranks)
    return [(step, "") if isinstance(step, int) else (ranks.get(step, unknown), step) for step in at]


def _faults(path: str, findings: Sequence[Finding]) -> list[Fault]:
    """Return the findings as faults, in the order of the spec, each once."""
    ordered = sorted(dict.fromkeys(findings), key=lambda finding: _place(finding.at))
    return [Fault(pointer(path, finding.at), finding.what, finding.hint) for finding in ordered]
