"""Ed25519 keys in files, as `openssl` makes them, or where that is missing `cryptography`."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.record.seal import SIGNING_VARIABLE
from runner.record.signatures import read_public_key

if TYPE_CHECKING:
    from pathlib import Path

OPENSSL = shutil.which("openssl")


class KeyPair(NamedTuple):
    private: Path
    public: Path

    @property
    def id(self) -> str:
        return read_public_key(str(self.public))[0]

    @property
    def env(self) -> dict[str, str]:
        return {SIGNING_VARIABLE: str(self.private)}

    @property
    def words(self) -> tuple[str, str]:
        """The option of `verify`."""
        return ("--public-key", str(self.public))


def openssl(*words: object) -> str:
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True).stdout


def make_keys(directory: Path, name: str = "key") -> KeyPair:
    keys = KeyPair(directory / f"{name}.pem", directory / f"{name}.pub")
    if OPENSSL:
        openssl("genpkey", "-algorithm", "ed25519", "-out", keys.private)
        openssl("pkey", "-in", keys.private, "-pubout", "-out", keys.public)
    else:
        key = Ed25519PrivateKey.generate()
        plain = form.PrivateFormat.PKCS8, form.NoEncryption()
        keys.private.write_bytes(key.private_bytes(form.Encoding.PEM, *plain))
        spki = form.PublicFormat.SubjectPublicKeyInfo
        keys.public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, spki))
    os.chmod(keys.private, 0o600)
    return keys
