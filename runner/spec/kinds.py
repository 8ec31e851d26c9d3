"""Kinds of JSON values. Each kind checks the value of a field, and describes it as JSON Schema.

Every run checks the whole spec, so checks of valid values build no objects, and slow imports wait until there is a
fault. Each level of a value puts its own key or index in front of the findings of its members.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

Place = tuple[str | int, ...]  # keys and indices, from the outside to the inside
DEEPEST = 64
_MANY = 12  # choices: from here on a message does not list them
_SECOND_WORD = re.compile("(?<=[a-z])([A-Z])(?=[a-z])")  # memoryMiB has two words
_NOUNS: dict[type, str] = {list: "an array", dict: "an object"}
_LONGEST = 60  # characters of a value in a message
_LISTED = 8  # names in a hint
_NEAR = 0.65  # similarity (0 to 1) from which a name is worth a hint
_OTHER_NAMES = {"deps": "inputs", "cmd": "command"}  # what other tools call fields, if no similarity finds them


class Spelled(float):
    """A number that prints as the JSON spells it: `12.50`, `1e5`."""

    def __init__(self, literal: str) -> None:
        self._literal = literal

    def __str__(self) -> str:
        return self._literal


class Finding(NamedTuple):
    """A fault of a spec: the keys and indices that lead to it, the fact, and a hint (may be empty)."""

    at: Place
    what: str
    hint: str = ""


def below(step: str | int, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of a member as those of the value that holds it."""
    return [Finding((step, *at), what, hint) for at, what, hint in findings]


def show(value: object) -> str:
    """Return a value for a message: `an array`, or a scalar as JSON, cut to a length, with escapes if unprintable."""
    from json import dumps

    if isinstance(value, int) and abs(value) >= 10**_LONGEST:
        return "a very large number"
    if isinstance(value, str):
        value = value if len(value) <= _LONGEST else value[:_LONGEST] + "..."
        return dumps(value, ensure_ascii=not value.isprintable())
    if value is None or isinstance(value, (int, float)):
        return dumps(value)
    return _NOUNS.get(type(value), "something else")


def pointer(path: str, at: Sequence[str | int]) -> str:
    """Return `path#/json/pointer`, or `path` alone for the whole value; unprintable characters are escaped."""
    tokens = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in at)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in tokens)
    return f"{path}#{shown}" if shown else path


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """Return the hint with the most similar known name, or with all of them if they are few. It may be empty.

    Names that differ only by case, `_` and `-` come first: `retry_exit_codes` is `retryExitCodes`. The hint keeps the
    order of `known`.
    """
    from difflib import get_close_matches

    candidates = [candidate for candidate in known if isinstance(candidate, str) and candidate.isprintable()]
    plain = {_plain(candidate): candidate for candidate in reversed(candidates)}  # of equal ones, the first counts
    if near := get_close_matches(_plain(name), plain, 1, _NEAR):
        return f"did you mean {show(plain[near[0]])}?"
    return "known: " + ", ".join(candidates) if 0 < len(candidates) <= _LISTED else ""


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


