"""Reads the values that the command line sets: `--var`, `--vars` and `--param`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from runner.errors import Fault, SpecError, UsageError
from runner.spec.fields import PROSE
from runner.spec.kinds import ANYTHING, did_you_mean, map_of, pointer
from runner.spec.source import parse_source, read_source
from runner.spec.values import Var

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.engine import Options


def read_vars(settings: Sequence[str], path: str | None) -> tuple[dict[str, Var], tuple[str | bytes, ...]]:
    """Return `variables` and `var_sources` of options, from `--var NAME=VALUE` and `--vars FILE`. Raises UsageError."""
    variables: dict[str, Var] = {}
    sources: tuple[str | bytes, ...] = (*settings,)
    if path is not None:
        sources += ((content := read_source(path, "vars")),)
        value, findings = parse_source(path, content)
        if refused := findings or map_of(PROSE, ANYTHING).check(value):
            raise UsageError(*(Fault(pointer(path, at), what, hint) for at, what, hint in refused))
        variables = {name: Var(pointer(path, (name,)), new) for name, new in cast("dict[str, object]", value).items()}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            raise UsageError(Fault("--var", f'"{setting}" is not NAME=VALUE', "for example --var quality=25"))
        variables[name] = Var(f"var {name}", value, is_typed=True)
    return variables, sources


def read_params(settings: Sequence[str], path: str, options: Options) -> dict[str, dict[str, object]]:
    """Return the values of `--param STAGE.KEY=JSON` by stage or template, and key. Raises UsageError.

    Stage names and keys may contain dots, so the longest stage name that fits counts; for an instance that is not
    known, the longest key of its template. Loading the spec with these params refuses unknown stages. A param that a
    command does not declare is refused here, as a typing mistake.
    """
    spec = options.load(path) if settings else None
    loaded = spec.declared if spec else ()
    none = {empty.stage.index for empty in spec.empty} if spec else ()  # what such a stage declares does not matter
    stages = {name: stage for stage in loaded for name in (stage.template, stage.name) if name}
    params: dict[str, dict[str, object]] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        fitting = [stage for stage in stages if name.startswith(f"{stage}.")]
        template = stages.get(name.partition("@")[0])
        ends = [f".{key}" for key in template.params if name.endswith(f".{key}")] if template else []
        end = max(ends, key=len, default="." + name.rpartition(".")[2])
        stage = max(fitting, key=len, default=name.removesuffix(end) if template else name.partition(".")[0])
        key = name[len(stage) + 1 :]
        if not (stage and key and equals):
            hint = "for example --param upper.simulateTransient=true"
            raise UsageError(Fault("--param", f'"{setting}" is not STAGE.KEY=JSON', hint))
        params.setdefault(stage, {})[key] = _param_value(name, value)
        known = stages.get(stage, template)
        is_code = not known or known.command is None or known.command[0] == "{python}"  # which has defaults
        if known and not is_code and known.index not in none and key not in known.params:
            hint = did_you_mean(key, known.params) or 'declare it in "params"'
            raise UsageError(Fault("--param", f'stage "{stage}" has no parameter "{key}"', hint))
    return params


def _param_value(name: str, given: str) -> object:
    """Parse the JSON value of a parameter as strictly as a spec."""
    where = f"--param {name}"
    try:
        value, findings = parse_source(where, given.encode("utf-8", "surrogateescape"))
    except SpecError as error:
        hint = f"text needs its own quotes: --param '{name}={json.dumps(given)}'"
        raise UsageError(Fault(where, f'"{given}" is not JSON', hint)) from error
    if findings:
        raise UsageError(*(Fault(where, finding.what, finding.hint) for finding in findings))
    return value
