"""The signed envelope of a Statement: DSSE v1.0.2, as https://github.com/secure-systems-lab/dsse defines it."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from runner.canonical import canonical

if TYPE_CHECKING:
    from collections.abc import Callable

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def envelope(payload: bytes, sign: Callable[[bytes], bytes], key_id: str) -> bytes:
    """Return the JSON of the envelope around a Statement; `key_id` is a hint for whoever looks for the public key."""
    kind = PAYLOAD_TYPE.encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)  # lengths in bytes
    signature = {"keyid": key_id, "sig": b64encode(sign(signed)).decode()}
    return canonical({"payload": b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})
