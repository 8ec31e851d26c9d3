"""What was asked of the checks: by options, by ini, and in the spec by `x-offpipe`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import pytest

from runner.errors import Fault, SpecError
from runner.spec.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.spec.model import Spec, Stage

STAGE_CHECKS = ("run", "outputs", "repeat", "retry", "resume", "stop", "full")
PIPELINE_CHECKS = ("offline", "skip", "audit")
BUDGET = 45.0
FIELD = "x-offpipe"


@dataclass(frozen=True, slots=True)
class Settings:
    """`checks` to make; `inputs`: a tree of smaller inputs; `seed` of chance; `budget` in seconds a check and stage."""

    checks: tuple[str, ...]
    inputs: str | None
    seed: int
    budget: float
    strict: bool


SETTINGS = pytest.StashKey[Settings]()
Number = TypeVar("Number", int, float)


def read_settings(config: pytest.Config) -> Settings:
    """Return the settings of this session. Raises pytest.UsageError for what cannot be."""
    known = (*STAGE_CHECKS, *PIPELINE_CHECKS)
    named = _given(config, "offpipe_checks")
    checks = tuple(name.strip() for name in named.split(",") if name.strip()) if named else known
    for name in checks or (named,):
        if name not in known:
            hint = did_you_mean(name, known) or f"known are: {', '.join(known)}"
            raise pytest.UsageError(f'--offpipe-checks: no check named "{name}"\nhint: {hint}')
    inputs = _given(config, "offpipe_inputs")
    if inputs:
        base = config.invocation_params.dir if config.getoption("offpipe_inputs") else config.rootpath
        inputs = os.path.join(base, inputs)
        if not os.path.isdir(inputs):
            raise pytest.UsageError(f"--offpipe-inputs: {inputs}: no such directory")
    return Settings(
        checks, inputs or None, _number(config, "offpipe_seed", int, "whole number") or _drawn(config),
        _number(config, "offpipe_budget", float) or BUDGET,
        bool(config.getoption("offpipe_strict") or config.getini("offpipe_strict")),
    )  # fmt: skip


def _given(config: pytest.Config, name: str) -> str:
    return str(config.getoption(name) or config.getini(name) or "")


def _number(config: pytest.Config, name: str, kind: Callable[[str], Number], called: str = "number") -> Number | None:
    """Return the number that was given, if one was."""
    text = _given(config, name)
    try:
        number = kind(text) if text else None
    except ValueError:
        number = kind("-1")
    if number is not None and not 0 < number < 1 << 53:
        raise pytest.UsageError(f'--{name.replace("_", "-")}: "{text}" is no positive {called}')
    return number


def _drawn(config: pytest.Config) -> int:
    """Draw a seed; a worker has that of the process that controls it."""
    told = getattr(config, "workerinput", {}).get("offpipe_seed")
    return told or int.from_bytes(os.urandom(4), "big") + 1


def exemptions(spec: Spec, stage: Stage) -> Mapping[str, str]:
    """Return the checks that a stage is to be spared, each with the reason that the spec gives.

    Raises SpecError for whatever is wrong with the field.
    """
    volatile(spec, stage)
    where = f"{spec.shown}#/stages/{stage.index}/{FIELD}"
    skipped = _field(stage, where).get("skipChecks", {})
    if not isinstance(skipped, dict) or not all(isinstance(why, str) and why for why in skipped.values()):
        raise SpecError(Fault(f"{where}/skipChecks", "is to hold a reason for each check", '{"resume": "why"}'))
    for name in skipped:
        if name not in STAGE_CHECKS:
            raise SpecError(Fault(f"{where}/skipChecks", f'no check named "{name}"', did_you_mean(name, STAGE_CHECKS)))
    return skipped


def volatile(spec: Spec, stage: Stage) -> str:
    """Return why a stage's bytes differ from run to run, if the spec says that they do, else ""."""
    where = f"{spec.shown}#/stages/{stage.index}/{FIELD}"
    field = _field(stage, where)
    why = field.get("volatile", "")
    if not isinstance(why, str) or ("volatile" in field and not why):
        raise SpecError(Fault(f"{where}/volatile", "is to say why", '{"volatile": "stamps the time"}'))
    return why


def _field(stage: Stage, where: str) -> dict[str, object]:
    given = stage.extensions.get(FIELD, {})
    known = ("skipChecks", "volatile")
    if not isinstance(given, dict):
        raise SpecError(Fault(where, "is to be an object", '{"skipChecks": {"resume": "why"}}'))
    for name in given:
        if name not in known:
            raise SpecError(Fault(where, f'no field named "{name}"', did_you_mean(name, known)))
    return given
