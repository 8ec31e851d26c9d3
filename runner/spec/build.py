"""From walked JSON to values: defaults are merged, paths in lists get names, and all paths one spelling. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.spec.checks import check_glob, check_stem, check_variable
from runner.spec.fields import CHECKPOINT, OFFLINE, RESOURCES, RETRY, STAGE
from runner.spec.kinds import Finding
from runner.spec.locations import from_root, normal, stem
from runner.spec.model import READY_MADE, Checkpoint, Resources, Retry, Stage

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping

    Json = Mapping[str, Any]  # the walk has checked each field's type; a cast for each again would slow every load
else:
    import _signal as signal  # `signal` itself builds enums, which a run can do without


class StageBuilder:
    """Builds stages from objects that hold only what the table of fields lets pass. Adds to `findings`."""

    def __init__(self, defaults: Json, offline: Json, root: str, findings: list[Finding]) -> None:
        self._root = root
        self._findings = findings
        self._defaults = {**STAGE.defaults, **defaults}
        self._on_attempt = offline.get("onAttempt", OFFLINE.defaults["onAttempt"])
        # Stages that say nothing of a section share its value.
        self._sections = {name: build(defaults.get(name, {})) for name, build in _SECTIONS.items()}
        self._retry_on_timeout = _retry_on_timeout(self._defaults)

    def build(self, index: int, given: Json) -> Stage:
        own = {**self._defaults, **given}
        says_timeout = "retry" in given or "retryOnTimeout" in given
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
            retry_on_timeout=_retry_on_timeout(given, self._defaults) if says_timeout else self._retry_on_timeout,
            fresh_interpreter=own["freshInterpreter"],
            on_attempt=given.get("offline", {}).get("onAttempt", self._on_attempt),
            description=own["description"],
            extensions=extensions(given),
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
            name = step if isinstance(step, str) else stem(written)
            path = from_root(written, self._root) if field == "inputs" else normal(written)
            flaws = [*check_stem(name, field, written, paths)] if name is not step else []
            if not flaws:
                paths[name] = path
                flaws = [*check_variable(name, variables), *(check_glob(written, path) if field == "inputs" else ())]
            self._findings += [Finding(("stages", index, field, step), *flaw) for flaw in flaws]
        return paths


def _retry(given: Json) -> Retry:
    own = {**RETRY.defaults, **given}
    delays, codes = own["delaySeconds"], own["retryExitCodes"]
    longest = max(delays) if isinstance(delays, list) else delays
    return Retry(
        attempts=own["attempts"],
        delays=tuple(delays) if isinstance(delays, list) else delays,
        multiplier=own["multiplier"],
        # A delay that was asked for is not cut by a limit that was not.
        max_delay_seconds=own.get("maxDelaySeconds", max(60.0, longest)),
        jitter=own["jitter"],
        retry_exit_codes=frozenset(code for code in codes if isinstance(code, int)),
        retry_signals=frozenset(int(getattr(signal, code)) for code in codes if isinstance(code, str)),
        max_total_seconds=own.get("maxTotalSeconds"),
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


def extensions(given: Json) -> dict[str, object]:
    """Return the user's own keys, which begin with `x-`."""
    return {key: member for key, member in given.items() if key.startswith("x-")}
