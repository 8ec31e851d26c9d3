r"""Canonical JSON, which is what gets hashed, and the records of logs: sorted keys, no white space, UTF-8, no NaN.

A lone surrogate (from a file name that is not UTF-8) is written as its `\udcXX` escape, so every string can be written.

A run with nothing to do writes records, too, and to load the package `json` takes longer than such a run. So this
module sets up json's own encoder and scanner itself.
"""

from __future__ import annotations

import time
from _json import encode_basestring, make_encoder, make_scanner

from runner.hashing import sha256_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERSION = 1
SIGNED = "signed"  # in the ledger
KEY_VARIABLE = "OFFPIPE_AUDIT_KEY_FILE"  # names the file with the key of keyed hashes
START, END = "run.start", "run.end"  # the first record of a run, and the last record of a run that succeeded
GENESIS = "0" * 64  # the hash `prev` of a first record
LARGEST = 1 << 53  # other languages round integers from here on


def _finite(literal: str) -> float:
    number = float(literal)
    if not float("-inf") < number < float("inf"):
        raise ValueError(literal)
    return number


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not JSON")


class _Reading:
    """The attributes of `json.JSONDecoder` that the scanner reads."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_int = int
    parse_float = parse_constant = staticmethod(_finite)


_encode = make_encoder(None, _refuse, encode_basestring, None, ":", ",", True, False, False)
_scan = make_scanner(_Reading)  # type: ignore[arg-type] # a class with the attributes of a decoder


def parsed(content: bytes) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON value in UTF-8 bytes. ValueError for anything else, and for NaN or an infinity."""
    text = content.decode().strip(" \t\n\r")
    try:
        value, end = _scan(text, 0)
    except (StopIteration, SystemError):  # unless json.decoder is loaded, the scanner lacks its error
        raise ValueError("it is not a JSON value") from None
    if end < len(text):
        raise ValueError(f"more follows after {end} characters")
    return value


def check_numbers(value: object) -> None:
    """Raise ValueError for a value that no record may hold: a float, or an integer from 2^53 on."""
    members = [value]
    for member in members:  # the list grows meanwhile
        if isinstance(member, dict):
            members.extend(member.values())
        elif isinstance(member, (list, tuple)):
            members.extend(member)
        elif isinstance(member, float) or (isinstance(member, int) and not -LARGEST < member < LARGEST):
            raise ValueError("a record holds whole numbers below 2^53 only")


def canonical(value: object) -> bytes:
    """Return the canonical bytes of `value`; ValueError for NaN or an infinity."""
    return "".join(_encode(value, 0)).encode("utf-8", "backslashreplace")


def digest(value: object) -> str:
    """Return the hex SHA-256 of the canonical bytes of `value`."""
    return sha256_of(canonical(value))


# ---- records ---------------------------------------------------------------------------------------------------------


def spell(
    payload: object, event: str, run: str, seq: int, stamp: str, prev: str, hashed: Callable[[bytes], str]
) -> tuple[bytes, str]:
    """Return a record's line and its hash. `hashed` computes the hex hash from the record's bytes without `hash`."""
    body = canonical({"data": payload, "ev": event, "prev": prev, "run": run, "seq": seq, "ts": stamp, "v": VERSION})
    digest = hashed(body)
    before, mark, after = body.rpartition(b',"prev":"')
    return b'%b,"hash":"%b"%b%b\n' % (before, digest.encode(), mark, after), digest


def stamp(at: int | None = None) -> str:
    """Return the time `at` (nanoseconds since 1970, default: now) for a record: ISO 8601, UTC, with microseconds."""
    second, rest = divmod(time.time_ns() if at is None else at, 10**9)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{rest // 1000:06d}Z", time.gmtime(second))
