"""Reads and parses a spec as strict JSON.

Duplicate keys, NaN, numbers that are too large and half surrogates become findings, so they are reported together with
all other faults.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from math import isinf
from typing import NamedTuple

from runner.errors import Fault, SpecError, raise_if_system_error
from runner.reading import NotRegularError, open_regular
from runner.spec.globs import entries_of
from runner.spec.kinds import Finding, Place, Spelled, did_you_mean, show

LARGEST = 64 * 1024 * 1024
_SYNTAX_HINT = "JSON has double quotes only, no comments, and no comma after the last member"
_HALF = "holds half of a surrogate pair, which no path or argument can hold"
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")


def read_source(path: str, noun: str = "spec") -> bytes:
    """Return the content of a regular file of at most 64 MiB. `noun` names it in errors. Raises SpecError."""
    try:
        with open(open_regular(path), "rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise SpecError(Fault(path, f"no such {noun} file", missing_hint(path) if noun == "spec" else "")) from error
    except NotRegularError as error:
        raise SpecError(Fault(path, error.what, f"a {noun} is a regular file")) from error
    except (OSError, ValueError) as error:  # a ValueError: a NUL in the path
        raise_if_system_error(error, path)
        raise SpecError(Fault(path, f"cannot read the {noun}: {getattr(error, 'strerror', error)}")) from error
    if len(content) > LARGEST:
        raise SpecError(Fault(path, f"is larger than {LARGEST // 2**20} MiB, the limit"))
    return content


def missing_hint(path: str) -> str:
    """Return the hint for a spec that does not exist: the most similar one beside it."""
    directory, name = os.path.split(path)
    specs = [entry for entry in entries_of(directory or ".") if entry.endswith(".json")]
    near = did_you_mean(f"{name.removesuffix('.json')}.json", specs)
    return f"{near} (in {show(directory)})" if near and directory else near


def parse_source(path: str, content: bytes, beginning: str = "") -> tuple[object, list[Finding]]:
    """Return the JSON value, and findings for what strict JSON does not allow. SpecError if it cannot be parsed.

    `beginning`: the hint for an empty file.
    """
    text = decoded(path, content)
    try:
        return _parse(text)
    except json.JSONDecodeError as error:
        what, hint = error.msg[:1].lower() + error.msg[1:], _SYNTAX_HINT
        if not text.strip():
            what, hint = "is empty", beginning
        raise SpecError(Fault(f"{path}:{error.lineno}:{error.colno}", what, hint)) from error
    except RecursionError as error:
        raise SpecError(Fault(path, "is nested too deeply to be read")) from error


def decoded(path: str, content: bytes) -> str:
    """Return the text of a file, without a byte order mark. Raises SpecError if it is not UTF-8."""
    hint = "save it as UTF-8"
    encoding = json.detect_encoding(content)
    if not encoding.startswith("utf-8"):
        raise SpecError(Fault(path, "is UTF-16 or UTF-32", hint))
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}"
        raise SpecError(Fault(f"{path}:{line}", what, hint)) from error


class _Refused(NamedTuple):
    """Stands in the JSON value for a member that is not allowed; `what` is the fault."""

    what: str


def _parse(text: str) -> tuple[object, list[Finding]]:
    refused: list[object] = []

    def refuse(what: str) -> _Refused:
        refused.append(placeholder := _Refused(what))
        return placeholder

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        value: dict[str, object] = dict(pairs)
        if len(value) != len(pairs):
            keys = Counter(key for key, _ in pairs)
            value |= {key: refuse("the key appears more than once") for key, count in keys.items() if count > 1}
        return value

    def real(literal: str) -> object:
        number = float(literal)
        if isinf(number):
            return refuse("the number is too large")
        return number if repr(number) == literal else Spelled(literal)

    def integer(literal: str) -> object:
        try:
            return int(literal)
        except ValueError:  # beyond the interpreter's limit of digits
            return refuse("the number is too large")

    value: object = json.loads(
        text,
        object_pairs_hook=members,
        parse_float=real,
        parse_int=integer,
        parse_constant=lambda literal: refuse(f"{literal} is not JSON"),
    )
    # Half a surrogate can only come from an escape such as \ud800, because UTF-8 cannot hold it.
    return _placed(value) if refused or "\\ud" in text or "\\uD" in text else (value, [])


def _placed(value: object) -> tuple[object, list[Finding]]:
    """Return the value, and a finding for each fault in it. Iterative, because the value may be nested deeply.

    Replaces strings with half surrogates in the value, so that no later check takes them for strings.
    """
    findings: list[Finding] = []
    top: list[object] = [value]
    pending: list[tuple[Place, object]] = [((), top)]
    while pending:
        at, outer = pending.pop()
        if isinstance(outer, _Refused):
            findings.append(Finding(at[1:], outer.what))
        elif isinstance(outer, (dict, list)):
            for step, member in list(outer.items() if isinstance(outer, dict) else enumerate(outer)):
                if isinstance(step, str) and _HALF_SURROGATE.search(step):
                    findings.append(Finding((*at[1:], step), _HALF))
                if isinstance(member, str) and _HALF_SURROGATE.search(member):
                    outer[step] = _Refused(_HALF)
                pending.append(((*at, step), outer[step]))
    return top[0], findings
