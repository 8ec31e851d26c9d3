"""Kinds of JSON values: what a field may hold. Each kind checks a value and describes itself as JSON Schema.

Every run walks the whole spec, so a check builds nothing while all is well. A finding holds the keys and indices that
lead to its value; each level puts its own in front. Slow imports wait until there is a fault.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


class Kind:
    """What a value may be: by its `noun` in messages ("a string"), the `types` that JSON gives it, and JSON Schema."""

    noun = "a value"
    types: tuple[type, ...] = ()
    schema: Mapping[str, object] = {}

    def check(self, value: object) -> Sequence[Finding]:
        """Return what is wrong with a value."""
        if type(value) in self.types:  # a boolean is no number
            return self.faults(value)
        return [Finding((), f"must be {self.noun}, not {noun_of(value)}", self.hint(value))]

    def faults(self, value: Any) -> Sequence[Finding]:  # noqa: ANN401, ARG002 - each kind has its own types
        """Return what is wrong with a value of the right type."""
        return ()

    def hint(self, value: object) -> str:  # noqa: ARG002 - some kinds use it
        """Return what to write instead of a value of another type."""
        return ""


class Anything(Kind):
    """Whatever the user likes, in at most `DEEPEST` levels, since encoders recurse."""

    def check(self, value: object) -> Sequence[Finding]:
        level = [value] if isinstance(value, (dict, list)) else []
        for _ in range(DEEPEST + 1):
            if not level:
                return ()
            inner = (child for outer in level for child in (outer.values() if isinstance(outer, dict) else outer))
            level = [child for child in inner if isinstance(child, (dict, list))]
        return [Finding((), f"is nested more than {DEEPEST} levels deep")]


class Boolean(Kind):
    """True or false."""

    noun = "true or false"
    types = (bool,)
    schema: Mapping[str, object] = {"type": "boolean"}


class Number(Kind):
    """A number in a range; `whole` takes no 3.0, `above` excludes the minimum itself, `unit` follows the maximum."""

    def __init__(self, least: float, most: float, *, whole: bool = False, above: bool = False, unit: str = "") -> None:
        self.least, self.most = least, most
        self.above = above
        self.unit = unit
        self.noun = "a whole number" if whole else "a number"
        self.types = (int,) if whole else (int, float)
        bound = "exclusiveMinimum" if above else "minimum"
        self.schema = {"type": "integer" if whole else "number", bound: least, "maximum": most}

    def faults(self, value: float) -> Sequence[Finding]:
        if self.least <= value <= self.most and not (self.above and value == self.least):
            return ()
        lower = f"more than {self.least:g}" if self.above else f"at least {self.least:g}"
        return [Finding((), f"{show(value)} is out of range", f"{lower}, at most {self.most:,}{self.unit}")]

    def hint(self, value: object) -> str:
        return f"write {value:.0f}" if isinstance(value, float) and value % 1 == 0 else ""


class Text(Kind):
    """A string: not empty unless `empty`, matching `pattern` whole, without a `forbidden` character.

    `rule` says in words what the pattern asks; `longest` counts characters, 0 is no limit.
    """

    noun = "a string"
    types = (str,)

    def __init__(
        self, pattern: str = "", rule: str = "", *, forbidden: str = "", empty: bool = False, longest: int = 0
    ) -> None:
        self.rule = rule
        self.empty = empty
        self.longest = longest
        self._matches = re.compile(pattern).fullmatch if pattern else None
        self._forbids = re.compile(forbidden).search if forbidden else None
        schema: dict[str, object] = {"type": "string"}
        if pattern:
            schema["pattern"] = f"^{pattern}$"
        elif not empty:
            schema["minLength"] = 1
        if longest:
            schema["maxLength"] = longest
        if forbidden:
            schema["not"] = {"pattern": forbidden}
        self.schema = schema

    def faults(self, value: str) -> Sequence[Finding]:
        if not value and not self.empty:
            return [Finding((), "is empty")]
        if self.longest and len(value) > self.longest:
            return [Finding((), f"is {len(value):,} characters long", f"at most {self.longest:,}")]
        if self._matches and not self._matches(value):
            return [Finding((), f"{show(value)} is not allowed", self.rule)]
        if self._forbids and self._forbids(value):
            return [Finding((), f"{show(value)} holds a control character")]
        return ()

    def hint(self, value: object) -> str:
        return f'write "{show(value)}"' if isinstance(value, (int, float)) else ""


class Choice(Kind):
    """One of a few values of the same type."""

    def __init__(self, *values: str | int) -> None:
        self.values = values
        self.types = (type(values[0]),)
        self.schema = {"const": values[0]} if len(values) == 1 else {"enum": list(values)}
        shown = ", ".join(map(show, values))
        self.noun = "a known name" if len(values) > _MANY else f"one of {shown}" if len(values) > 1 else shown

    def faults(self, value: str | int) -> Sequence[Finding]:
        if value in self.values:
            return ()
        hint = did_you_mean(value, self.values) if isinstance(value, str) else ""
        return [Finding((), f"must be {self.noun}, not {show(value)}", hint)]

    def hint(self, value: object) -> str:
        hints = (f"write {show(known)}" for known in self.values if str(known) == str(value).removesuffix(".0"))
        return next(hints, "")


class ListOf(Kind):
    """An array whose members are all of one kind."""

    noun = "an array"
    types = (list,)

    def __init__(self, member: Kind, *, least: int = 0) -> None:
        self.member = member
        self.least = least
        self.schema = {"type": "array", "items": member.schema, **({"minItems": least} if least else {})}

    def faults(self, value: list[object]) -> Sequence[Finding]:
        if len(value) < self.least:
            return [Finding((), "is empty")]
        findings: list[Finding] = []
        for index, member in enumerate(value):
            if faults := self.member.check(member):
                findings += below(index, faults)
        return findings


class MapOf(Kind):
    """An object whose keys are the user's, each matching `key`, and whose values are all of one kind."""

    noun = "an object"
    types = (dict,)

    def __init__(self, key: Text, value: Kind, *, least: int = 0) -> None:
        self.key = key
        self.value = value
        self.least = least
        names = {"propertyNames": key.schema} if key.schema != {"type": "string"} else {}
        more = {"minProperties": least} if least else {}
        self.schema = {"type": "object", "additionalProperties": value.schema, **names, **more}

    def faults(self, value: dict[str, object]) -> Sequence[Finding]:
        if len(value) < self.least:
            return [Finding((), "is empty")]
        findings: list[Finding] = []
        for key, member in value.items():
            if faults := self.key.check(key):
                findings += [Finding((key,), f"the name {fault.what}", fault.hint) for fault in faults]
            elif faults := self.value.check(member):
                findings += below(key, faults)
        return findings


