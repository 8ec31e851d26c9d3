"""Reads `--param STAGE.KEY=JSON`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.errors import Fault, SpecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def read_params(texts: Sequence[str], spec_path: str, workspace: str | None) -> dict[str, dict[str, object]]:
    """Return the overrides by stage and key. Names and keys may hold dots: the longest stage name that fits counts.

    UsageError for an unknown stage, and for what is not written so.
    """
    if not texts:
        return {}
    from runner.spec.load import load_spec

    stages = [stage.name for stage in load_spec(spec_path, workspace=workspace).stages]
    found: dict[str, dict[str, object]] = {}
    for text in texts:
        left, equals, value = text.partition("=")
        stage, key = split_name(left, stages)
        if not equals or "." not in left.strip(".") or not key:
            hint = "for example --param upper.simulateTransient=true"
            raise UsageError(Fault("--param", f'"{text}" is not STAGE.KEY=JSON', hint))
        if stage not in stages:
            from runner.spec.words import did_you_mean

            raise UsageError(Fault("--param", f'no stage named "{stage}"', did_you_mean(stage, stages)))
        found.setdefault(stage, {})[key] = read_value(left, value)
    return found


def split_name(left: str, stages: Collection[str]) -> tuple[str, str]:
    """Return stage and key of `STAGE.KEY`; where no stage fits, what comes before the first dot, and the rest."""
    ends = [index for index, character in enumerate(left) if character == "."]
    for end in reversed(ends):
        if left[:end] in stages and left[end + 1 :]:
            return left[:end], left[end + 1 :]
    stage, _, key = left.partition(".")
    return stage, key


def read_value(name: str, text: str) -> object:
    """Return the JSON value of a parameter, read as strictly as a spec."""
    from runner.spec.source import parse_source

    try:
        value, findings = parse_source(f"--param {name}", text.encode("utf-8", "surrogateescape"))
    except SpecError as error:
        from json import dumps

        hint = f"text needs quotes of its own: --param '{name}={dumps(text)}'"
        raise UsageError(Fault(f"--param {name}", f'"{text}" is not JSON', hint)) from error
    if findings:
        raise UsageError(*(Fault(f"--param {name}", finding.what, finding.hint) for finding in findings))
    return value
