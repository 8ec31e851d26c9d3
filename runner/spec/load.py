"""Loads a spec: reads it strictly, walks it against the table of fields, builds values, and checks what names mean.

All faults are reported at once. A field that fails the walk is left out, and later checks go on without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from runner.errors import Fault, SpecError, UsageError
from runner.spec.build import SpecBuilder
from runner.spec.checks import check_disk, check_names, check_outputs, check_own_inputs
from runner.spec.fields import SPEC, STAGE
from runner.spec.source import parse_source, read_source
from runner.spec.words import did_you_mean, pointer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.spec.build import Json, Overrides
    from runner.spec.model import Spec
    from runner.spec.words import Finding

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
    usable, faulty = _without_faults(value, walked) if walked else (value, {})
    builder = SpecBuilder(path, usable, workspace)
    spec = builder.build(params)
    checked = [*check_names(spec.stages, faulty), *check_outputs(spec), *check_own_inputs(spec.stages)]
    findings += [*builder.findings, *map(builder.placed, checked)]
    refused = {finding.at for finding in findings}
    findings += [finding for finding in map(builder.placed, check_disk(spec)) if finding.at not in refused]
    if findings:
        raise SpecError(*_faults(path, findings))
    names = [stage.name for stage in spec.stages]
    if unknown := [name for name in params if name not in names]:
        raise UsageError(*(Fault("--param", f'no stage named "{name}"', did_you_mean(name, names)) for name in unknown))
    return spec


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
