"""Loads a spec: reads it strictly, walks it against the table of fields, builds values, and checks what names mean.

All faults are reported at once. A field that fails the walk is left out, and later checks go on without it. To build
values, defaults are merged, paths in lists get names, and all paths one spelling.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from runner.errors import Fault, SpecError, UsageError
from runner.paths import StatePaths
from runner.spec.checks import (
    check_disk,
    check_names,
    check_outputs,
    check_own_inputs,
    glob_flaw,
    stem_flaw,
    variable_flaw,
)
from runner.spec.fields import CHECKPOINT, OFFLINE, RESOURCES, RETRY, SPEC, STAGE
from runner.spec.globs import bare, from_root, is_below, normal, ready_made_directory, stem
from runner.spec.kinds import Finding, did_you_mean, pointer
from runner.spec.model import READY_MADE, Checkpoint, Resources, Retry, Spec, Stage
from runner.spec.source import parse_source, read_source

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping, Sequence

    Json = Mapping[str, Any]  # the walk has checked each field's type; a cast for each again would slow every load
    Overrides = Mapping[str, Mapping[str, object]]
else:
    import _signal as signal  # `signal` itself builds enums, which a run can do without

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


class SpecBuilder:
    """Builds the values of a spec that holds only what the table of fields lets pass. Collects `findings`."""

    def __init__(self, path: str, given: Json, workspace: str | None = None) -> None:
        self.findings: list[Finding] = []
        self._path = path
        self._given = given
        self._top = {**SPEC.defaults, **given}
        directory = os.path.dirname(os.path.abspath(path))
        self._root = os.path.normpath(os.path.join(directory, self._top["root"]))
        self._workspace = self._root if workspace is None else os.path.abspath(workspace)
        self._offline = {**OFFLINE.defaults, **self._top["offline"]}
        self._defaults = {**STAGE.defaults, **self._top["defaults"]}
        # Stages that say nothing of a section share its value.
        self._sections = {name: build(self._defaults.get(name, {})) for name, build in _SECTIONS.items()}
        self._places: dict[tuple[str | int, ...], tuple[str | int, ...]] = {}  # paths in lists: by name -> by index

    def build(self, params: Overrides) -> Spec:
        """Return the spec; `params` override those of stages."""
        stages = []
        for index, given in enumerate(self._top["stages"]):
            overrides = params.get(given.get("name", ""))
            own = {**given, "params": {**given.get("params", {}), **overrides}} if overrides else given
            stages.append(self.build_stage(index, own))
        return Spec(
            path=os.path.abspath(self._path),
            shown=self._path,
            name=self._top.get("name", ""),
            root=self._root,
            workspace=self._workspace,
            paths=self._state_paths(),
            stages=tuple(stages),
            ready_made=ready_made_directory(),
            processor_identity=self._top["processorIdentity"],
            banned_imports=tuple(self._offline["bannedImports"]),
            allow_imports=tuple(self._offline["allowImports"]),
            description=self._top["description"],
            extensions=_extensions(self._given),
        )

    def placed(self, finding: Finding) -> Finding:
        """Return the finding with an index where an input or output stands in a list."""
        return finding._replace(at=self._places.get(finding.at, finding.at))

    def build_stage(self, index: int, given: Json) -> Stage:
        own = {**self._defaults, **given}
        return Stage(
            index=index,
            name=own.get("name", ""),
            outputs=self._paths(index, "outputs", own.get("outputs", {})),
            inputs=self._paths(index, "inputs", own["inputs"]),
            processor=self._processor(own.get("processor")),
            args=tuple(own["args"]),
            command=tuple(own["command"]) if "command" in own else None,
            needs=tuple(own["needs"]),
            params=dict(own["params"]),
            env={**self._defaults.get("env", {}), **own.get("env", {})},
            stdin=own.get("stdin"),
            stdout=own.get("stdout"),
            retry=self._section("retry", given),
            checkpoint=self._section("checkpoint", given),
            resources=self._section("resources", given),
            timeout_seconds=own.get("timeoutSeconds"),
            retry_on_timeout=_retry_on_timeout(given, self._defaults),
            fresh_interpreter=own["freshInterpreter"],
            on_attempt=given.get("offline", {}).get("onAttempt", self._offline["onAttempt"]),
            description=own["description"],
            extensions=_extensions(given),
        )

    def _section(self, name: str, given: Json) -> Any:  # noqa: ANN401 - the type is that of the section
        if name not in given:
            return self._sections[name]
        return _SECTIONS[name]({**self._defaults.get(name, {}), **given[name]})

    def _processor(self, written: str | None) -> str | None:
        return written if written is None or written.startswith(READY_MADE) else from_root(written, self._root)

    def _paths(self, index: int, field: str, given: dict[str, str] | list[str]) -> dict[str, str]:
        """Return inputs or outputs by name, in their one spelling; those in a list are named by their stems."""
        paths: dict[str, str] = {}
        variables: dict[str, str] = {}
        for step, written in given.items() if isinstance(given, dict) else enumerate(given):
            at = ("stages", index, field, step)
            name = step if isinstance(step, str) else stem(written)
            if name is not step:
                if flaw := stem_flaw(name, field, written, paths):
                    self.findings.append(Finding(at, *flaw))
                    continue
                self._places["stages", index, field, name] = at
            paths[name] = from_root(written, self._root) if field == "inputs" else normal(written)
            for flaw in (variable_flaw(name, variables), glob_flaw(written) if field == "inputs" else None):
                if flaw:
                    self.findings.append(Finding(at, *flaw))
        return paths

    def _state_paths(self) -> StatePaths:
        """State and locks are below the workspace; a state directory of one's own takes the locks along."""
        default = str(SPEC.defaults["stateDir"])
        state = bare(normal(self._given.get("stateDir", default)))
        locks = bare(normal(self._given.get("locksDir", f"{state}/locks" if "stateDir" in self._given else "locks")))
        for field, directory in (("stateDir", state), ("locksDir", locks)):
            if not is_below(f"{directory}/"):
                what = f'"{directory}" is not below the workspace'
                self.findings.append(Finding((field,), what, f'for example "{default}"'))
        if f"{locks}/".startswith((f"{state}/tmp/", f"{state}/logs/")):
            what = f'"{locks}" is where runs keep logs or scratch'
            self.findings.append(Finding(("locksDir",), what, f'"{state}/locks"'))
        return StatePaths(os.path.join(self._workspace, state), os.path.join(self._workspace, locks))


