"""The git commit that a directory is at, read without git: that may be missing, and takes milliseconds to start."""

from __future__ import annotations

import os
import re

from runner.errors import StateError
from runner.paths import upward
from runner.reading import read_small

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}").fullmatch  # SHA-1 or SHA-256
_MOST = 1 << 24  # bytes of a file; packed-refs has a line for each reference


def commit_of(directory: str) -> str | None:
    """Return the commit of the checkout around a directory. None outside one, before its first commit, or if broken."""
    places = (os.path.join(above, ".git") for above in upward(directory, "/"))
    if (git := next(filter(os.path.lexists, places), None)) is None:
        return None
    try:
        if os.path.isfile(git):  # a worktree or a submodule
            git = os.path.join(os.path.dirname(git), _text(git).removeprefix("gitdir: "))
        shared = os.path.join(git, "commondir")
        common = os.path.join(git, _text(shared)) if os.path.lexists(shared) else git
        value = _text(os.path.join(git, "HEAD"))
        if value.startswith("ref: refs/") and ".." not in value:
            value = _reference(common, value.removeprefix("ref: "))
    except (OSError, StateError, ValueError):
        return None
    return value if _HASH(value) else None


def _reference(common: str, name: str) -> str:
    """Return the value of a branch, "" if it has none. A loose one is newer than a packed one."""
    if os.path.isfile(path := os.path.join(common, name)):
        return _text(path)
    packed = _text(os.path.join(common, "packed-refs"))
    return next((line[: -len(name) - 1] for line in packed.split("\n") if line.endswith(f" {name}")), "")


def _text(path: str) -> str:
    return read_small(path, _MOST).decode().rstrip("\n")
