"""From walked JSON to values: defaults are merged, lists get names, paths one spelling. Touches no disk."""

from __future__ import annotations

import os.path
from signal import Signals
from typing import TYPE_CHECKING, cast

from runner.spec.fields import CHECKPOINT, LABEL, OFFLINE, RESOURCES, RETRY, STAGE
from runner.spec.kinds import Finding
from runner.spec.locations import from_root, normal
from runner.spec.model import READY_MADE, Checkpoint, OnAttempt, Resources, Retry, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Json = Mapping[str, object]


class StageBuilder:
    """Builds stages from objects that hold only what the table of fields lets pass. Adds to `findings`.

    Stages that say nothing of their own about retry and the like share one value.
    """

    def __init__(self, defaults: Json, offline: Json, root: str, findings: list[Finding]) -> None:
        self._root = root
        self._findings = findings
        self._defaults = defaults
        self._on_attempt = cast(OnAttempt, offline.get("onAttempt", OFFLINE.defaults["onAttempt"]))
        self._retry = _section(defaults, "retry")
        self._checkpoint = _section(defaults, "checkpoint")
        self._resources = _section(defaults, "resources")
        self._env = cast("dict[str, str]", defaults.get("env", {}))
        self._shared_retry = build_retry(self._retry)
        self._shared_checkpoint = build_checkpoint(self._checkpoint)
        self._shared_resources = build_resources(self._resources)
        self._retries_timeout = self._retry_on_timeout({}, {})

    def build(self, index: int, given: Json) -> Stage:
        get = given.get
        plain = STAGE.defaults
        retry = get("retry")
        checkpoint = get("checkpoint")
        resources = get("resources")
        offline = get("offline")
        command = get("command")
        retries_timeout = self._retries_timeout
        if retry is not None or "retryOnTimeout" in given:
            retries_timeout = self._retry_on_timeout(given, _section(given, "retry"))
        return Stage(
            index=index,
            name=cast(str, get("name", "")),
            outputs=self._paths(index, "outputs", get("outputs"), normal),
            inputs=self._paths(index, "inputs", get("inputs"), self._from_root),
            processor=self._processor(cast("str | None", get("processor"))),
            args=tuple(cast("list[str]", get("args", ()))),
            command=None if command is None else tuple(cast("list[str]", command)),
            needs=tuple(cast("list[str]", get("needs", ()))),
            params=dict(cast("dict[str, object]", get("params", plain["params"]))),
            env={**self._env, **cast("dict[str, str]", get("env", {}))},
            stdin=cast("str | None", get("stdin")),
            stdout=cast("str | None", get("stdout")),
            retry=self._shared_retry if retry is None else build_retry({**self._retry, **cast("Json", retry)}),
            checkpoint=self._shared_checkpoint
            if checkpoint is None
            else build_checkpoint({**self._checkpoint, **cast("Json", checkpoint)}),
            resources=self._shared_resources
            if resources is None
            else build_resources({**self._resources, **cast("Json", resources)}),
            timeout_seconds=cast("float | None", get("timeoutSeconds", self._defaults.get("timeoutSeconds"))),
            retry_on_timeout=retries_timeout,
            fresh_interpreter=cast(bool, get("freshInterpreter", self._defaults.get("freshInterpreter", False))),
            on_attempt=self._on_attempt if offline is None else self._stage_on_attempt(cast("Json", offline)),
            description=cast(str, get("description", plain["description"])),
            extensions=extensions(given),
        )

    def _stage_on_attempt(self, offline: Json) -> OnAttempt:
        return cast(OnAttempt, offline.get("onAttempt", self._on_attempt))

    def _from_root(self, path: str) -> str:
        return from_root(path, self._root)

    def _processor(self, written: str | None) -> str | None:
        if written is None or written.startswith(READY_MADE):
            return written
        return from_root(written, self._root)

    def _retry_on_timeout(self, given: Json, retry: Json) -> bool:
        """What stands nearest to the stage holds: the stage, its retry, the defaults, their retry."""
        for place in (given, retry, self._defaults, self._retry):
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
        retry_signals=frozenset(int(Signals[code]) for code in codes if isinstance(code, str)),
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
