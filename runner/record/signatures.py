"""Signatures of the ledger: Ed25519, so an auditor can check them and cannot forge them. Needs the extra `sign`.

A record `signed` follows every line that says what happened. It covers its own fields, and through `prev` every line
before it. Only `record.seal` loads this module, if there is a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from runner.canonical import canonical
from runner.errors import Fault, UsageError
from runner.hashing import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_DOMAIN = b"offpipe audit signature v1\n"
_HINT = "openssl genpkey -algorithm ed25519 makes a private key, and openssl pkey -pubout its public key"


class PublicKey:
    """Checks signatures; `id` is the SHA-256 of the key in DER."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.id = sha256_of(key.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo))

    def has_signed(self, record: Mapping[str, Any]) -> bool:
        """Whether the signature in a record `signed` is that of the key."""
        body, data = ({**members} for members in (record, record["data"]))
        text = str(data.pop("signature", ""))
        del body["hash"]
        try:
            signature = bytes.fromhex(text)
            self._key.verify(signature, _DOMAIN + canonical({**body, "data": data}))
        except (ValueError, InvalidSignature):
            return False
        return signature.hex() == text


class PrivateKey(PublicKey):
    """Signs, too: `sign` returns the signature of any bytes."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        super().__init__(key.public_key())
        self.sign = key.sign

    def signature(self, body: bytes) -> str:
        """Return the signature of a record `signed`, in hex; `body` is the record without `hash` and `signature`."""
        return self.sign(_DOMAIN + body).hex()


def load_key(content: bytes, path: str, name: str) -> Any:  # noqa: ANN401 - a PrivateKey or a PublicKey
    """Return the "private key" or the "public key" in the PEM file at `path`. UsageError for any other content."""
    is_private = name == "private key"
    try:
        key: object = form.load_pem_private_key(content, None) if is_private else form.load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        key = None
    if isinstance(key, Ed25519PrivateKey):
        return PrivateKey(key)
    if isinstance(key, Ed25519PublicKey):
        return PublicKey(key)
    raise UsageError(Fault(path, f"is not the PEM file of an Ed25519 {name}", _HINT))
