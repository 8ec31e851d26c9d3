"""Paths as a spec writes them, brought to one spelling. That is text only: `..` is taken by its letters."""

from __future__ import annotations

import os.path
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def normal(path: str) -> str:
    """Return `path` without `//`, `.` and `..` in its middle; a directory's path ends in `/`."""
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
    """Return a path without the `/` that marks a directory."""
    return path.removesuffix("/")


def stem(path: str) -> str:
    """Return the name of an input or output in a list: its file name without a directory and the last extension."""
    return os.path.splitext(os.path.basename(path.rstrip("/")))[0]


def parents(path: str) -> Iterator[str]:
    """Yield the directories over a relative path, outermost first, without `/`: `a` and `a/b` for `a/b/c`."""
    plain = bare(path)
    end = plain.find("/")
    while end != -1:
        yield plain[:end]
        end = plain.find("/", end + 1)


def starting_with(ordered: list[str], prefix: str) -> Iterator[str]:
    """Yield the members of a sorted list that begin with `prefix`."""
    position = bisect_left(ordered, prefix)
    while position < len(ordered) and ordered[position].startswith(prefix):
        yield ordered[position]
        position += 1


def ready_made_directory() -> str:
    """Return where the stages that come with offpipe are: inside an installed package, or beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "stages")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "stages")
