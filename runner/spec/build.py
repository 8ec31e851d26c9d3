"""From walked JSON to values: defaults are merged, lists get names, paths one spelling. Touches no disk."""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from runner.spec.fields import CHECKPOINT, LABEL, OFFLINE, RESOURCES, RETRY, STAGE
from runner.spec.kinds import Finding
from runner.spec.locations import from_root, normal
from runner.spec.model import READY_MADE, Checkpoint, Resources, Retry, Stage

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping

    Json = Mapping[str, object]
else:
    import _signal as signal  # `signal` itself builds enums, which a run can do without


Built = TypeVar("Built")


class _Section(Generic[Built]):
    """One of retry, checkpoint, resources: the defaults for all stages, and the value of those that say no more."""

    def __init__(self, defaults: Json, name: str, build: Callable[[Json], Built]) -> None:
        self._build = build
        self.defaults = cast("Json", defaults.get(name, {}))
        self._shared = build(self.defaults)

    def of(self, given: Json | None) -> Built:
        return self._shared if given is None else self._build({**self.defaults, **given})


class StageBuilder:
    """Builds stages from objects that hold only what the table of fields lets pass. Adds to `findings`."""

    def __init__(self, defaults: Json, offline: Json, root: str, findings: list[Finding]) -> None:
        self._root = root
        self._findings = findings
        self._defaults = defaults
        self._on_attempt = offline.get("onAttempt", OFFLINE.defaults["onAttempt"])
        self._retry = _Section(defaults, "retry", build_retry)
        self._checkpoint = _Section(defaults, "checkpoint", build_checkpoint)
        self._resources = _Section(defaults, "resources", build_resources)
        self._env = cast("dict[str, str]", defaults.get("env", {}))
        self._timeout = defaults.get("timeoutSeconds")
        self._fresh = defaults.get("freshInterpreter", STAGE.defaults["freshInterpreter"])
        self._retries_timeout = self._retry_on_timeout({})

    def build(self, index: int, given: Json) -> Stage:
        # The walk has seen that each field has its type; to say it again in a cast a field would slow every load.
        get = cast("Callable[..., Any]", given.get)
        says_timeout = "retry" in given or "retryOnTimeout" in given
        return Stage(
            index=index,
            name=get("name", ""),
            outputs=self._paths(index, "outputs", get("outputs"), normal),
            inputs=self._paths(index, "inputs", get("inputs"), self._from_root),
            processor=self._processor(get("processor")),
            args=tuple(get("args", ())),
            command=tuple(get("command")) if "command" in given else None,
            needs=tuple(get("needs", ())),
            params=dict(get("params", ())),
            env={**self._env, **get("env", {})},
            stdin=get("stdin"),
            stdout=get("stdout"),
            retry=self._retry.of(get("retry")),
            checkpoint=self._checkpoint.of(get("checkpoint")),
            resources=self._resources.of(get("resources")),
            timeout_seconds=get("timeoutSeconds", self._timeout),
            retry_on_timeout=self._retry_on_timeout(given) if says_timeout else self._retries_timeout,
            fresh_interpreter=get("freshInterpreter", self._fresh),
            on_attempt=get("offline", {}).get("onAttempt", self._on_attempt),
            description=get("description", ""),
            extensions=extensions(given),
        )

    def _from_root(self, path: str) -> str:
        return from_root(path, self._root)

    def _processor(self, written: str | None) -> str | None:
        if written is None or written.startswith(READY_MADE):
            return written
        return from_root(written, self._root)

    def _retry_on_timeout(self, given: Json) -> bool:
        """What stands nearest to the stage holds: the stage, its retry, the defaults, their retry."""
        for place in (given, _section(given, "retry"), self._defaults, self._retry.defaults):
            if "retryOnTimeout" in place:
                return cast(bool, place["retryOnTimeout"])
        return cast(bool, RETRY.defaults["retryOnTimeout"])

    def _paths(self, index: int, field: str, given: object, spell: Callable[[str], str]) -> dict[str, str]:
        if isinstance(given, dict):
            return {name: spell(path) for name, path in given.items()}
        named: dict[str, str] = {}
        for position, path in enumerate(cast("list[str]", given or ())):
            name = os.path.splitext(os.path.basename(path.rstrip("/")))[0]
            at = ("stages", index, field, position)
            hint = f'give names: "{field}": {{"NAME": "{path}"}}'
            if LABEL.check(name):
                self._findings.append(Finding(at, f'"{name}", the stem of the path, can be no name', hint))
            elif name in named:
                self._findings.append(Finding(at, f'two paths have the stem "{name}", which is their name', hint))
            else:
                named[name] = spell(path)
        return named


def build_retry(given: Json) -> Retry:
    """Return the policy that `given`, defaults included in it by key, stands for."""
    merged = {**RETRY.defaults, **given}
    delays = cast("float | list[float]", merged["delaySeconds"])
    codes = cast("list[int | str]", merged["retryExitCodes"])
    longest = max(delays) if isinstance(delays, list) else delays
    return Retry(
        attempts=cast(int, merged["attempts"]),
        delays=tuple(delays) if isinstance(delays, list) else delays,
        multiplier=cast(float, merged["multiplier"]),
        # A delay that was asked for is not cut by a limit that was not.
        max_delay_seconds=cast(float, merged.get("maxDelaySeconds", max(60.0, longest))),
        jitter=cast(float, merged["jitter"]),
        retry_exit_codes=frozenset(code for code in codes if isinstance(code, int)),
        retry_signals=frozenset(int(getattr(signal, code)) for code in codes if isinstance(code, str)),
        max_total_seconds=cast("float | None", merged.get("maxTotalSeconds")),
    )


def build_checkpoint(given: Json) -> Checkpoint:
    merged = {**CHECKPOINT.defaults, **given}
    return Checkpoint(
        every_lines=cast("int | None", merged.get("everyLines")),
        every_seconds=cast("float | None", merged.get("everySeconds")),
    )


def build_resources(given: Json) -> Resources:
    merged = {**RESOURCES.defaults, **given}
    return Resources(
        cpus=cast("float | None", merged.get("cpus")),
        memory_mib=cast("int | None", merged.get("memoryMiB")),
        io_concurrency=cast("int | None", merged.get("ioConcurrency")),
        enforce=cast(bool, merged["enforce"]),
    )


def extensions(given: Json) -> dict[str, object]:
    """Return the user's own keys, which begin with `x-`."""
    return {key: value for key, value in given.items() if key.startswith("x-")}


def _section(given: Json, name: str) -> Json:
    return cast("Json", given.get(name, {}))
