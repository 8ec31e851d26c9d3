"""SHA-256: first with the interpreter's own code, and with OpenSSL once there is much to hash.

OpenSSL is four to six times as fast, but its library takes as long to load as the interpreter takes to hash a mebibyte.
Loads built-in modules only, because a run with nothing to do writes records, too.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash
    from hashlib import sha256 as _little
elif sys.version_info >= (3, 12):
    from _sha2 import sha256 as _little
else:
    from _sha256 import sha256 as _little

LITTLE = 1 << 20  # bytes in all that are hashed before OpenSSL is loaded

_make, _left = _little, LITTLE


def hasher(content: bytes = b"", *, more: int = 0) -> _Hash:
    """Return a hash of `content`, for a caller that will update it with about `more` bytes."""
    global _left
    if _left >= 0:
        _left -= len(content) + more
        if _left < 0:
            quicken()
    return _make(content)


def sha256_of(content: bytes) -> str:
    """Return the hex SHA-256 of bytes."""
    return hasher(content).hexdigest()


def quicken() -> None:
    """Load OpenSSL now."""
    global _make, _left
    from hashlib import sha256 as quicker

    _make, _left = quicker, -1
