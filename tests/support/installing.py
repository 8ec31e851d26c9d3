"""Builds and installs the distribution as users do: from a copy of the checkout, in its own environment, offline."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MISSING = [name for name in ("build", "hatchling", "pip") if importlib.util.find_spec(name) is None]


def run(*command: str | os.PathLike[str], cwd: Path, fails: bool = False, **settings: str) -> str:
    """Run a command that must succeed (or fail: `fails`), without the caller's PYTHON* and PIP_*; return its stdout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(
        list(map(os.fspath, command)), cwd=cwd, env=environment | settings, capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout


def copy_checkout(to: Path) -> Path:
    """Copy the checkout without what runs and tools left in it."""
    ignored = shutil.ignore_patterns(
        ".git", ".venv", ".cache", ".*_cache", "__pycache__", "state", "locks", "work", "output", "dist"
    )
    shutil.copytree(ROOT, to, ignore=ignored)
    return to


def install(wheel: Path, venv: Path) -> Path:
    """Install a wheel into a fresh environment that uses the tests' dependencies; return its bin/."""
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    python = venv / "bin" / "python"
    purelib = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv).strip())
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", wheel, cwd=venv)
    # Python reads no .pth files of a directory that a .pth file adds, so it does not find the checkout itself.
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin"
