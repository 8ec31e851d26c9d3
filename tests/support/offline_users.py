"""Users for the runner: root or one without rights, with namespaces or where none can be made."""

from __future__ import annotations

import functools
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_bench import ROOT, lasting_directory

DENY = Path(__file__).with_name("offline_deny.py")
SOMEBODY = 54321  # an id that no process of the machine has
PACKAGES = ("pluggy",)  # what a run without a terminal imports besides the runner itself
NAMESPACES = (
    "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\nif c.unshare(0x7C020000): exit(ctypes.get_errno())"
)
LANDLOCK = "import ctypes; exit(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1)"


class UnavailableError(Exception):
    """This machine lacks what a test needs; the text is the reason for a skip."""


@dataclass(frozen=True)
class User:
    """`prefix` stands before a command that this user runs; with `env` and `cwd`, Python finds the runner."""

    name: str
    uid: int
    prefix: tuple[str, ...]
    interpreter: str
    cwd: str = str(ROOT)
    env: dict[str, str] = field(default_factory=dict)

    def below(self, level: str) -> tuple[str, ...]:
        """The words before `PipelineBench`'s own. They replace the interpreter that those begin with."""
        denied = [self.interpreter, self.readable(DENY)] if level == "filter" else []
        return (*self.prefix, "sh", "-c", f'exec {shlex.join([*denied, self.interpreter])} "$@"')

    def readable(self, path: Path) -> str:
        return str(Path(self.cwd) / path.name) if self.prefix else str(path)

    def owns(self, *paths: Path) -> None:
        for path in paths:
            os.chown(path, self.uid, self.uid if self.prefix else -1)


def user(name: str, place: Path) -> User:
    """Return root, or a user without rights and with a copy of the runner below `place`. Raises UnavailableError."""
    if name == "root":
        if os.getuid():
            raise UnavailableError("these tests do not run as root")
        return User(name, 0, (), sys.executable)
    if os.getuid():
        return User(name, os.getuid(), (), sys.executable)
    if shutil.which("setpriv") is None:
        raise UnavailableError("no setpriv here")
    prefix = ("setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups")
    template, interpreter = _template(prefix)
    installed = shutil.copytree(template, place / "installed", copy_function=os.link)
    env = {"PYTHONPATH": str(installed), "HOME": str(place / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    return User(name, SOMEBODY, prefix, interpreter, str(installed), env)


@functools.cache
def _template(prefix: tuple[str, ...]) -> tuple[Path, str]:
    """Return a compiled copy of the runner that everybody can read, and an interpreter that this user can start."""
    template = lasting_directory("installed-")
    for name in ("runner", *PACKAGES):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        source = Path(spec.origin).parent
        shutil.copytree(source, template / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(DENY, template)
    subprocess.run(["chmod", "-R", "a+rX", template], check=True)
    interpreter = _interpreter(prefix, {"PYTHONPATH": str(template)})
    subprocess.run([interpreter, "-m", "compileall", "-q", template], check=True, umask=0o22)
    return template, interpreter


def _interpreter(prefix: tuple[str, ...], env: dict[str, str]) -> str:
    """Return a Python for the runner that this user can start: ours may be in a home that only root can enter."""
    system = sorted(str(path) for folder in ("/usr/local/bin", "/usr/bin") for path in Path(folder).glob("python3.??"))
    for candidate in (sys.executable, *system):
        check = 'exec "$0" -Bc "import sys, runner, pluggy; exit(sys.version_info < (3, 11))"'
        if _answer([*prefix, "sh", "-c", check, candidate], env) == 0:
            return candidate
    raise UnavailableError("no Python 3.11 that somebody without rights can start")


@functools.cache
def lacking(level: str, prefix: tuple[str, ...], interpreter: str) -> str:
    """Return why this user cannot reach this level, or an empty string."""
    if level == "kernel" and (number := _answer([*prefix, interpreter, "-c", NAMESPACES], {})):
        return f"no namespaces here: {os.strerror(number)}"
    if level == "filter" and _answer([*prefix, interpreter, "-c", LANDLOCK], {}):
        return "no Landlock here"
    return ""


def _answer(command: list[str], env: dict[str, str]) -> int:
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, check=False).returncode
