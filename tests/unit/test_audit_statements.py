"""An independent library opens the envelope with the public key, and refuses it if any byte was changed."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from runner.audit.statements import envelope
from runner.record.signatures import PrivateKey

PAYLOAD = '{"_type":"https://in-toto.io/Statement/v1","name":"ü"}'.encode()
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
ID = PrivateKey(KEY).id
PUBLIC = SSlibKey.from_crypto(KEY.public_key(), keyid=ID)


@pytest.fixture
def document():
    return json.loads(envelope(PAYLOAD, PrivateKey(KEY)))


def test_the_public_key_opens_the_envelope(document):
    read = Envelope.from_dict(document)
    assert read.verify([PUBLIC], 1) == {ID: PUBLIC}
    assert (read.payload, read.payload_type) == (PAYLOAD, "application/vnd.in-toto+json")


def test_another_key_does_not_open_the_envelope(document):
    other = SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key(), keyid=ID)
    with pytest.raises(VerificationError):
        Envelope.from_dict(document).verify([other], 1)


@pytest.mark.parametrize("field", ["payload", "sig", "payloadType"])
def test_each_changed_byte_is_noticed(document, field):
    holder = document["signatures"][0] if field == "sig" else document
    content = holder[field].encode() if field == "payloadType" else base64.b64decode(holder[field])
    for at in range(len(content)):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        text = changed.decode() if field == "payloadType" else base64.b64encode(changed).decode()
        other = json.loads(json.dumps(document))
        (other["signatures"][0] if field == "sig" else other)[field] = text
        with pytest.raises(VerificationError):
            Envelope.from_dict(other).verify([PUBLIC], 1)


def test_the_spec_s_own_example_signs_these_bytes():
    document = json.loads(envelope(b"hello world", PrivateKey(KEY)))
    signature = base64.b64decode(document["signatures"][0]["sig"])
    KEY.public_key().verify(signature, b"DSSEv1 28 application/vnd.in-toto+json 11 hello world")  # or it raises
    assert document["payload"] == base64.b64encode(b"hello world").decode()
