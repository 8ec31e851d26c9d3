"""What `repeat` varies around a stage that a launch alone cannot set.

A process in namespaces of its own varies some things: `enter`, and what it calls, run there, and never leave them. A
library that the programs of a stage preload varies others.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_offpipe.checks.case import Call, here
from pytest_offpipe.faults import namespace
from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.runs import PRELOAD
from runner.levels import RefusedError
from runner.sandbox import syscalls
from runner.sandbox.namespaces import CLONE_NEWUSER
from runner.sandbox.syscalls import MS_BIND

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

HOST_NAME = "offpipe-elsewhere"
PT_INTERP = 3  # linux/elf.h
_SOURCES = Path(namespace.__file__).parent  # of the libraries
_PROCESSORS = Path("/sys/devices/system/cpu")  # has files that glibc reads for os.cpu_count, getconf and nproc
_UNUSUAL = 0o027  # the owner keeps every right, so that a correct stage can read what it wrote


class Surroundings(contextlib.AbstractContextManager["Surroundings"]):
    """Makes calls where chosen things differ; keeps the process of the last choice."""

    def __init__(self, directory: str) -> None:
        """`directory`: where files for mounts may be made."""
        self._directory = directory
        self._names: frozenset[str] = frozenset()
        self._until = contextlib.ExitStack()
        self._call: Call = here

    def __exit__(self, *_: object) -> None:
        self._until.close()

    def call(self, different: Collection[str]) -> tuple[Call, dict[str, str]]:
        """Return what makes calls where the things among `different` differ, and why some could not be varied."""
        names = frozenset(different) & VARIED.keys()
        refused: dict[str, str] = {}
        if names != self._names:
            self._until.close()
            self._names, self._call = names, here
            if names:
                try:
                    self._call = self._until.enter_context(Confined()).call
                except RefusedError as error:
                    return here, dict.fromkeys(sorted(names), str(error))
                refused = self._call(enter, names, self._directory)
        return self._call, refused


def enter(names: Collection[str], directory: str) -> dict[str, str]:
    """Vary these in this process, and all that it starts. Return those that cannot be, with the reason."""
    refused = {}
    for name, vary in VARIED.items():
        if name in names:
            try:
                vary(directory)
            except (RefusedError, OSError) as error:
                refused[name] = str(error)
    return refused


def other_user() -> int | None:
    """Return the id of another user that this system knows by name: programs look the name up."""
    own = os.getuid()
    return next((user.pw_uid for user in pwd.getpwall() if user.pw_uid not in (own, 0)), None)


@cache
def other_language() -> str:
    """Return another UTF-8 locale than C, and not an English one if there is a choice.

    Raises RefusedError if none is installed.
    """
    try:
        listed = subprocess.run(["locale", "-a"], capture_output=True, check=False).stdout
    except OSError as error:
        raise RefusedError("running locale", error.errno or 0) from None
    names = [
        name
        for name in listed.decode(errors="replace").split()
        if name.lower().endswith(("utf8", "utf-8")) and not name.startswith("C.")
    ]
    if not names:
        raise RefusedError("no UTF-8 locale is installed but C.UTF-8", 0)
    return min(names, key=lambda name: (name.startswith("en"), name))


def library(name: str, directory: Path) -> str:
    """Return the path of the library that varies the `date` or the `entries` of directories for what preloads it.

    It is compiled once in `directory`. Raises RefusedError if it cannot be compiled or loaded.
    """
    made = directory / f"{name}.so"
    if {" ", ":"} & {*str(directory)}:
        raise RefusedError(f"{PRELOAD} takes no path with a space or a colon, as {directory}", 0)
    if not made.exists():
        new = directory / f"{name}.{os.getpid()}.so"
        _require_silence(["cc", "-O1", "-shared", "-fPIC", "-o", str(new), str(_SOURCES / f"{name}.c")], {})
        _require_silence(["true"], {PRELOAD: str(new)})  # where files may not be executed, the loader complains
        new.replace(made)
    return str(made)


def is_static(program: str) -> bool:
    """Whether a program is linked statically: an ELF file of 64 bits that names no loader (PT_INTERP), elf(5)."""
    with open(program, "rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\2":
            return False
        (begin,) = struct.unpack_from("=Q", header, 32)
        size, count = struct.unpack_from("=HH", header, 54)
        file.seek(begin)
        return all(struct.unpack_from("=I", file.read(size))[0] != PT_INTERP for _ in range(count))


def _require_silence(words: list[str], env: dict[str, str]) -> None:
    if shutil.which(words[0]) is None:
        raise RefusedError(f"there is no program {words[0]}", 0)
    result = subprocess.run(words, env=os.environ | env, capture_output=True, text=True, check=False)
    if result.returncode or result.stderr:
        raise RefusedError(f"{words[0]}: {result.stderr.strip() or result.returncode}", 0)


def _host(_: str) -> None:
    name = HOST_NAME.encode()
    syscalls.function(f"sethostname({HOST_NAME})", "sethostname", name, len(name))


def _processors(directory: str) -> None:
    """Show one processor, or two where there is one."""
    shown = Path(directory, "processors")
    shown.parent.mkdir(parents=True, exist_ok=True)
    shown.write_text("0\n" if (os.cpu_count() or 1) > 1 else "0-1\n", encoding="ascii")
    for name in ("online", "possible"):
        path = str(_PROCESSORS / name)
        syscalls.mount(f"mounting {path}", str(shown), path, None, MS_BIND)


def _umask(_: str) -> None:
    if os.umask(_UNUSUAL) == _UNUSUAL:
        os.umask(0o022)


def _user(_: str) -> None:
    """Appear as another user, who owns the same files. Programs that this process starts have no capabilities."""
    uid, gid = os.geteuid(), os.getegid()
    syscalls.function("unshare(user)", "unshare", CLONE_NEWUSER)
    for name, content in (("setgroups", "deny"), ("uid_map", f"{other_user()} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "wb", buffering=0) as file:
            file.write(content.encode())  # one write only, user_namespaces(7)


VARIED: dict[str, Callable[[str], None]] = {  # in an order in which each still may
    "host": _host,
    "online": _processors,
    "umask": _umask,
    "user": _user,
}
