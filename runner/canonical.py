r"""Canonical JSON, which is hashed: sorted keys, no white space, UTF-8, no NaN.

A lone surrogate (a file name that is no UTF-8) is kept as its `\udcXX` escape, so that any string has a spelling.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING

from runner.hashing import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

NO_NUMBER = "a record holds whole numbers below 2^53 only"
LARGEST = 1 << 53  # integers from here on are not the same in every language

_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def _finite(literal: str) -> float:
    number = float(literal)
    if not isfinite(number):
        raise ValueError(literal)
    return number


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is no whole number")


def _integer(text: str) -> int:
    number = int(text) if len(text) < 18 else LARGEST
    if not -LARGEST < number < LARGEST:
        raise ValueError(f"{text[:20]} is not below 2^53")
    return number


decode_record = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse, parse_int=_integer).decode
"""Decode the JSON of a record; ValueError for a number that other languages would read as another."""


def check_numbers(value: object) -> None:
    """Raise ValueError for what `decode_record` would not read: a float, or an integer from 2^53 on."""
    waiting = [value]
    for member in waiting:  # which grows meanwhile
        if type(member) is str or member is None:  # as nearly all are
            continue
        if isinstance(member, int):
            if not -LARGEST < member < LARGEST:
                raise ValueError(NO_NUMBER)
        elif isinstance(member, dict):
            waiting.extend(member.values())
        elif isinstance(member, (list, tuple)):
            waiting.extend(member)
        elif isinstance(member, float):
            raise ValueError(NO_NUMBER)  # noqa: TRY004 - whoever reads the log would say so


def parsed(content: bytes) -> object:
    """Return the JSON value in UTF-8 bytes; ValueError for none, and for one that has no canonical spelling."""
    return _decode(content.decode())


def canonical(value: object) -> bytes:
    """Return the canonical bytes of `value`; ValueError for NaN or an infinity."""
    return _encode(value).encode("utf-8", "backslashreplace")


def spelled(members: Mapping[str, bytes]) -> bytes:
    """Return the canonical bytes of an object from those of its values; spelled at once, many take far more room."""
    return b"{%b}" % b",".join(b"%b:%b" % (canonical(name), members[name]) for name in sorted(members))


def digest(value: object) -> str:
    """Return the hex SHA-256 of the canonical bytes of `value`."""
    return sha256_of(canonical(value))
