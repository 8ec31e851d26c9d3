"""Loads a spec: reads it strictly, walks it against the table of fields, builds values, and checks what names mean.

All faults are reported at once. A field that fails the walk is left out, and later checks go on without it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from runner.errors import Fault, SpecError, UsageError
from runner.paths import StatePaths
from runner.spec.build import StageBuilder, extensions
from runner.spec.checks import check_disk, check_names, check_outputs, check_own_inputs
from runner.spec.fields import SPEC, STAGE
from runner.spec.kinds import Finding
from runner.spec.locations import bare, is_below, normal
from runner.spec.model import Spec
from runner.spec.source import parse_source, read_source
from runner.spec.words import did_you_mean, pointer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.spec.build import Json

    Overrides = Mapping[str, Mapping[str, object]]

_NO_OVERRIDES: Overrides = {}


def load_spec(path: str, *, workspace: str | None = None, params: Overrides = _NO_OVERRIDES) -> Spec:
    """Return the spec at `path`, checked whole but for its inputs.

    `params` override those of stages: {stage: {key: value}}. Raises SpecError with every fault,
    UsageError when `params` name a stage that is not there.
    """
    value, findings = parse_source(path, read_source(path))
    odd = {finding.at for finding in findings}
    walked = SPEC.check(value)
    findings += [finding for finding in walked if finding.at not in odd]
    if not isinstance(value, dict):
        raise SpecError(*_faults(path, findings))
    top, faulty = _without_faults(value, walked) if walked else (value, {})
    spec = _build(path, top, workspace, params, findings)
    given = top["stages"]
    findings += check_names(spec.stages, faulty)
    findings += check_outputs(spec, given)
    findings += check_own_inputs(spec.stages, given)
    refused = {finding.at for finding in findings}
    findings += [finding for finding in check_disk(spec, given) if finding.at not in refused]
    if findings:
        raise SpecError(*_faults(path, findings))
    names = [stage.name for stage in spec.stages]
    if unknown := [name for name in params if name not in names]:
        raise UsageError(*(Fault("--param", f'no stage named "{name}"', did_you_mean(name, names)) for name in unknown))
    return spec


def ready_made_directory() -> str:
    """Return where the stages that come with offpipe are: inside an installed package, or beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "stages")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "stages")


def _faults(path: str, findings: Sequence[Finding]) -> list[Fault]:
    """Return each finding once, as a fault, in the order of the table of fields; unknown names come last."""
    ranks = {name: rank for rank, name in enumerate([*SPEC.fields, *STAGE.fields])}

    def position(finding: Finding) -> list[tuple[int, str]]:
        return [(at, "") if isinstance(at, int) else (ranks.get(at, len(ranks)), at) for at in finding.at]

    ordered = sorted(dict.fromkeys(findings), key=position)
    return [Fault(pointer(path, finding.at), finding.what, finding.hint) for finding in ordered]


def _without_faults(value: Json, walked: Sequence[Finding]) -> tuple[Json, dict[int, set[str]]]:
    """Return the spec without what the walk refused, and for each stage the fields that are missing for that reason."""
    stages = value.get("stages")
    kept = [stage if isinstance(stage, dict) else {} for stage in stages] if isinstance(stages, list) else []
    faulty = {
        index: ({"outputs"} if stage else {"outputs", "processor"}) - stage.keys() for index, stage in enumerate(kept)
    }
    refused: set[str | int] = {"stages"}
    for at, _, _ in walked:
        if at[:1] == ("stages",) and len(at) > 1:
            faulty[cast(int, at[1])].update(map(str, at[2:3]))
        else:
            refused.update(at[:1])
    top: dict[str, object] = {key: member for key, member in value.items() if key not in refused}
    top["stages"] = [
        {key: member for key, member in stage.items() if key not in faulty[index]} for index, stage in enumerate(kept)
    ]
    return top, faulty


def _build(path: str, given: Json, workspace: str | None, params: Overrides, findings: list[Finding]) -> Spec:
    top = {**SPEC.defaults, **given}
    absolute = os.path.abspath(path)
    root = os.path.normpath(os.path.join(os.path.dirname(absolute), top["root"]))
    base = root if workspace is None else os.path.abspath(workspace)
    builder = StageBuilder(top["defaults"], top["offline"], root, findings)
    stages = []
    for index, stage in enumerate(top["stages"]):
        overrides = params.get(stage.get("name", ""))
        own = {**stage, "params": {**stage.get("params", {}), **overrides}} if overrides else stage
        stages.append(builder.build(index, own))
    return Spec(
        path=absolute,
        shown=path,
        name=top.get("name", ""),
        root=root,
        workspace=base,
        paths=_state_paths(given, base, findings),
        stages=tuple(stages),
        ready_made=ready_made_directory(),
        processor_identity=top["processorIdentity"],
        banned_imports=tuple(top["offline"].get("bannedImports", ())),
        allow_imports=tuple(top["offline"].get("allowImports", ())),
        description=top["description"],
        extensions=extensions(given),
    )


def _state_paths(given: Json, workspace: str, findings: list[Finding]) -> StatePaths:
    """State and locks are below the workspace; a state directory of one's own takes the locks along."""
    default = str(SPEC.defaults["stateDir"])
    state = bare(normal(given.get("stateDir", default)))
    locks = bare(normal(given.get("locksDir", f"{state}/locks" if "stateDir" in given else "locks")))
    for field, directory in (("stateDir", state), ("locksDir", locks)):
        if not is_below(f"{directory}/"):
            findings.append(Finding((field,), f'"{directory}" is not below the workspace', f'for example "{default}"'))
    if f"{locks}/".startswith((f"{state}/tmp/", f"{state}/logs/")):
        findings.append(Finding(("locksDir",), f'"{locks}" is where runs keep logs or scratch', f'"{state}/locks"'))
    return StatePaths(os.path.join(workspace, state), os.path.join(workspace, locks))
