"""The settings of the checks: from options, the ini, and `x-offpipe` in the spec."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import pytest

from runner.errors import Fault, SpecError
from runner.spec.kinds import Field, choice, did_you_mean, list_of, map_of, number, pointer, record, text

if TYPE_CHECKING:
    from runner.spec.model import Spec, Stage

STAGE_CHECKS = ("run", "outputs", "golden", "repeat", "reads", "retry", "resume", "stop", "full", "hostile")
PIPELINE_CHECKS = ("offline", "skip", "audit")
BUDGET = 45.0
TIMEOUT = 600.0
FIELD = "x-offpipe"
UPDATE_GOLDEN = "offpipe_update_golden"  # an option
HOSTILE = {  # what the check `hostile` puts in place of an input
    "empty": "no bytes",
    "noLastNewline": "its text without the last newline",
    "crlf": "its text with CRLF at the ends of lines",
    "bom": "its text after a byte order mark",
    "headerOnly": "its header",
    "oneRow": "its header and its first row",
    "shuffled": "its rows in another order",
}
TABLES = {".csv": ",", ".tsv": "\t"}  # ends of the names of tables, and what is between their cells
_MOST = 1 << 40
_EXTENSION = record(
    skipChecks=Field(map_of(choice(*STAGE_CHECKS), text()), "checks to leave out, each with the reason", {}),
    volatile=Field(text(), "why its bytes differ from run to run", ""),
    golden=Field(
        text(r"(?!/|\.{1,2}(/|$))(?!.*/\.\.(/|$)).+", "a directory below root, such as golden/"),
        "a directory below root: its file P is what the output P should be",
    ),
    normalise=Field(
        map_of(text(), list_of(text(), least=1)), "filters before comparisons: end of a name to words of a command", {}
    ),
    hostile=Field(map_of(choice(*HOSTILE), choice("fails", "succeeds")), "what the stage does with hostile inputs"),
    tags=Field(list_of(text("[A-Za-z_][A-Za-z0-9_]*", "letters, digits and _")), "marks of its tests", ()),
    maxSeconds=Field(number(0, _MOST, above=True), "seconds that the undisturbed run may take"),
    maxMemoryMiB=Field(number(0, _MOST, above=True), "most memory of all its processes together"),
)


class Settings(NamedTuple):
    """`checks` to make; `inputs`: a tree of smaller inputs; `seed` of chance; `budget` in seconds a check and stage.

    No run of a stage takes longer than `timeout` seconds.
    """

    checks: tuple[str, ...]
    inputs: str | None
    seed: int
    budget: float
    strict: bool
    timeout: float


SETTINGS = pytest.StashKey[Settings]()
SHARED = pytest.StashKey[str]()  # the directory that all workers of the session share, once something is in it
UNMADE = "offpipe_unmade"  # a user property: why a check could not be made on this machine, or by chance
Number = TypeVar("Number", int, float)


def read_settings(config: pytest.Config) -> Settings:
    """Return the settings of this session. Raises pytest.UsageError for a wrong value."""
    seed = _number(*given(config, "offpipe_seed"), int, "whole number")
    seed = seed or getattr(config, "workerinput", {}).get("offpipe_seed")  # of the process that controls a worker
    budget = _number(*given(config, "offpipe_budget"), float, "number") or BUDGET
    try:
        is_strict = bool(config.getoption("offpipe_strict") or config.getini("offpipe_strict"))
    except (ValueError, pytest.UsageError) as error:
        raise pytest.UsageError(f"offpipe_strict: {error}\nhint: true or false") from None
    checks, inputs = _checks(*given(config, "offpipe_checks")), _inputs(config)
    ini = str(config.getini("offpipe_timeout") or "").strip() or None
    timeout = _number(ini, "offpipe_timeout", float, "number") or TIMEOUT
    return Settings(checks, inputs, seed or int.from_bytes(os.urandom(4), "big") + 1, budget, is_strict, timeout)


def settings_of(config: pytest.Config) -> Settings:
    """Return the settings of this session; if it collects no spec, read them now."""
    return config.stash.get(SETTINGS, None) or read_settings(config)


def given(config: pytest.Config, name: str) -> tuple[str | None, str]:
    """Return the value of an option, else of its ini, else None; and the name of the option or ini."""
    option = config.getoption(name)
    if option is not None:
        return str(option), f"--{name.replace('_', '-')}"
    return str(config.getini(name) or "").strip() or None, name


def _checks(text: str | None, by: str) -> tuple[str, ...]:
    known = (*STAGE_CHECKS, *PIPELINE_CHECKS)
    if text is None:
        return known
    checks = tuple(name for name in re.split(r"[\s,]+", text) if name)
    for name in checks or (text,):
        if name not in known:
            hint = (did_you_mean(name, known) if checks else "") or f"known are: {', '.join(known)}"
            raise pytest.UsageError(f'{by}: no check named "{name}"\nhint: {hint}')
    return checks


def _inputs(config: pytest.Config) -> str | None:
    text, by = given(config, "offpipe_inputs")
    if text is None:
        return None
    base = config.rootpath if by == "offpipe_inputs" else config.invocation_params.dir
    path = os.path.join(base, text)
    if not (text and os.path.isdir(path)):
        shown = path if text else '""'
        raise pytest.UsageError(f"{by}: {shown}: no such directory")
    return path


def _number(text: str | None, by: str, kind: type[Number], called: str) -> Number | None:
    """Return the number that was given, if one was."""
    if text is None:
        return None
    try:
        number = kind(text)
    except ValueError:
        number = kind(-1)
    if not 0 < number < 1 << 53:
        raise pytest.UsageError(f'{by}: "{text}" is not a positive {called}')
    return number


def extension_of(spec: Spec, stage: Stage) -> dict[str, Any]:
    """Return the fields of `x-offpipe` for a stage by their names in Python, such as `skip_checks`.

    A field that the stage lacks is that of the spec. Raises SpecError if one of them is wrong.
    """
    fields: dict[str, object] = {}
    for place, extensions in (((), spec.extensions), (("stages", stage.index), stage.extensions)):
        given: Any = extensions.get(FIELD, {})
        if findings := _EXTENSION.check(given):
            raise SpecError(
                *(Fault(pointer(spec.shown, (*place, FIELD, *at)), what, hint) for at, what, hint in findings)
            )
        fields |= given
    return _EXTENSION.values(fields)
