"""Virtual environments with other releases of pytest and of Python, made once and kept in .cache of the checkout."""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "environments"
WITH = ("hatchling>=1.27", "editables>=0.5", "pytest-xdist>=3.6", "filelock>=3.30", "rich>=13.7", "pluggy>=1.5")


class UnavailableError(Exception):
    """The environment does not exist and cannot be made here."""


@functools.cache
def pythons():
    """Return the interpreters of this machine, 3.11 to 3.14, by version: the newest of each that can make a venv."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    interpreters = {here: sys.executable}
    for version in {"3.11", "3.12", "3.13", "3.14"} - {here}:
        kept = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
        candidates = [*kept, shutil.which(f"python{version}"), f"/usr/bin/python{version}"]
        if usable := [pair for path in candidates if path and os.path.exists(path) for pair in _usable(path, version)]:
            interpreters[version] = max(usable)[1]
    return dict(sorted(interpreters.items()))


def _usable(path, version):
    """Yield the third number of an interpreter's version, and its path, if it has `version` and can make a venv."""
    script = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], sys.version_info[2], sys.executable)"
    done = subprocess.run([path, "-I", "-c", script], capture_output=True, text=True, check=False)
    words = done.stdout.strip().split(" ", 2)
    if words[0] == version:
        yield int(words[1]), words[2]


def environment(python, requirement):
    """Return the interpreter of a venv of `python` with this pytest and this checkout. Raises UnavailableError."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = hashlib.sha256(f"{python} {requirement} {ROOT} {WITH} {project}".encode()).hexdigest()[:16]
    directory = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{name}.lock"):
        if not (directory / "complete").exists():
            shutil.rmtree(directory, ignore_errors=True)
            _make(directory, python, requirement)
            (directory / "complete").touch()
    return str(directory / "bin" / "python")


def _make(directory, python, requirement):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
    pip = [directory / "bin" / "python", "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    patience = ["--no-input", "--retries", "0", "--timeout", "15"]
    for words in (
        [python, "-I", "-m", "venv", directory],
        [*pip, *patience, requirement, *WITH],
        [*pip, *patience, "--no-deps", "--no-build-isolation", "--editable", ROOT],
    ):
        done = subprocess.run(list(map(str, words)), env=clean, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:] or [f"exit {done.returncode}"]
            raise UnavailableError(f"{requirement} for {python} cannot be installed: {last[0]}")
