"""Paths as a spec writes them, brought to one spelling. Pure: text only, so `..` is taken by its letters."""

from __future__ import annotations

import os.path


def normal(path: str) -> str:
    """Return `path` without `//`, `.` and `..` in its middle; what names a directory ends in `/`."""
    if "//" not in path and "/." not in path and path[0] not in "./":
        return path
    is_directory = path.endswith(("/", "/.", "/..")) or path in {".", ".."}
    plain = os.path.normpath(path)
    plain = "/" + plain.lstrip("/") if plain.startswith("/") else plain
    return plain + "/" if is_directory and plain != "/" else plain


def from_root(path: str, root: str) -> str:
    """Return `path`, which may be absolute, in its one spelling relative to `root`; it may begin with `../`."""
    plain = normal(path)
    if not plain.startswith(("/", "../")):
        return plain
    relative = os.path.relpath(os.path.join(root, plain), root)
    return relative + "/" if plain.endswith("/") else relative


def is_below(path: str) -> bool:
    """Whether a normal path is strictly below what it is relative to."""
    return not path.startswith(("/", "../")) and path != "./"


def bare(path: str) -> str:
    """Return a path without the `/` that says it is a directory."""
    return path.removesuffix("/")
