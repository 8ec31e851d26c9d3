"""Both implementations give the same digests, and OpenSSL is loaded only for much content."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runner.hashing import LITTLE, hasher, sha256_of

HALF = LITTLE // 2
RUNNER = Path(__file__).resolve().parents[2] / "runner"


@pytest.mark.parametrize("size", [0, 1, 64, LITTLE, 3 * LITTLE])
def test_digests_are_sha_256_for_little_and_for_much_content(size):
    content = b"x" * size
    assert sha256_of(content) == hashlib.sha256(content).hexdigest()
    digest = hasher(b"a", more=size)
    digest.update(content)
    assert digest.digest() == hashlib.sha256(b"a" + content).digest()


@pytest.mark.parametrize(
    ("code", "loads"),
    [
        ("", False),
        (f"hasher(b'x' * {HALF}); sha256_of(b'x' * {HALF})", False),
        (f"hasher(b'x' * {HALF}); sha256_of(b'x' * {HALF + 1})", True),
        (f"hasher(more={LITTLE})", False),
        (f"hasher(more={LITTLE + 1})", True),
        (f"[sha256_of(b'x' * 1024) for _ in range({LITTLE} // 1024)]", False),
        (f"[sha256_of(b'x' * 1024) for _ in range({LITTLE} // 1024 + 1)]", True),
        ("quicken()", True),
    ],
)
def test_openssl_is_loaded_once_there_is_much_to_hash(code, loads):
    program = f"import sys\nfrom runner.hashing import *\n{code}\nprint('_hashlib' in sys.modules, sha256_of(b''))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.split() == [str(loads), hashlib.sha256(b"").hexdigest()]


def test_no_other_module_loads_openssl():
    loads = re.compile(r"^\s*(import|from) hashlib\b", re.MULTILINE)
    assert [path.name for path in RUNNER.rglob("*.py") if loads.search(path.read_text())] == ["hashing.py"]
