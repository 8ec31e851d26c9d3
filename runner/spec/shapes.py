"""Kinds that hold others: arrays, objects with the user's keys, objects with known keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.spec.kinds import Anything, Finding, Kind, Text
from runner.spec.words import did_you_mean, show
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ListOf(Kind):
    """An array whose members are all of one kind."""

    noun = "an array"

    def __init__(self, member: Kind, *, least: int = 0) -> None:
        self.member = member
        self.least = least

    def takes(self, value: object) -> bool:
        return isinstance(value, list)

    def check(self, value: object) -> Sequence[Finding]:
        if not isinstance(value, list):
            return self.wrong_type(value)
        if len(value) < self.least:
            return [Finding((), "is empty")]
        findings: list[Finding] = []
        for index, member in enumerate(value):
            if found := self.member.check(member):
                findings.extend(finding.below(index) for finding in found)
        return findings

    def schema(self) -> dict[str, object]:
        found: dict[str, object] = {"type": "array", "items": self.member.schema()}
        return {**found, "minItems": self.least} if self.least else found


class MapOf(Kind):
    """An object whose keys are the user's, each matching `key`, and whose values are all of one kind."""

    noun = "an object"

    def __init__(self, key: Text, value: Kind, *, least: int = 0) -> None:
        self.key = key
        self.value = value
        self.least = least

    def takes(self, value: object) -> bool:
        return isinstance(value, dict)

    def check(self, value: object) -> Sequence[Finding]:
        if not isinstance(value, dict):
            return self.wrong_type(value)
        if len(value) < self.least:
            return [Finding((), "is empty")]
        findings: list[Finding] = []
        for key, member in value.items():
            if found := self.key.check(key):
                findings.extend(Finding((key,), f"the name {finding.what}", finding.hint) for finding in found)
            elif found := self.value.check(member):
                findings.extend(finding.below(key) for finding in found)
        return findings

    def schema(self) -> dict[str, object]:
        found: dict[str, object] = {"type": "object", "additionalProperties": self.value.schema()}
        if self.key.pattern or not self.key.empty:
            found["propertyNames"] = self.key.schema()
        return {**found, "minProperties": self.least} if self.least else found


class OneOf(Kind):
    """A value of one of several kinds, told apart by their JSON type."""

    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds
        self.noun = " or ".join(kind.noun for kind in kinds)

    def takes(self, value: object) -> bool:
        return any(kind.takes(value) for kind in self.kinds)

    def check(self, value: object) -> Sequence[Finding]:
        for kind in self.kinds:
            if kind.takes(value):
                found = kind.check(value)
                if isinstance(value, str) and value.isdecimal() and self.takes(0):
                    return [finding.replace(hint="a number has no quotes") for finding in found]
                return found
        return self.wrong_type(value)

    def schema(self) -> dict[str, object]:
        return {"anyOf": [kind.schema() for kind in self.kinds]}


class Field(Value):
    """One known key of a record: what it takes, what holds without it (None: nothing), and a line for the reference."""

    kind: Kind
    meaning: str
    default: object = None
    required: bool = False


class Record(Kind):
    """An object with known keys; `x-` keys are the user's."""

    noun = "an object"

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = dict(fields)
        self.defaults = {name: field.default for name, field in fields.items() if field.default is not None}
        self._checks = {name: field.kind.check for name, field in fields.items()}
        self._required = frozenset(name for name, field in fields.items() if field.required)

    def takes(self, value: object) -> bool:
        return isinstance(value, dict)

    def check(self, value: object) -> Sequence[Finding]:
        if not isinstance(value, dict):
            return self.wrong_type(value)
        findings: list[Finding] = []
        checks = self._checks
        for key, member in value.items():
            check = checks.get(key)
            if check is None:
                findings.extend(self._unknown(key, member))
            elif found := check(member):
                findings.extend(finding.below(key) for finding in found)
        if not value.keys() >= self._required:
            missing = [name for name in self.fields if name in self._required and name not in value]
            findings.extend(Finding((), f'"{name}" is missing') for name in missing)
        return findings

    def _unknown(self, key: str, value: object) -> Sequence[Finding]:
        if key.startswith("x-"):
            return [finding.below(key) for finding in Anything().check(value)]
        hint = did_you_mean(key, self.fields) or 'keys of your own begin with "x-"'
        return [Finding((key,), f"no field is called {show(key)}", hint)]

    def schema(self) -> dict[str, object]:
        properties = {}
        for name, field in self.fields.items():
            properties[name] = {"description": field.meaning, **field.kind.schema()}
            if field.default is not None:
                properties[name]["default"] = field.default
        found: dict[str, object] = {"type": "object", "properties": properties, "patternProperties": {"^x-": {}}}
        if self._required:
            found["required"] = [name for name in self.fields if name in self._required]
        return {**found, "additionalProperties": False}
