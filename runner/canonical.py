r"""The one spelling of a JSON value that is hashed: sorted keys, no white space, UTF-8, no NaN.

A lone surrogate (a file name that is no UTF-8) is kept as its `\udcXX` escape, so that any string has a spelling.
"""

from __future__ import annotations

import json
from hashlib import sha256
from math import isfinite

_encode = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def _finite(literal: str) -> float:
    number = float(literal)
    if not isfinite(number):
        raise ValueError(literal)
    return number


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode


def parsed(content: bytes) -> object:
    """Return the JSON value in UTF-8 bytes; ValueError for none, and for one that has no canonical spelling."""
    return _decode(content.decode())


def canonical(value: object) -> bytes:
    """Return the canonical bytes of `value`; ValueError for NaN or an infinity."""
    return _encode(value).encode("utf-8", "backslashreplace")


def digest(value: object) -> str:
    """Return the hex SHA-256 of the canonical bytes of `value`."""
    return sha256(canonical(value)).hexdigest()