class OneOf(Kind):
    """A value of one of several kinds, which differ in their JSON type."""

    def __init__(self, *kinds: Kind) -> None:
        self.noun = " or ".join(kind.noun for kind in kinds)
        self.schema = {"anyOf": [kind.schema for kind in kinds]}
        self._checks = {kind_type: kind.faults for kind in kinds for kind_type in kind.types}
        self.types = tuple(self._checks)

    def faults(self, value: object) -> Sequence[Finding]:
        findings = self._checks[type(value)](value)
        if findings and isinstance(value, str) and value.isdecimal() and int in self.types:
            return [fault._replace(hint="a number has no quotes") for fault in findings]
        return findings


class Field(NamedTuple):
    """One known key of a record: what it takes, a line for the reference, and what holds without it (None: nothing)."""

    kind: Kind
    meaning: str
    default: object = None
    required: bool = False


class Record(Kind):
    """An object with known keys; `x-` keys are the user's. `names`: the name of a field in Python -> in the spec."""

    noun = "an object"
    types = (dict,)

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = dict(fields)
        self.names = {_SECOND_WORD.sub(r"_\1", name).lower(): name for name in fields}
        self.defaults = {name: field.default for name, field in fields.items() if field.default is not None}
        self._checks = {name: field.kind.check for name, field in fields.items()}
        self._required = [name for name, field in fields.items() if field.required]
        self.schema = {
            "type": "object",
            "properties": {name: _property(field) for name, field in fields.items()},
            "patternProperties": {"^x-": {}},
            **({"required": self._required} if self._required else {}),
            "additionalProperties": False,
        }

    def faults(self, value: dict[str, object]) -> Sequence[Finding]:
        findings: list[Finding] = []
        checks = self._checks
        for key, member in value.items():
            check = checks.get(key)
            if check is None:
                findings += self._unknown(key, member)
            elif faults := check(member):
                findings += below(key, faults)
        findings += [Finding((), f'"{name}" is missing') for name in self._required if name not in value]
        return findings

    def values(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return each field by its name in Python, with its default where it is not given."""
        return {name: given.get(field, self.defaults.get(field)) for name, field in self.names.items()}

    def _unknown(self, key: str, value: object) -> Sequence[Finding]:
        if key.startswith("x-"):
            return below(key, Anything().check(value))
        hint = did_you_mean(key, self.fields) or 'keys of your own begin with "x-"'
        return [Finding((key,), f"no field is called {show(key)}", hint)]


def _property(field: Field) -> Mapping[str, object]:
    default = {} if field.default is None else {"default": field.default}
    return {"description": field.meaning, **field.kind.schema, **default}
