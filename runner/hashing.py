"""SHA-256: by the interpreter's own code at first, by OpenSSL's once there is much to hash.

That is four to six times as quick, and its library takes as long to load as the other takes for a mebibyte. Loads
built-in modules only: a run with nothing to do writes records too.
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

LITTLE = 1 << 20  # bytes that are hashed, all in all, before it pays to load OpenSSL

_make, _left = _little, LITTLE


def hasher(content: bytes = b"", *, more: int = 0) -> _Hash:
    """Return the hash of `content`, to be updated with so many bytes `more`, or about as many."""
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
    try:
        from _hashlib import openssl_sha256 as quicker  # as hashlib has it, which loads more of the kind
    except ImportError:
        from hashlib import sha256 as quicker
    _make, _left = quicker, -1
