"""Broken specs, made from docs/spec-v1.schema.json and a spec that uses every field.

Each case is a spec, or the bytes of a spec file. Nothing here knows how offpipe reads one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from golden_calls import ROOT, Call, answers, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = ROOT / "docs" / "spec-v1.schema.json"
INVALID = ROOT / "pipelines" / "invalid"
VALUES = {"null": None, "true": True, "7": 7, "7.5": 7.5, '"text"': "text", "[]": [], "{}": {}}

At = tuple[str | int, ...]
Spec = dict[str, object]

RETRY = {"attempts": 2, "delaySeconds": 0, "multiplier": 2, "maxDelaySeconds": 9, "jitter": 0.5,
         "retryExitCodes": [75, "SIGKILL"], "retryOnTimeout": True, "maxTotalSeconds": 60}  # fmt: skip
SHARED = {"retry": RETRY, "checkpoint": {"everyLines": 5, "everySeconds": 1.5}, "timeoutSeconds": 60,
          "resources": {"cpus": 1, "memoryMiB": 64, "ioConcurrency": 2, "enforce": False},
          "retryOnTimeout": False, "freshInterpreter": True, "sealed": True, "env": {"A": "b"}, "mayBeEmpty": True,
          "programVersion": ["sh", "-c", ":"], "tools": "env", "toolsIdentity": "content"}  # fmt: skip
FIRST = {"name": "first", "$schema": "x", "description": "one", "each": {"n": [1]}, "where": {"n": 1},
         "if": "{vars.on}", "processor": "run.sh",
         "args": ["{inputs.text}", "b"], "inputs": {"text": "in.txt", "more": []}, "optional": ["more"],
         "outputs": {"text": "out/first.txt"},
         "needs": [], "params": {"p": 1},
         "stdin": "text", "stdout": "text", "temporary": ["text"], "seenAs": {"more": "more.txt"},
         "offline": {"onAttempt": "fail"},
         "results": {"text": {"title": "t", "caption": "c", "group": "g"}},
         "programIdentity": "name", **SHARED}  # fmt: skip
SECOND = {"name": "second", "command": ["sort", "{inputs.first}"], "inputs": ["out/first.txt"], "needs": ["first"],
          "outputs": ["out/second.txt"]}  # fmt: skip
FULL: Spec = {
    "$schema": "x", "specVersion": 1, "name": "full", "description": "every field", "root": ".", "stateDir": "st",
    "locksDir": "lk", "processorIdentity": "content", "programIdentity": "content",
    "offline": {"bannedImports": ["a.b"], "allowImports": ["http"], "onAttempt": "record"},
    "vars": {"on": True}, "defaults": SHARED, "stages": [FIRST, SECOND],
}  # fmt: skip


def changed(at: At, value: object) -> Spec:
    """Return FULL with another value at `at`, or without one if the value is `Missing`."""
    spec = json.loads(json.dumps(FULL))  # a copy in which no object occurs twice
    inner: object = spec
    for step in at[:-1]:
        inner = inner[step]  # type: ignore[index]
    if value is Missing:
        del inner[at[-1]]  # type: ignore[attr-defined]
    else:
        inner[at[-1]] = value  # type: ignore[index]
    return spec


class Missing:
    """Stands for no value."""


# ---- from the schema -------------------------------------------------------------------------------------------------


def records(schema: dict, value: object, at: At = ()) -> Iterator[tuple[At, dict, dict]]:
    """Yield every object with known fields: its place in FULL, its schema and its value."""
    if isinstance(value, list):
        for index, member in enumerate(value[:1]):  # the second stage adds no fields
            yield from records(schema.get("items", {}), member, (*at, index))
    elif isinstance(value, dict) and "properties" in schema:
        lacking = schema["properties"].keys() - value.keys() - {"command"}
        assert not lacking, f"FULL has no {lacking} at {at}"
        yield at, schema, value
        for name, field in schema["properties"].items():
            yield from records(field, value.get(name), (*at, name))


def by_schema() -> Iterator[tuple[str, Spec]]:
    for at, schema, value in records(json.loads(SCHEMA.read_bytes()), FULL):
        shown = pointer(at)
        yield f"{shown}: unknown field", changed((*at, "zzz"), 1)
        yield f"{shown}: near a field", changed((*at, f"{next(iter(value))}s"), 1)
        yield f"{shown}: x- field", changed((*at, "x-own"), {"a": [None]})
        for name in value:
            yield f"{pointer((*at, name))}: missing", changed((*at, name), Missing)
        for kind, other in VALUES.items():
            yield f"{shown}: every field is {kind}", changed(at, dict.fromkeys(value, other)) if at else all_of(other)
        for name, field in schema["properties"].items():
            for kind, other in odd_values(field):
                yield f"{pointer((*at, name))}: {kind}", changed((*at, name), other)


def all_of(value: object) -> Spec:
    return {name: FULL["stages"] if name == "stages" else value for name in FULL}


def odd_values(field: dict) -> Iterator[tuple[str, object]]:
    """Yield values at the bounds of a field's schema and beyond them."""
    for form in field.get("anyOf", [field]):
        for bound, step in (("minimum", -1), ("maximum", 1), ("exclusiveMinimum", 0)):
            if bound in form:
                yield f"beyond {bound}", form[bound] + step
        if "minimum" in form:
            yield "at minimum", form["minimum"]
        if form.get("type") == "integer":
            yield "whole float", 3.0
            yield "as text", "3"
        if "enum" in form or "const" in form:
            yield "nearly one of them", f"{form.get('const', form.get('enum', [''])[0])}x"
        yield from odd_texts(form)
        if form.get("type") == "array":
            yield "odd members", [None, 7, "", "ok", "a\0b", "a b", ["x"]]
        if "additionalProperties" in form and "properties" not in form:
            yield "odd members", {"": 1, "a b": "x", "ok": "x", "7up": None, "PIPELINE_X": "x", "nul": "a\0b"}


