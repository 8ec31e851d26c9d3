"""The values of vars and `each`, and how they get into the stages as written.

`{each.NAME}` and `{vars.NAME}` may stand in paths, commands, arguments, variables, strings of params, and prose. A
value is inserted once and literally: its braces make no placeholder, and in the path of an input its `*`, `?` and `[`
match only themselves. A list of a var becomes a tuple where it stands for words or paths: the builder of stages puts
these in the place of the one. So does the path of an optional input whose values are all empty: it is no path.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.errors import Fault, SpecError, UsageError
from runner.spec.fields import PATH, PROSE, WORD, WORDS
from runner.spec.kinds import BOOLEAN, Finding, Kind, Place, did_you_mean, number, show
from runner.spec.placeholders import REFERENCE, guarded, joined
from runner.spec.source import parse_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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
    "seenAs": PATH,
    "env": WORD,
    "tools": PATH,
    "params": None,
    "results": PROSE,
    "description": PROSE,
}


class Unknown(str):
    """Stands for a value that is not known: in an input, any text, and not the character."""

    __slots__ = ()


UNKNOWN: str = Unknown("*")
_COMMANDS = {"args", "command", "programVersion"}  # fields of words with placeholders of their own
_LISTED = {"args", "command", "inputs"}  # fields in which a list becomes words or paths
_NO_PATH = "an optional path is left out only if all its placeholders are empty: put the whole path in one value"
_ALONE = 'it can be a whole word, a path of an input, a param, or the values of a name in "each"'


def spelled(value: object) -> str:
    """Return a value as text: a string as it is, a number as the JSON spells it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def literal_glob(text: str) -> str:
    """Return a glob that matches only the text itself."""
    return text if text.isalnum() else _WILDCARD.sub(r"[\1]", text)  # nearly every value is


def _of_input(value: object) -> str:
    """Return the text of a value in the path of an input, which may be a glob."""
    return spelled(value) if isinstance(value, Unknown) else literal_glob(spelled(value))


