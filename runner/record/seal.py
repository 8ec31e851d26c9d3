"""What seals a record, with keys that are kept where no run writes.

Its hash is SHA-256, or HMAC-SHA-256 with an audit key. With a signing key, the ledger is signed line by line. Loads
built-in modules only, because a run with nothing to do writes records, too.
"""

from __future__ import annotations

import os
import stat

from runner.canonical import KEY_VARIABLE, SIGNED, spell
from runner.errors import Fault, StateError, UsageError
from runner.hashing import sha256_of
from runner.reading import open_regular

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from runner.record.signatures import PrivateKey

SIGNING_VARIABLE = "OFFPIPE_SIGNING_KEY_FILE"  # names the file with the private key that signs the ledger
DOMAIN = b"offpipe audit record v1\n"
_KEY_DOMAIN = b"offpipe audit key id v1\n"
_SHORTEST, _LONGEST = 16, 1 << 16  # bytes
_ID_DIGITS = 16


class Seal:
    """Hashes records, with a key or without; `id` identifies the key without revealing it, None without a key.

    `signer` signs the ledger, None without a signing key.
    """

    def __init__(self, key: bytes | None = None, signer: PrivateKey | None = None) -> None:
        self._key = key
        self.id = None if key is None else sha256_of(_KEY_DOMAIN + key)[:_ID_DIGITS]
        self.signer = signer

    def hash(self, body: bytes) -> str:
        """Return the hex hash of a record, given its canonical bytes without `hash`."""
        if self._key is None:
            return sha256_of(DOMAIN + body)
        from hmac import digest

        return digest(self._key, DOMAIN + body, "sha256").hex()

    def of(self, key_id: object) -> Seal | None:
        """Return the seal for records with `key_id`; None if that key is missing here."""
        return PLAIN if key_id is None else self if key_id == self.id else None

    def entry(
        self, payload: Mapping[str, object], event: str, run: str, seq: int, stamp: str, prev: str
    ) -> tuple[bytes, str]:
        """Return a line of the ledger, with a signer also the record `signed` of it, and the hash of the last one."""
        if self.signer is None:
            return spell(payload, event, run, seq, stamp, prev, self.hash)
        payload = {**payload, "signer": self.signer.id}
        line, digest = spell(payload, event, run, seq, stamp, prev, self.hash)
        data = {name: payload[name] for name in ("keyId", "open", "pipeline", "signer")}
        _, signature = spell(data, SIGNED, run, seq + 1, stamp, digest, self.signer.signature)
        signed, digest = spell({**data, "signature": signature}, SIGNED, run, seq + 1, stamp, digest, self.hash)
        return line + signed, digest

    def refuse_other(self, path: str, key_id: str | None, signer: str | None = None) -> None:
        """Raise UsageError if the log at `path` has another key, or is signed although this seal does not sign."""
        if key_id not in (None, self.id):
            given = f"but the key given is {self.id}" if self.id else "but no key is given"
            hint = f"name the file that holds the key in {KEY_VARIABLE}"
            raise UsageError(Fault(path, f"is keyed with {key_id}, {given}", hint))
        if signer and not self.signer:
            hint = f"name the file that holds the signing key in {SIGNING_VARIABLE}"
            raise UsageError(Fault(path, f"is signed with {signer}, but no signing key is given", hint))


PLAIN = Seal()


def read_key_file(path: str, inside: Sequence[str]) -> Seal:
    """Return the seal with the key in the file at `path`: all of its bytes, unchanged.

    Raises what `_read_key` raises, and UsageError for a key that is too short or too long.
    """
    content, _ = _read_key(path, inside, "audit key")
    if not _SHORTEST <= len(content) <= _LONGEST:
        what = f"an audit key has {_SHORTEST} to {_LONGEST:,} bytes"
        raise UsageError(Fault(path, what, "for example: (umask 077; head -c 32 /dev/urandom > KEYFILE)"))
    return Seal(content)


def signing(seal: Seal, inside: Sequence[str]) -> Seal:
    """Return the seal with the signing key in the file that OFFPIPE_SIGNING_KEY_FILE names; unchanged without that.

    Raises what `read_pem` raises.
    """
    path = os.environ.get(SIGNING_VARIABLE)
    if path is None:
        return seal
    if not path:
        raise UsageError(Fault(SIGNING_VARIABLE, "is empty", "name the file that holds the signing key, or unset it"))
    return Seal(seal._key, read_pem(path, "private key", inside))  # noqa: SLF001 - of its class


def read_pem(path: str, name: str, inside: Sequence[str] = ()) -> Any:  # noqa: ANN401 - a PublicKey or a PrivateKey
    """Return the "private key" or the "public key" in a PEM file, as openssl writes it. UsageError for any other file.

    No other user may read a private key; where it may be, see `_read_key`.
    """
    try:
        content, mode = _read_key(path, inside, name)
    except StateError as error:
        raise UsageError(*error.faults) from error
    if name == "private key" and mode not in (0o600, 0o400):
        from shlex import quote

        what = f"a private key must have mode 600 or 400, but this one has {mode:03o}"
        raise UsageError(Fault(path, what, f"chmod 600 {quote(path)}"))
    try:
        from runner.record.signatures import load_key
    except ImportError as error:
        what = f"signatures need the package cryptography: {error}"
        hint = 'install offpipe with the extra "sign", or: pip install cryptography'
        raise UsageError(Fault("", what, hint)) from error
    return load_key(content, path, name)


def _read_key(path: str, inside: Sequence[str], name: str) -> tuple[bytes, int]:
    """Return the content and the mode of the key file at `path`; messages call the key `name`.

    UsageError if the file is in one of the directories `inside`, or may be there under another name: stages write
    there, or a copy of the log would include the key. StateError if the file cannot be read.
    """
    try:
        with open(open_regular(path), "rb") as file:
            content, status = file.read(_LONGEST + 1), os.fstat(file.fileno())
    except OSError as error:
        raise StateError.from_os(error, path, f"read the {name}") from error
    hint = "keep it where no stage writes, and where no copy of the workspace takes it along"
    for directory in inside:
        for base in (os.path.abspath(directory), os.path.realpath(directory)):
            if base in (os.path.commonpath((base, place)) for place in (os.path.abspath(path), os.path.realpath(path))):
                raise UsageError(Fault(path, f"the {name} is inside {directory}", hint))
    if inside and status.st_nlink > 1:
        raise UsageError(Fault(path, f"the {name} has other names (hard links), which may be anywhere", hint))
    return content, stat.S_IMODE(status.st_mode)


def warning_about(path: str) -> Fault | None:
    """Return a warning if other users may read or change the key in the file at `path`, else None.

    A group may read it: you may have made the group for that.
    """
    try:
        mode = os.stat(path).st_mode & 0o777
    except OSError:
        return None  # reading the key gives the error
    from shlex import quote

    rights = [word for word, bits in (("read", 0o004), ("change", 0o022)) if mode & bits]
    what = f"other users may {' and '.join(rights)} the audit key (mode {mode:03o})"
    return Fault(path, what, f"chmod 600 {quote(path)}") if rights else None
