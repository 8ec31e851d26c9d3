"""Finds the other tools: make, ninja and bwrap on PATH, the Python ones in virtual environments of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.timing import note
from benchmarks.tools import PEERS, Tool

if TYPE_CHECKING:
    from collections.abc import Sequence

FROM_PATH = ("make", "ninja", "bwrap")
INSTALLABLE = ("ninja", "doit", "snakemake", "dvc")


@dataclass
class Found:
    """The tools that there are; a line on each, or why it is left out."""

    tools: list[Tool] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offpipe-benchmarks"


def find(cache: Path, names: Sequence[str]) -> Found:
    """Find the named tools; install missing ones once, each in its own virtual environment below `cache`."""
    found = Found()
    for name in names:
        program = shutil.which(name) if name in FROM_PATH else None
        why = "not on PATH"
        if program is None and name in INSTALLABLE:
            program, why = _installed(cache / name, name)
        version = _version(program) if program else ""
        if program and version:
            found.tools.append(PEERS[name](name, program))
        found.versions[name] = version or f"left out: {why}"
    return found


def _installed(place: Path, name: str) -> tuple[str | None, str]:
    """Return the program in the environment at `place`, or None and the reason."""
    program = place / "bin" / name
    if not program.exists():
        note(f"installing {name}")
        shutil.rmtree(place, ignore_errors=True)
        try:
            venv.create(place, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return None, f"no virtual environment could be made: {error}"
        pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", name]
        ended = subprocess.run(pip, capture_output=True, text=True, check=False)
        note("")
        if ended.returncode:
            shutil.rmtree(place, ignore_errors=True)
            lines = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
            return None, f"it could not be installed ({lines[-1] if lines else 'pip failed'})"
    return str(program), "it does not start"


def _version(program: str) -> str:
    """Return the first line of `program --version`, and the Python version of the environment that it is in."""
    try:
        ended = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if ended.returncode or not ended.stdout:
        return ""
    version = ended.stdout.splitlines()[0].removeprefix("GNU Make ").strip()
    settings = Path(program).parent.parent / "pyvenv.cfg"
    lines = settings.read_text(encoding="utf-8").splitlines() if settings.exists() else []
    python = next((line.partition("=")[2].strip() for line in lines if line.startswith("version")), "")
    return f"{version}{f' (Python {python})' if python else ''}"
