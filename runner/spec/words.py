"""Findings, and how they name values, fields and places. Slow imports wait until there is a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
