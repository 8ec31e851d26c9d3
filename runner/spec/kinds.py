"""Kinds of JSON values: what a field may hold. Each kind checks a value and describes itself as JSON Schema.

Every run walks the whole spec, so a check builds nothing while all is well. A finding holds the keys and indices that
lead to its value; each level puts its own in front. Slow imports wait until there is a fault.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

DEEPEST = 64
_MANY = 12
_SECOND_WORD = re.compile("(?<=[a-z])([A-Z])(?=[a-z])")  # memoryMiB has two words
_NOUNS = {str: "a string", int: "a number", float: "a number", list: "an array", dict: "an object"}
_LONGEST = 60
_LISTED = 8


class Finding(NamedTuple):
    """A fault of a spec: the keys and indices that lead to it, the fact, and what to do about it."""

    at: tuple[str | int, ...]
    what: str
    hint: str = ""


def below(step: str | int, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of a member as those of the value that holds it."""
    return [Finding((step, *at), what, hint) for at, what, hint in findings]


def noun_of(value: object) -> str:
    """Return what a JSON value is: `a string ("x")`, `an array`, `null`, `true`."""
    if value is None or isinstance(value, bool):
        return show(value)
    noun = next((noun for kind, noun in _NOUNS.items() if isinstance(value, kind)), "something else")
    return f"{noun} ({show(value)})" if isinstance(value, (str, int, float)) else noun


def show(value: object) -> str:
    """Return a scalar as JSON, cut to a length that fits in a message; everything unusual in it is escaped."""
    from json import dumps

    if isinstance(value, int) and abs(value) >= 10**_LONGEST:
        return "a very large number"
    if isinstance(value, str):
        value = value if len(value) <= _LONGEST else value[:_LONGEST] + "..."
        return dumps(value, ensure_ascii=not value.isprintable())
    return dumps(value) if value is None or isinstance(value, (bool, int, float)) else noun_of(value)


def pointer(path: str, at: Sequence[str | int]) -> str:
    """Return `path#/json/pointer`, or `path` alone for the whole value; unprintable characters are escaped."""
    tokens = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in at)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in tokens)
    return f"{path}#{shown}" if shown else path


def did_you_mean(name: str, known: Iterable[object]) -> str:
    """Return the hint that names the nearest known name, or all of them when they are few; may be empty.

    Spellings that differ by case, `_` and `-` only come first: `retry_exit_codes` is `retryExitCodes`. The order of
    `known` shows, so it must be the same every time.
    """
    from difflib import get_close_matches

    candidates = [candidate for candidate in known if isinstance(candidate, str) and candidate.isprintable()]
    plain = _plain(name)
    near = [candidate for candidate in candidates if _plain(candidate) == plain]
    near = near or get_close_matches(name, candidates, 1) or get_close_matches(plain, candidates, 1)
    if near:
        return f"did you mean {show(near[0])}?"
    return "known: " + ", ".join(candidates) if 0 < len(candidates) <= _LISTED else ""


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


class Kind(NamedTuple):
    """What a value may be: its `noun` in messages ("a string"), the `types` that JSON gives it, and JSON Schema.

    No types are all of them. `faults` says what is wrong with a value of these types, `hint` what to write for another.
    A record has `fields`, their `defaults`, and in `names` the name of each in Python.
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
        """Return what is wrong with a value."""
        if type(value) in self.types or not self.types:  # a boolean is no number
            return self.faults(value)
        return [Finding((), f"must be {self.noun}, not {noun_of(value)}", self.hint(value))]

    def values(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return each field of a record by its name in Python, with its default where it is not given."""
        return {name: given.get(field, self.defaults.get(field)) for name, field in self.names.items()}


class Field(NamedTuple):
    """One known key of a record: what it takes, a line for the reference, and what holds without it (None: nothing)."""

    kind: Kind
    meaning: str
    default: object = None
    required: bool = False


def anything() -> Kind:
    """Whatever the user likes, in at most `DEEPEST` levels, since encoders recurse."""

    def faults(value: object) -> Sequence[Finding]:
        level = [value] if isinstance(value, (dict, list)) else []
        for _ in range(DEEPEST + 1):
            if not level:
                return ()
            inner = (child for outer in level for child in (outer.values() if isinstance(outer, dict) else outer))
            level = [child for child in inner if isinstance(child, (dict, list))]
        return [Finding((), f"is nested more than {DEEPEST} levels deep")]

    return Kind("a value", (), {}, faults)


def boolean() -> Kind:
    """True or false."""
    return Kind("true or false", (bool,), {"type": "boolean"}, lambda _: ())


def number(least: float, most: float, *, whole: bool = False, above: bool = False, unit: str = "") -> Kind:
    """A number in a range; `whole` takes no 3.0, `above` excludes the minimum itself, `unit` follows the maximum."""

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
    return Kind("a number", (int, float), {"type": "number", **bounds}, faults)


def text(pattern: str = "", rule: str = "", *, forbidden: str = "", empty: bool = False, longest: int = 0) -> Kind:
    """A string: not empty unless `empty`, matching `pattern` whole, without a `forbidden` character.

    `rule` says in words what the pattern asks; `longest` counts characters, 0 is no limit.
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
            if found := member.check(item):
                findings += below(index, found)
        return findings

    schema = {"type": "array", "items": member.schema, **({"minItems": least} if least else {})}
    return Kind("an array", (list,), schema, faults)


def map_of(key: Kind, member: Kind, *, least: int = 0) -> Kind:
    """An object whose keys are the user's, each matching `key`, and whose values are all of one kind."""

    def faults(value: dict[str, object]) -> Sequence[Finding]:
        if len(value) < least:
            return [Finding((), "is empty")]
        findings: list[Finding] = []
        for name, item in value.items():
            if found := key.check(name):
                findings += [Finding((name,), f"the name {fault.what}", fault.hint) for fault in found]
            elif found := member.check(item):
                findings += below(name, found)
        return findings

    names = {"propertyNames": key.schema} if key.schema != {"type": "string"} else {}
    more = {"minProperties": least} if least else {}
    schema = {"type": "object", "additionalProperties": member.schema, **names, **more}
    return Kind("an object", (dict,), schema, faults)


def one_of(*kinds: Kind) -> Kind:
    """A value of one of several kinds, which differ in their JSON type."""
    checks = {json_type: kind.faults for kind in kinds for json_type in kind.types}

    def faults(value: object) -> Sequence[Finding]:
        findings = checks[type(value)](value)
        if findings and isinstance(value, str) and value.isdecimal() and int in checks:
            return [fault._replace(hint="a number has no quotes") for fault in findings]
        return findings

    noun = " or ".join(kind.noun for kind in kinds)
    return Kind(noun, tuple(checks), {"anyOf": [kind.schema for kind in kinds]}, faults)


def record(**fields: Field) -> Kind:
    """An object with known keys; `x-` keys are the user's."""
    checks = {name: field.kind.check for name, field in fields.items()}
    required = [name for name, field in fields.items() if field.required]
    check_own = anything().check

    def faults(value: dict[str, object]) -> Sequence[Finding]:
        findings: list[Finding] = []
        for key, member in value.items():
            check = checks.get(key, check_own)
            if found := check(member):
                findings += below(key, found)
            if check is check_own and not key.startswith("x-"):
                nearest = did_you_mean(key, fields) or 'keys of your own begin with "x-"'
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
