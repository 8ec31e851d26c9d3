"""How a record is spelled, byte for byte. Loads built-in modules only: a run with nothing to do writes records too."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import sha256
elif sys.version_info >= (
    3,
    12,
):  # hashlib's own, without OpenSSL, whose import costs more than all that is hashed here
    from _sha2 import sha256
else:
    from _sha256 import sha256

VERSION = 1
DOMAIN = b"offpipe audit record v1\n"


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


def hash_plainly(body: bytes) -> str:
    """Return the hash of a record without a key, given its bytes without `hash`."""
    return sha256_of(DOMAIN + body)


def sha256_of(content: bytes) -> str:
    """Return the hex SHA-256 of bytes."""
    return str(sha256(content).hexdigest())