def _retry(given: Json) -> Retry:
    values = RETRY.values(given)
    delays, codes = values.pop("delay_seconds"), values.pop("retry_exit_codes")
    delays = tuple(delays) if isinstance(delays, list) else delays
    if values["max_delay_seconds"] is None:  # a delay that was asked for is not cut by a limit that was not
        values["max_delay_seconds"] = max(60.0, *delays) if isinstance(delays, tuple) else max(60.0, delays)
    del values["retry_on_timeout"]
    return Retry(
        delays=delays,
        retry_exit_codes=frozenset(code for code in codes if isinstance(code, int)),
        retry_signals=frozenset(int(getattr(signal, code)) for code in codes if isinstance(code, str)),
        **values,
    )


_SECTIONS: dict[str, Callable[[Json], Any]] = {
    "retry": _retry,
    "checkpoint": lambda given: Checkpoint(**CHECKPOINT.values(given)),
    "resources": lambda given: Resources(**RESOURCES.values(given)),
}


def _retry_on_timeout(*places: Json) -> bool:
    """Return what stands nearest to the stage: the stage, its retry, the defaults, their retry."""
    for place in places:
        for section in (place, place.get("retry", {})):
            if "retryOnTimeout" in section:
                return bool(section["retryOnTimeout"])
    return bool(RETRY.defaults["retryOnTimeout"])


def _extensions(given: Json) -> dict[str, object]:
    """Return the user's own keys, which begin with `x-`."""
    return {key: member for key, member in given.items() if key.startswith("x-")}
