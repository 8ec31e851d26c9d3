"""The values of vars and `each`, and how they get into the stages as written.

`{each.NAME}` and `{vars.NAME}` may stand in paths, commands, arguments, variables and strings of params. A value is
inserted once and literally: its braces make no placeholder, and in the path of an input its `*`, `?` and `[` match only
themselves.
"""

from __future__ import annotations

import re
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.errors import Fault, SpecError, UsageError
from runner.spec.fields import PATH, PROSE, WORD
from runner.spec.kinds import BOOLEAN, Finding, Place, did_you_mean, number, show
from runner.spec.placeholders import guarded, joined
from runner.spec.source import parse_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    Json = Mapping[str, Any]  # the table has checked the types; a cast for each field would slow every load
    Values = Mapping[str, object]

_PLACEHOLDER = re.compile(r"\{(each|vars)\.([^{}\"'\\]*)\}")  # of any name: a name without a value is a fault
_WILDCARD = re.compile(r"([*?[])")
FILLED = {  # of a stage: where values are inserted, and what the result must be
    "processor": PATH,
    "args": WORD,
    "command": WORD,
    "inputs": PATH,
    "outputs": PATH,
    "env": WORD,
    "params": None,
}
UNKNOWN = "*"  # stands for a value that is not known


def spelled(value: object) -> str:
    """Return a value as text: a string as it is, a number as the JSON spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def literal_glob(text: str) -> str:
    """Return a glob that matches only the text itself."""
    return text if text.isalnum() else _WILDCARD.sub(r"[\1]", text)  # nearly every value is


def references(value: object, form: str) -> list[str]:
    """Return the NAME of each placeholder `{FORM.NAME}` in the strings of a JSON value."""
    return [name for other, name in _PLACEHOLDER.findall(str(value)) if other == form]


class Var(NamedTuple):
    """The value of a var for one run, and its place for messages. `is_typed`: it is text from the command line."""

    where: str
    value: object
    is_typed: bool = False


class Inserter:
    """Inserts the values of vars and `each` into stages. `variables` are the vars, or None if they were refused.

    Collects `findings`, and the names of the vars that were `used`.
    """

    def __init__(self, variables: Values | None) -> None:
        self.findings: list[Finding] = []
        self.used: set[str] = set()
        self._origin = ""
        self.variables = variables

    def fill(self, at: Place, stage: Json, each: Values | None, origin: str = "") -> Json:
        """Return a stage with values in its fields. If those of `each` are None, they are UNKNOWN.

        Findings about values begin with their `origin`: the row and the instance.
        """
        self._origin = origin
        filled = {field: self.insert((*at, field), stage[field], each, field) for field in FILLED if field in stage}
        return {**stage, **filled}

    def insert(self, at: Place, value: Any, each: Values | None, field: str) -> Any:  # noqa: ANN401 - JSON
        """Return a JSON value of a field with values in its strings, at any depth."""
        if isinstance(value, str):
            return self._text(at, value, each, field) if "{" in value else value
        if isinstance(value, list):
            return [self.insert((*at, index), member, each, field) for index, member in enumerate(value)]
        if isinstance(value, dict):
            return {name: self.insert((*at, name), member, each, field) for name, member in value.items()}
        return value

    def _text(self, at: Place, text: str, each: Values | None, field: str) -> object:
        parts = _PLACEHOLDER.split(text)  # a literal part, then a form, a name and a literal part for each placeholder
        literals, forms, names = parts[::3], parts[1::3], parts[2::3]
        if not names:
            return text
        values = [self._value(at, form, name, each) for form, name in zip(forms, names, strict=True)]
        if field == "params" and literals == ["", ""]:
            return values[0]
        words = [literal_glob(spelled(value)) if field == "inputs" else spelled(value) for value in values]
        result = guarded(literals, words) if field in ("command", "args") else joined(literals, words)
        kind = FILLED[field]
        if kind and (faults := kind.check(result.replace("{\0", "{"))):
            self.findings += [fault._replace(at=at, what=f"{self._origin}{fault.what}") for fault in faults]
            return text
        return result

    def _value(self, at: Place, form: str, name: str, each: Values | None) -> object:
        values = self.variables if form == "vars" else each
        if form == "vars":
            self.used.add(name)
        if values and name in values:
            return values[name]
        written = f"{{{form}.{name}}}"
        if values is None:
            return UNKNOWN if form == "each" else written
        declared = 'declare it in "vars"' if form == "vars" else 'give the stage an "each" that has it'
        what, hint = f"{written}: no value named {show(name)}", did_you_mean(name, values) or declared
        self.findings.append(Finding(at, what, hint))
        return written


def chosen_vars(declared: Values, given: Mapping[str, Var]) -> Values:
    """Return the vars of a spec with those that were `given`, which must be of the same type. Raises UsageError."""
    chosen, faults = dict(declared), []
    for name, (where, value, is_typed) in given.items():
        old = declared.get(name)
        if old is None:
            hint = did_you_mean(name, declared) or 'declare it in "vars"'
            faults.append(Fault(where, "the spec declares no such var", hint))
            continue
        kind = PROSE if isinstance(old, str) else BOOLEAN if isinstance(old, bool) else number(-inf, inf)
        chosen[name] = value
        if is_typed and kind is not PROSE:
            with suppress(SpecError):  # text that is not JSON is refused below
                chosen[name], _ = parse_source("", str(value).encode("utf-8", "surrogateescape"))
        refused = kind.check(chosen[name])
        faults += (Fault(where, what, hint or f"the spec has {spelled(old)}") for _, what, hint in refused)
    if faults:
        raise UsageError(*faults)
    return chosen