class Kind(NamedTuple):
    """What a value may be: its `noun` in messages ("a string"), its Python `types` (empty: any), and its JSON Schema.

    `faults` returns the findings of a value of these types. `hint` returns what to write instead of a value of another
    type. A record has `fields`, their `defaults`, and `names`: name in Python -> field.
    """

    noun: str
    types: tuple[type, ...]
    schema: Mapping[str, object]
    faults: Callable[[Any], Sequence[Finding]]
    hint: Callable[[object], str] = lambda _: ""
    fields: Mapping[str, Field] = {}
    defaults: Mapping[str, Any] = {}
    names: Mapping[str, str] = {}

    def check(self, value: object) -> Sequence[Finding]:
        """Return the findings of a value."""
        if type(value) in self.types or not self.types:  # a boolean is not a number
            return self.faults(value)
        return [Finding((), f"must be {self.noun}, not {show(value)}", self.hint(value))]

    def values(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return each field of a record by its name in Python, with its default if it is not given; lists as tuples."""
        given = {**self.defaults, **given}
        return {
            name: tuple(value) if type(value := given.get(field)) is list else value
            for name, field in self.names.items()
        }


class Field(NamedTuple):
    """A known key of a record: its kind, a line for the reference, and its default (None: no value)."""

    kind: Kind
    meaning: str
    default: object = None
    required: bool = False


def _too_deep(value: object) -> Sequence[Finding]:
    """Return the finding of a value with more than `DEEPEST` levels: encoders recurse."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(DEEPEST + 1):
        if not level:
            return ()
        inner = (child for outer in level for child in (outer.values() if isinstance(outer, dict) else outer))
        level = [child for child in inner if isinstance(child, (dict, list))]
    return [Finding((), f"is nested more than {DEEPEST} levels deep")]


ANYTHING = Kind("a value", (), {}, _too_deep)
BOOLEAN = Kind("true or false", (bool,), {"type": "boolean"}, lambda _: ())
SCALAR = Kind("a string or a number", (str, int, float, Spelled), {"type": ["string", "number"]}, lambda _: ())


def number(least: float, most: float, *, whole: bool = False, above: bool = False, unit: str = "") -> Kind:
    """A number in a range. `whole` refuses 3.0, `above` excludes the minimum itself, `unit` follows the maximum."""

    def faults(value: float) -> Sequence[Finding]:
        if least <= value <= most and not (above and value == least):
            return ()
        lower = f"{'more than' if above else 'at least'} {least:g}"
        return [Finding((), f"{show(value)} is out of range", f"{lower}, at most {most:,}{unit}")]

    def hint(value: object) -> str:
        return f"write {value:.0f}" if isinstance(value, float) and value % 1 == 0 else ""

    bounds = {"exclusiveMinimum" if above else "minimum": least, "maximum": most}
    if whole:
        return Kind("a whole number", (int,), {"type": "integer", **bounds}, faults, hint)
    return Kind("a number", (int, float, Spelled), {"type": "number", **bounds}, faults)


def text(pattern: str = "", rule: str = "", *, forbidden: str = "", empty: bool = False, longest: int = 0) -> Kind:
    """A string: not empty unless `empty`, matching `pattern` whole, without a `forbidden` character.

    `rule` is the pattern in words. `longest` counts characters; 0 means no limit.
    """
    matches, forbids = re.compile(pattern).fullmatch, re.compile(forbidden).search

    def faults(value: str) -> Sequence[Finding]:
        if not value and not empty:
            return [Finding((), "is empty")]
        if longest and len(value) > longest:
            return [Finding((), f"is {len(value):,} characters long", f"at most {longest:,}")]
        if pattern and not matches(value):
            return [Finding((), f"{show(value)} is not allowed", rule)]
        if forbidden and forbids(value):
            return [Finding((), f"{show(value)} holds a control character")]
        return ()

    def hint(value: object) -> str:
        return f'write "{show(value)}"' if isinstance(value, (int, float)) else ""

    schema: dict[str, object] = {"type": "string"}
    if pattern:
        schema["pattern"] = f"^{pattern}$"
    elif not empty:
        schema["minLength"] = 1
    if longest:
        schema["maxLength"] = longest
    if forbidden:
        schema["not"] = {"pattern": forbidden}
    return Kind("a string", (str,), schema, faults, hint)


def choice(*values: str | int) -> Kind:
    """One of a few values of the same type."""
    shown = ", ".join(map(show, values))
    noun = "a known name" if len(values) > _MANY else f"one of {shown}" if len(values) > 1 else shown

    def faults(value: str | int) -> Sequence[Finding]:
        if value in values:
            return ()
        nearest = did_you_mean(value, values) if isinstance(value, str) else ""
        return [Finding((), f"must be {noun}, not {show(value)}", nearest)]

    def hint(value: object) -> str:
        return next((f"write {show(known)}" for known in values if str(known) == str(value).removesuffix(".0")), "")

    schema: Mapping[str, object] = {"const": values[0]} if len(values) == 1 else {"enum": list(values)}
    return Kind(noun, (type(values[0]),), schema, faults, hint)


def list_of(member: Kind, *, least: int = 0) -> Kind:
    """An array whose members are all of one kind."""

    def faults(value: list[object]) -> Sequence[Finding]:
        if len(value) < least:
            return [Finding((), "is empty")]
        findings: list[Finding] = []
        for index, item in enumerate(value):
            if refused := member.check(item):
                findings += below(index, refused)
        return findings

    schema = {"type": "array", "items": member.schema, **({"minItems": least} if least else {})}
    return Kind("an array", (list,), schema, faults)


def map_of(key: Kind, member: Kind, *, least: int = 0) -> Kind:
    """An object whose keys all match `key`, and whose values are all of one kind."""

    def faults(value: dict[str, object]) -> Sequence[Finding]:
        if len(value) < least:
            return [Finding((), "is empty")]
        findings: list[Finding] = []
        for name, item in value.items():
            if refused := key.check(name):
                findings += [Finding((name,), f"the name {fault.what}", fault.hint) for fault in refused]
            elif refused := member.check(item):
                findings += below(name, refused)
        return findings

    names = {"propertyNames": key.schema} if key.schema != {"type": "string"} else {}
    more = {"minProperties": least} if least else {}
    schema = {"type": "object", "additionalProperties": member.schema, **names, **more}
    return Kind("an object", (dict,), schema, faults)


def one_of(*kinds: Kind) -> Kind:
    """A value of one of several kinds. Their JSON types differ."""
    checks = {json_type: kind.faults for kind in kinds for json_type in kind.types}

    def faults(value: object) -> Sequence[Finding]:
        findings = checks[type(value)](value)
        if findings and isinstance(value, str) and value.isdecimal() and int in checks:
            return [fault._replace(hint="a number has no quotes") for fault in findings]
        return findings

    noun = " or ".join(kind.noun for kind in kinds)
    return Kind(noun, tuple(checks), {"anyOf": [kind.schema for kind in kinds]}, faults)


def record(**fields: Field) -> Kind:
    """An object with known keys. Keys that begin with `x-` may hold anything."""
    checks = {name: field.kind.check for name, field in fields.items()}
    required = [name for name, field in fields.items() if field.required]
    check_own = ANYTHING.check

    def faults(value: dict[str, object]) -> Sequence[Finding]:
        findings: list[Finding] = []
        for key, member in value.items():
            check = checks.get(key, check_own)
            if refused := check(member):
                findings += below(key, refused)
            if check is check_own and not key.startswith("x-"):
                nearest = did_you_mean(_OTHER_NAMES.get(key, key), fields) or 'keys of your own begin with "x-"'
                findings.append(Finding((key,), f"no field is called {show(key)}", nearest))
        findings += [Finding((), f'"{name}" is missing') for name in required if name not in value]
        return findings

    schema = {
        "type": "object",
        "properties": {name: _property(field) for name, field in fields.items()},
        "patternProperties": {"^x-": {}},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }
    names = {_SECOND_WORD.sub(r"_\1", name).lower(): name for name in fields}
    defaults = {name: field.default for name, field in fields.items() if field.default is not None}
    return Kind("an object", (dict,), schema, faults, fields=fields, defaults=defaults, names=names)


def _property(field: Field) -> Mapping[str, object]:
    default = {} if field.default is None else {"default": field.default}
    return {"description": field.meaning, **field.kind.schema, **default}
