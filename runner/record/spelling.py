"""How a record is spelled, byte for byte. Loads built-in modules only: a run with nothing to do writes records too."""

from __future__ import annotations

import time

from runner.hashing import sha256_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = 1
KEY_VARIABLE = "OFFPIPE_AUDIT_KEY_FILE"  # names the file with the key of keyed hashes
DOMAIN = b"offpipe audit record v1\n"
START, END = "run.start", "run.end"  # the first record of a run, and the last of one that succeeded
GENESIS = "0" * 64  # what the first record names as the hash of the one before

_spelled: dict[int, str] = {}  # the present second


def spell(
    payload: bytes, event: str, run: str, seq: int, stamp: str, prev: str, hashed: Callable[[bytes], str]
) -> tuple[bytes, str]:
    """Return a record's line and its hash; `payload` is canonical JSON, and `hashed` gives the hex hash of a record."""
    head = b'{"data":%b,"ev":"%b",' % (payload, event.encode())
    tail = b'"prev":"%b","run":"%b","seq":%d,"ts":"%b","v":%d}' % (
        prev.encode(), run.encode(), seq, stamp.encode(), VERSION,
    )  # fmt: skip
    digest = hashed(head + tail)
    return b'%b"hash":"%b",%b\n' % (head, digest.encode(), tail), digest


def stamp() -> str:
    """Return the time as records hold it: ISO 8601 in UTC, to the microsecond."""
    second, rest = divmod(time.time_ns(), 10**9)
    if second not in _spelled:  # of many records in one second
        _spelled.clear()
        _spelled[second] = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
    return f"{_spelled[second]}.{rest // 1000:06d}Z"


def drawn_run_id(seconds: float, random: Callable[[int], bytes]) -> str:
    """Return a default run id: a time, in seconds since the epoch, in UTC, and 4 random hex digits."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(seconds))}-{random(2).hex()}"


def hash_plainly(body: bytes) -> str:
    """Return the hash of a record without a key, given its bytes without `hash`."""
    return sha256_of(DOMAIN + body)
