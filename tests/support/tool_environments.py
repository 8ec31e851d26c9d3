"""Environments of tools: real venvs with small packages, and conda prefixes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from environments import pythons

if TYPE_CHECKING:
    from collections.abc import Sequence

CONDA_TOOL = str(Path(__file__).with_name("conda_prefix.py"))
# A build backend without dependencies, so that pip installs a directory without an index.
BACKEND = """
import base64, hashlib, os, zipfile

NAME, VERSION = {name!r}, {version!r}
INFO = f"{{NAME}}-{{VERSION}}.dist-info"
META = {{
    f"{{INFO}}/METADATA": f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n",
    f"{{INFO}}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    f"{{INFO}}/entry_points.txt": f"[console_scripts]\\n{{NAME}} = {{NAME}}:main\\n",
}}


def build_wheel(directory, settings=None, metadata=None):
    with open(f"{{NAME}}.py") as file:
        return _wheel(directory, {{f"{{NAME}}.py": file.read()}})


def build_editable(directory, settings=None, metadata=None):
    return _wheel(directory, {{f"{{NAME}}.pth": os.getcwd() + "\\n"}})


def _wheel(directory, files):
    wheel = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as archive:
        record = ""
        for path, text in (files | META).items():
            archive.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{{path}},sha256={{digest}},{{len(text)}}\\n"
        archive.writestr(f"{{INFO}}/RECORD", record + f"{{INFO}}/RECORD,,\\n")
    return wheel
"""


def venv(prefix: Path, python: str = sys.executable) -> Path:
    """Make a venv without pip, which takes a third of the time. Packages come by the pip of the tests."""
    subprocess.run([python, "-m", "venv", "--without-pip", prefix], check=True, capture_output=True)
    return prefix


def other_python() -> str:
    """Return an interpreter of another version than that of the tests, if there is one."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    return next((path for version, path in pythons().items() if version != here), sys.executable)


def old_python() -> str | None:
    """Return an interpreter that is too old for the SDK."""
    found = [path for old in ("3.8", "3.9", "3.10") for path in Path.home().glob(f".pyenv/versions/{old}.*/bin/python")]
    return str(found[-1]) if found else next(filter(None, map(shutil.which, ("python3.10", "python3.9"))), None)


def install(prefix: Path, source: Path, *options: str) -> None:
    """Install a directory into an environment."""
    pip_install(source, *options, into=["--python", str(prefix / "bin/python")])


def pip_install(source: Path, *options: str, into: Sequence[str] = ()) -> None:
    """Install a directory by pip, without an index."""
    words = ["install", "--no-index", "--no-deps", "--force-reinstall", "--no-compile", *options, str(source)]
    pip = [sys.executable, "-m", "pip", *into, "--disable-pip-version-check", *words]
    subprocess.run(pip, check=True, capture_output=True)


def project(directory: Path, name: str, version: str) -> Path:
    """Write a project with one module, which has a VERSION, and a script that prints it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.py").write_text(f"VERSION = {version!r}\n\n\ndef main():\n    print(VERSION)\n")
    (directory / "backend.py").write_text(BACKEND.format(name=name, version=version))
    build = 'requires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (directory / "pyproject.toml").write_text(f"[build-system]\n{build}")
    return directory


def conda_package(prefix: Path, name: str, version: str, files: dict[str, str] | None = None) -> None:
    """Install a package as conda does: its files, of which those in `bin` are programs, and a list of them."""
    for path, text in (files or {}).items():
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text)
        (prefix / path).chmod(0o755 if path.startswith("bin/") else 0o644)
    (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
    for old in (prefix / "conda-meta").glob(f"{name}-[0-9]*.json"):
        old.unlink()
    meta = {"name": name, "version": version, "build": "h1_0", "files": [*(files or {})]}
    (prefix / f"conda-meta/{name}-{version}-h1_0.json").write_text(json.dumps(meta, indent=2))


def real_conda_package(directory: Path, prefix: Path, version: str) -> None:
    """Install the package `tool` of a real conda tool, with a program and a Python distribution."""
    words = [sys.executable, CONDA_TOOL, str(directory), str(prefix), version]
    subprocess.run(words, check=True, capture_output=True)


def site_of(prefix: Path) -> Path:
    """Return the directory of a venv's packages."""
    return next(path for path in (prefix / "lib").glob("python*/site-packages") if not path.parent.is_symlink())
