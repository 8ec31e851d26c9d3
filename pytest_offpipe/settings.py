"""What was asked of the checks: by options, by ini, and in the spec by `x-offpipe`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

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
SHARED = pytest.StashKey[Path]()  # the directory that all workers of the session share, once something is in it
BORROWED = pytest.StashKey[float]()  # how many seconds of a check are those of the check `run`, see Case.borrowed
UNMADE = "offpipe_unmade"  # a user property: why this machine, or chance, kept a check from being made
Number = TypeVar("Number", int, float)


class _Given(NamedTuple):
    """What was given, and `by` what: the option, else its ini. `is_given` also when it is empty."""

    text: str
    by: str
    is_given: bool


def read_settings(config: pytest.Config) -> Settings:
    """Return the settings of this session. Raises pytest.UsageError for what cannot be."""
    return Settings(
        _checks(_given(config, "offpipe_checks")), _inputs(config, _given(config, "offpipe_inputs")),
        _number(_given(config, "offpipe_seed"), int, "whole number") or _drawn(config),
        _number(_given(config, "offpipe_budget"), float) or BUDGET, _is_strict(config),
    )  # fmt: skip


def settings_of(config: pytest.Config) -> Settings:
    """Return the settings that this session was begun with; read now, where no spec is collected."""
    return config.stash.get(SETTINGS, None) or read_settings(config)


def _given(config: pytest.Config, name: str) -> _Given:
    option = config.getoption(name)
    if option is not None:
        return _Given(str(option), f"--{name.replace('_', '-')}", is_given=True)
    text = str(config.getini(name) or "").strip()
    return _Given(text, name, is_given=bool(text))


def _checks(given: _Given) -> tuple[str, ...]:
    known = (*STAGE_CHECKS, *PIPELINE_CHECKS)
    if not given.is_given:
        return known
    checks = tuple(name for name in re.split(r"[\s,]+", given.text) if name)
    for name in checks or (given.text,):
        if name not in known:
            hint = (did_you_mean(name, known) if checks else "") or f"known are: {', '.join(known)}"
            raise pytest.UsageError(f'{given.by}: no check named "{name}"\nhint: {hint}')
    return checks


def _inputs(config: pytest.Config, given: _Given) -> str | None:
    if not given.is_given:
        return None
    base = config.invocation_params.dir if config.getoption("offpipe_inputs") is not None else config.rootpath
    path = os.path.join(base, given.text)
    if not (given.text and os.path.isdir(path)):
        shown = path if given.text else '""'
        raise pytest.UsageError(f"{given.by}: {shown}: no such directory")
    return path


def _number(given: _Given, kind: Callable[[str], Number], called: str = "number") -> Number | None:
    """Return the number that was given, if one was."""
    if not given.is_given:
        return None
    try:
        number = kind(given.text)
    except ValueError:
        number = kind("-1")
    if not 0 < number < 1 << 53:
        raise pytest.UsageError(f'{given.by}: "{given.text}" is no positive {called}')
    return number


def _is_strict(config: pytest.Config) -> bool:
    try:
        return bool(config.getoption("offpipe_strict") or config.getini("offpipe_strict"))
    except (ValueError, pytest.UsageError) as error:
        raise pytest.UsageError(f"offpipe_strict: {error}\nhint: true or false") from None


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
