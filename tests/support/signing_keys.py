"""Ed25519 keys in files, made by `openssl`, or by `cryptography` where that is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pipeline_bench import ROOT

from runner.record.seal import SIGNING_VARIABLE, read_pem

if TYPE_CHECKING:
    from pathlib import Path

    from runner.record.signatures import PublicKey

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(not (OPENSSL and shutil.which("jq")), reason="openssl or jq is not installed")


class KeyPair(NamedTuple):
    private: Path
    public: Path

    @property
    def id(self) -> str:
        return self.key.id

    @property
    def key(self) -> PublicKey:
        return read_pem(str(self.public), "public key")

    @property
    def env(self) -> dict[str, str]:
        return {SIGNING_VARIABLE: str(self.private)}

    @property
    def words(self) -> tuple[str, str]:
        """The option of `verify` for this public key."""
        return ("--public-key", str(self.public))


def openssl(*words: object) -> str:
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True).stdout


def shell_blocks(page: str) -> list[str]:
    """The shell commands that a page of the docs shows."""
    return re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


def run_shell(text: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", text], cwd=cwd, capture_output=True, text=True, check=False)


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