def references(value: object, form: str) -> list[str]:
    """Return the NAME of each placeholder `{FORM.NAME}` in the strings of a JSON value."""
    return [name for other, name in _PLACEHOLDER.findall(str(value)) if other == form]


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the literal parts of a text, and the (form, name) of the placeholders between them."""
    parts = _PLACEHOLDER.split(text)
    return parts[::3], [*zip(parts[1::3], parts[2::3], strict=True)]


class Reference(NamedTuple):
    """An output of another stage in the place of a path, and the rest of the path if it begins one."""

    stage: str
    label: str
    rest: str

    def __str__(self) -> str:
        """Return the reference as written."""
        return f"{{outputs.{self.stage}.{self.label}}}"


class Var(NamedTuple):
    """The value of a var for one run, and its place for messages. `is_typed`: it is text from the command line."""

    where: str
    value: object
    is_typed: bool = False


class Inserter:
    """Inserts the values of vars and `each` into stages. `variables` are the vars, or None if they were refused.

    Collects `findings`, and the names of the vars that were `used`. In stages `without_instances`, by their position in
    the spec, what the values make need not be valid.
    """

    def __init__(self, variables: Values | None) -> None:
        self.findings: list[Finding] = []
        self.used: set[str] = set()
        self.without_instances: set[str | int] = set()
        self._origin = ""
        self._optional: frozenset[Any] = frozenset()  # the inputs of the stage that may be empty
        self.variables = variables

    def fill(
        self, at: Place, stage: Json, each: Values | None, origin: str = "", fields: Iterable[str] = FILLED
    ) -> dict[str, Any]:
        """Return a stage with values in its `fields`. If those of `each` are None, they are UNKNOWN.

        Findings about values begin with their `origin`: the row and the instance.
        """
        self._origin, self._optional = origin, frozenset(stage.get("optional", ()))
        filled = {field: self.insert((*at, field), stage[field], each, field) for field in fields if field in stage}
        return {**stage, **filled}

    def insert(self, at: Place, value: Any, each: Values | None, field: str) -> Any:  # noqa: ANN401 - JSON
        """Return a JSON value of a field with values in its strings, at any depth."""
        if isinstance(value, str):
            if "{" not in value:
                return value
            return self._path(at, value, each) if field == "inputs" else self._text(at, value, each, field)
        if isinstance(value, list):
            return [self.insert((*at, index), member, each, field) for index, member in enumerate(value)]
        if isinstance(value, dict):
            return {name: self.insert((*at, name), member, each, field) for name, member in value.items()}
        return value

    def _path(self, at: Place, text: str, each: Values | None) -> object:
        """Return the path of an input, a Reference, or a tuple of paths."""
        match = REFERENCE.match(text)
        if match and match.end() == len(text):  # most often, and for each instance
            return Reference(match[1], match[2], "")
        result = self._text(at, text, each, "inputs")
        if match and isinstance(result, str):
            result = Reference(match[1], match[2], result[match.end() :])
        if "{outputs." in text[match.end() if match else 0 :]:
            hint = "write {outputs.STAGE.LABEL} as the whole path, or at its beginning"
            self.findings.append(Finding(at, f"{show(text)} has no reference that can be resolved", hint))
        return result

    def _text(self, at: Place, text: str, each: Values | None, field: str) -> object:
        literals, placeholders = _parsed(text)
        if not placeholders:
            return text
        values = [self._value(at, form, name, each) for form, name in placeholders]
        if field == "inputs" and self._optional.intersection(at[3:4]):
            if not any(map(spelled, values)):
                return ()
            is_cut = literals[-2].endswith("/") and not (literals[-1] or spelled(values[-1]))
            if is_cut and at[1] not in self.without_instances:
                what = f"{self._origin}{show(text)} is a directory, since its last value is empty"
                self.findings.append(Finding(at, what, _NO_PATH))
        is_whole = literals == ["", ""]
        if lists := [value for value in values if isinstance(value, list)]:
            if is_whole and field in _LISTED:
                return tuple(self._joined(at, text, literals, [value], field) for value in lists[0])
            if not (is_whole and field == "params" and isinstance(at[-1], str)):
                shown = next(name for (_, name), value in zip(placeholders, values, strict=True) if value is lists[0])
                self.findings.append(Finding(at, f"{{vars.{shown}}} is a list", _ALONE))
                return text
        return values[0] if is_whole and field == "params" else self._joined(at, text, literals, values, field)

    def _joined(self, at: Place, text: str, literals: list[str], values: Sequence[object], field: str) -> str:
        """Return literal parts with values between them; the `text` as written if the field cannot hold that."""
        words = [_of_input(value) if field == "inputs" else spelled(value) for value in values]
        result = guarded(literals, words) if field in _COMMANDS else joined(literals, words)
        kind = FILLED.get(field, WORD)
        if kind and (faults := kind.check(result.replace("{\0", "{"))):
            if at[1] not in self.without_instances:
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


def paths_in(paths: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield the paths of inputs or outputs as written."""
    for path in paths.values() if isinstance(paths, dict) else paths:
        yield from [path] if isinstance(path, str) else path


def spliced(members: Sequence[Any]) -> list[tuple[int, Any]]:
    """Return each member with its number. Those of a tuple, which stands for words or paths, have that of the tuple."""
    return [
        (number, each)
        for number, member in enumerate(members)
        for each in (member if type(member) is tuple else (member,))
    ]


def chosen_vars(declared: Values, given: Mapping[str, Var]) -> Values:
    """Return the vars of a spec with those that were `given`, which must be of the same type. Raises UsageError."""
    chosen, faults = dict(declared), []
    for name, (where, value, is_typed) in given.items():
        old = declared.get(name)
        if old is None:
            hint = did_you_mean(name, declared) or 'declare it in "vars"'
            faults.append(Fault(where, "the spec declares no such var", hint))
            continue
        kind = _kind_of(old)
        chosen[name] = value
        if is_typed and kind is not PROSE:
            with suppress(SpecError):  # text that is not JSON is refused below
                chosen[name], _ = parse_source("", str(value).encode("utf-8", "surrogateescape"))
        refused = kind.check(chosen[name])
        shown = 'a list, such as ["-n", 2]' if kind is WORDS else spelled(old)
        faults += (Fault(where, what, hint or f"the spec has {shown}") for _, what, hint in refused)
    if faults:
        raise UsageError(*faults)
    return chosen


def _kind_of(value: object) -> Kind:
    """Return what may stand in place of a var."""
    if isinstance(value, str):
        return PROSE
    return WORDS if isinstance(value, list) else BOOLEAN if isinstance(value, bool) else number(-inf, inf)
