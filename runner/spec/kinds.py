"""Kinds of JSON values: what a field takes. Each one checks a value and describes itself as JSON Schema.

A check builds nothing while all is well, because a spec is walked on every run; findings carry the way to the value
as keys and indices, and each level puts its own in front.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runner.spec.words import did_you_mean, noun_of, show
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

DEEPEST = 64
_MANY = 12


class Finding(Value):
    """One thing wrong: the keys and indices that lead to it, the fact, and what to do about it."""

    at: tuple[str | int, ...]
    what: str
    hint: str = ""

    def below(self, step: str | int) -> Finding:
        return Finding((step, *self.at), self.what, self.hint)


class Kind:
    """What a value may be. `noun` names it in messages ("a string")."""

    noun = "a value"

    def takes(self, value: object) -> bool:
        """Whether the value is of the right JSON type, whatever its content."""
        raise NotImplementedError

    def check(self, value: object) -> Sequence[Finding]:
        raise NotImplementedError

    def schema(self) -> dict[str, object]:
        raise NotImplementedError

    def wrong_type(self, value: object) -> list[Finding]:
        return [Finding((), f"must be {self.noun}, not {noun_of(value)}")]


class Anything(Kind):
    """Whatever the user likes, in at most `DEEPEST` levels, since encoders recurse."""

    def takes(self, value: object) -> bool:  # noqa: ARG002 - any value will do
        return True

    def check(self, value: object) -> Sequence[Finding]:
        level = [value] if isinstance(value, (dict, list)) else []
        for _ in range(DEEPEST + 1):
            if not level:
                return ()
            inner = (child for outer in level for child in (outer.values() if isinstance(outer, dict) else outer))
            level = [child for child in inner if isinstance(child, (dict, list))]
        return [Finding((), f"is nested more than {DEEPEST} levels deep")]

    def schema(self) -> dict[str, object]:
        return {}


class Boolean(Kind):
    """True or false."""

    noun = "true or false"

    def takes(self, value: object) -> bool:
        return value is True or value is False

    def check(self, value: object) -> Sequence[Finding]:
        return () if value is True or value is False else self.wrong_type(value)

    def schema(self) -> dict[str, object]:
        return {"type": "boolean"}


class Number(Kind):
    """A number in a range; `whole` takes no 3.0, `above` excludes the minimum itself, `unit` follows the maximum."""

    def __init__(self, least: float, most: float, *, whole: bool = False, above: bool = False, unit: str = "") -> None:
        self.least = least
        self.most = most
        self.above = above
        self.unit = unit
        self.whole = whole
        self.noun = "a whole number" if whole else "a number"

    def takes(self, value: object) -> bool:
        return value.__class__ is int or (value.__class__ is float and not self.whole)

    def check(self, value: object) -> Sequence[Finding]:
        if not self.takes(value):
            hint = f"write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
            return [finding.replace(hint=hint) for finding in self.wrong_type(value)]
        assert isinstance(value, (int, float))
        if self.least <= value <= self.most and not (self.above and value == self.least):
            return ()
        lower = f"more than {self.least:g}" if self.above else f"at least {self.least:g}"
        return [Finding((), f"{show(value)} is out of range", f"{lower}, at most {self.most:,}{self.unit}")]

    def schema(self) -> dict[str, object]:
        bound = "exclusiveMinimum" if self.above else "minimum"
        return {"type": "integer" if self.whole else "number", bound: self.least, "maximum": self.most}


class Text(Kind):
    """A string: not empty unless `empty`, matching `pattern` whole, without a `forbidden` character.

    `rule` says in words what the pattern asks; `longest` counts characters, 0 is no limit.
    """

    noun = "a string"

    def __init__(
        self, pattern: str = "", rule: str = "", *, forbidden: str = "", empty: bool = False, longest: int = 0
    ) -> None:
        self.pattern = pattern
        self.rule = rule
        self.forbidden = forbidden
        self.empty = empty
        self.longest = longest
        self._matches = re.compile(pattern).fullmatch if pattern else None
        self._forbids = re.compile(forbidden).search if forbidden else None

    def takes(self, value: object) -> bool:
        return isinstance(value, str)

    def check(self, value: object) -> Sequence[Finding]:
        if not isinstance(value, str):
            hint = f'write "{show(value)}"' if isinstance(value, (int, float)) else ""
            return [finding.replace(hint=hint) for finding in self.wrong_type(value)]
        if not value and not self.empty:
            return [Finding((), "is empty")]
        if self.longest and len(value) > self.longest:
            return [Finding((), f"is {len(value):,} characters long", f"at most {self.longest:,}")]
        if self._matches and not self._matches(value):
            return [Finding((), f"{show(value)} is not allowed", self.rule)]
        if self._forbids and self._forbids(value):
            return [Finding((), f"{show(value)} holds a control character")]
        return ()

    def schema(self) -> dict[str, object]:
        found: dict[str, object] = {"type": "string"}
        if self.pattern:
            found["pattern"] = f"^{self.pattern}$"
        elif not self.empty:
            found["minLength"] = 1
        if self.longest:
            found["maxLength"] = self.longest
        if self.forbidden:
            found["not"] = {"pattern": self.forbidden}
        return found


class Choice(Kind):
    """One of a few values of the same type."""

    def __init__(self, *values: str | int) -> None:
        self.values = values
        shown = ", ".join(map(show, values))
        self.noun = "a known name" if len(values) > _MANY else f"one of {shown}" if len(values) > 1 else shown

    def takes(self, value: object) -> bool:
        return value.__class__ is self.values[0].__class__

    def check(self, value: object) -> Sequence[Finding]:
        if not self.takes(value):
            hint = next((f"write {show(one)}" for one in self.values if str(one) == str(value).removesuffix(".0")), "")
            return [finding.replace(hint=hint) for finding in self.wrong_type(value)]
        if value in self.values:
            return ()
        hint = did_you_mean(value, self.values) if isinstance(value, str) else ""
        return [Finding((), f"must be {self.noun}, not {show(value)}", hint)]

    def schema(self) -> dict[str, object]:
        return {"const": self.values[0]} if len(self.values) == 1 else {"enum": list(self.values)}
