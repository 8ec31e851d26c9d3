"""Signatures of the ledger: Ed25519, so an auditor can check them and cannot forge them. Needs the extra `sign`.

The record `signed` follows the line that ends an invocation. It covers its own fields, and through `prev` every line
before it. Only a run with a signing key, and `verify` with a public key, load this module.
"""

from __future__ import annotations

import stat
from binascii import Error, a2b_base64
from typing import TYPE_CHECKING, Any

from runner.canonical import SIGNED, canonical, spell, version_of
from runner.errors import Fault, StateError, UsageError
from runner.hashing import sha256_of
from runner.record.seal import read_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_DOMAIN = b"offpipe audit signature v1\n"
# RFC 8410: what comes before the 32 bytes of a key in DER. To parse it here takes half the time that the loaders of
# `cryptography` take to load.
_FORMS = {
    b"PRIVATE KEY": bytes.fromhex("302e020100300506032b657004220420"),
    b"PUBLIC KEY": bytes.fromhex("302a300506032b6570032100"),
}
_KEY_BYTES = 32
_HINTS = {
    b"PRIVATE KEY": "for example: (umask 077; openssl genpkey -algorithm ed25519 -out KEYFILE)",
    b"PUBLIC KEY": "for example: openssl pkey -in KEYFILE -pubout -out KEYFILE.pub",
}
_PRIVATE_MODES = (0o600, 0o400)


class Signer:
    """Signs with a private key; `id` is the SHA-256 of the public key in DER."""

    __slots__ = ("_key", "id")

    def __init__(self, key: bytes) -> None:
        """Take the 32 bytes of a private key. UsageError without the extra `sign`."""
        self._key: Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(key)
        self.id = key_id(self._key.public_key().public_bytes_raw())

    @property
    def public_key(self) -> Ed25519PublicKey:
        return self._key.public_key()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        return self._key.sign(message)

    def sign_line(
        self, ended: Mapping[str, object], run: str, seq: int, stamp: str, prev: str, hashed: Callable[[bytes], str]
    ) -> tuple[bytes, str]:
        """Return the line `signed` that follows the ledger's line `prev` with the payload `ended`, and its hash.

        The other arguments are as for `spell`.
        """
        data = {**{name: ended[name] for name in ("keyId", "open", "pipeline")}, "signer": self.id}
        record = {"data": data, "ev": SIGNED, "prev": prev, "run": run, "seq": seq, "ts": stamp}
        signature = self.sign(_covered({**record, "v": version_of(SIGNED)})).hex()
        return spell({**data, "signature": signature}, SIGNED, run, seq, stamp, prev, hashed)


def read_signer(path: str, inside: Sequence[str] = ()) -> Signer:
    """Return the signer with the private key in the file at `path`, as `openssl genpkey -algorithm ed25519` writes it.

    UsageError for any other file, for one that other users may read, or that is inside a directory of `inside`.
    """
    key, mode = _read_pem(path, b"PRIVATE KEY", inside)
    if stat.S_IMODE(mode) not in _PRIVATE_MODES:
        from shlex import quote

        what = f"a private key has mode 600 or 400, this one has {stat.S_IMODE(mode):03o}"
        raise UsageError(Fault(path, what, f"chmod 600 {quote(path)}"))
    return Signer(key)


def read_public_key(path: str) -> tuple[str, Ed25519PublicKey]:
    """Return the id and the key in a file, as `openssl pkey -pubout` writes it. UsageError for any other file."""
    key, _ = _read_pem(path, b"PUBLIC KEY")
    return key_id(key), _ed25519().Ed25519PublicKey.from_public_bytes(key)


def key_id(public_key: bytes) -> str:
    """Return the id of a public key, given its 32 bytes."""
    return sha256_of(_FORMS[b"PUBLIC KEY"] + public_key)


def is_signed_by(record: Mapping[str, Any], key: Ed25519PublicKey) -> bool:
    """Whether the signature in a record `signed` is that of the key."""
    from cryptography.exceptions import InvalidSignature

    text = str(record["data"].get("signature"))
    try:
        signature = bytes.fromhex(text)
        key.verify(signature, _covered(record))
    except (ValueError, InvalidSignature):
        return False
    return signature.hex() == text


def _covered(record: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed: a domain tag, and the record without its hash and the signature."""
    data = {name: value for name, value in record["data"].items() if name != "signature"}
    return _DOMAIN + canonical({**{name: value for name, value in record.items() if name != "hash"}, "data": data})


def _read_pem(path: str, label: bytes, inside: Sequence[str] = ()) -> tuple[bytes, int]:
    """Return the 32 bytes of the key in a PEM file, and the mode of the file."""
    name, form = label.decode().lower(), _FORMS[label]
    try:
        content, mode = read_key(path, inside, name)
    except StateError as error:
        raise UsageError(*error.faults) from error
    _, _, rest = content.partition(b"-----BEGIN %b-----" % label)
    body, end, _ = rest.partition(b"-----END %b-----" % label)
    try:
        der = a2b_base64(body) if end else b""
    except Error:
        der = b""
    if der[: len(form)] != form or len(der) != len(form) + _KEY_BYTES:
        raise UsageError(Fault(path, f"is not the PEM file of an Ed25519 {name}", _HINTS[label]))
    return der[len(form) :], mode


def _ed25519() -> Any:  # noqa: ANN401 - a module
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        what = f"signatures need the package cryptography: {error}"
        raise UsageError(Fault("", what, "pip install 'pytest-offpipe[sign]'")) from error
    return ed25519
