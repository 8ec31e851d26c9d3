"""The environment of this process, which goes on as a stage that is to have another one.

By the calls below `os.environ`, whose own ways take as long as all the rest. Loaded by the launcher program only.
"""

from __future__ import annotations

import os
import time


def current() -> dict[bytes, bytes]:
    """Return what `os.environ` and `os.environb` have in common."""
    return os.environb._data  # type: ignore[attr-defined,no-any-return] # noqa: SLF001 - what both show


def change(values: dict[bytes, bytes]) -> None:
    """Set these, which are there already with other values."""
    current().update(values)
    _put(values)
    if b"TZ" in values and hasattr(time, "tzset"):
        time.tzset()


def replace(env: dict[bytes, bytes]) -> None:
    """Set all of it, in its order; where the names are those that are there, only what has another value."""
    there = current()
    if [*env] == [*there]:
        change({name: value for name, value in env.items() if value != there[name]})
        return
    zone = os.environb.get(b"TZ")
    for name in list(os.environb):
        os.unsetenv(name)
    there.clear()
    there.update(env)
    _put(env)
    if env.get(b"TZ") != zone and hasattr(time, "tzset"):
        time.tzset()


def _put(values: dict[bytes, bytes]) -> None:
    for name, value in values.items():
        os.putenv(name, value)