def odd_texts(field: dict) -> Iterator[tuple[str, object]]:
    if field.get("type") == "string":
        yield from (("empty", ""), ("a number as text", "7"), ("control character", "a\nb"), ("NUL", "a\0b"))
        yield from (("not ASCII", "ü"), ("space", "a b"), ("very long", "n" * 5000), ("101 long", "n" * 101))


def pointer(at: At) -> str:
    return "#" + "".join(f"/{step}" for step in at)


# ---- the record ------------------------------------------------------------------------------------------------------


def record(place: Path) -> list[dict[str, object]]:
    """Run `plan` on each spec, and `validate` and `graph` too on those in pipelines/invalid."""
    from golden_cross import across_stages, odd_files

    cases = [*by_schema(), *across_stages()]
    named, calls = [], []
    for number, (name, spec) in enumerate([*cases, *odd_files()]):
        directory = place / str(number)
        directory.mkdir()
        lay_out(directory)
        content = spec if isinstance(spec, bytes) else json.dumps(spec).encode()
        (directory / "spec.json").write_bytes(content)
        named.append(name)
        calls.append(Call(["plan", "--json", "spec.json"], str(directory)))
    for path in sorted(INVALID.glob("*.json")):
        for verb in (["plan", "--json"], ["validate"], ["graph"]):
            named.append(f"{path.name}: {verb[0]}")
            calls.append(Call([*verb, f"pipelines/invalid/{path.name}"], str(ROOT)))
    return [{"case": name, **outcome(answer)} for name, answer in zip(named, answers(calls), strict=True)]


def lay_out(directory: Path) -> None:
    """Make the files that the specs name."""
    (directory / "in.txt").write_text("a\n")
    (directory / "run.sh").write_text("#!/bin/sh\n")
    (directory / "run.sh").chmod(0o755)
    (directory / "plain.sh").write_text("#!/bin/sh\n")
    (directory / "dir").mkdir()
    (directory / "env/conda-meta").mkdir(parents=True)
    (directory / "link").symlink_to("dir")
    (directory / "out-link").symlink_to("/tmp")
