"""The environment of a process that goes on as another program than it was started as.

Loaded by the launcher program only.
"""

from __future__ import annotations

import os
import sys
import time

UNLIKE = (b"PYTHON", b"LC_", b"LANG", b"LD_", b"GLIBC_", b"MALLOC_", b"COVERAGE_")
"""What an interpreter, its libraries or its .pth files heed when it starts: with another value a new one is started."""


def heeded(env: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return what of it an interpreter heeds that starts in it."""
    looks_home = getattr(sys.modules.get("site"), "ENABLE_USER_SITE", True)
    return {name: value for name, value in env.items() if name.startswith(UNLIKE) or (name == b"HOME" and looks_home)}


def change_environment(changed: dict[bytes, bytes]) -> None:
    """Set these, which are there already with other values."""
    environment().update(changed)
    for name, value in changed.items():
        os.putenv(name, value)
    if b"TZ" in changed and hasattr(time, "tzset"):
        time.tzset()


def set_environment(env: dict[bytes, bytes]) -> None:
    """Set all of it, in its order. By the calls below `os.environ`, whose own ways take as long as all the rest."""
    zone = os.environb.get(b"TZ")
    for name in list(os.environb):
        os.unsetenv(name)
    kept = environment()
    kept.clear()
    kept.update(env)
    for name, value in env.items():
        os.putenv(name, value)
    if env.get(b"TZ") != zone and hasattr(time, "tzset"):
        time.tzset()


def environment() -> dict[bytes, bytes]:
    """Return what `os.environ` and `os.environb` have in common."""
    return os.environb._data  # type: ignore[attr-defined,no-any-return] # noqa: SLF001
