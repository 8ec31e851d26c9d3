"""Paths as a spec writes them: their one spelling, and globs. All of it is text: `..` is taken by its letters.

In globs `*`, `?` and `[...]` stay within one name, `**` crosses directories, and nothing hidden matches. A file that
is literally named like a pattern comes before the pattern's matches: `OutputIndex` sees to that for outputs,
`InputResolver` for files on disk.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGIC = re.compile(r"[*?]|\[(?!!\])!?[^/][^\]/]*\]")
_NOT_HIDDEN = r"(?!\.)"
_ANY_DEPTH = rf"(?:{_NOT_HIDDEN}[^/]+/)*"


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


def entries_of(directory: str) -> list[str]:
    """Return the names in a directory, for hints: sorted, and none if it cannot be listed."""
    try:
        return sorted(os.listdir(directory))
    except (OSError, ValueError):
        return []


def ready_made_directory() -> str:
    """Return where the stages that come with offpipe are: inside an installed package, or beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "stages")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "stages")


def is_glob(path: str) -> bool:
    """Whether `path` has a wildcard; a `[` that nothing closes within its name is an ordinary character."""
    return ("*" in path or "?" in path or "[" in path) and _MAGIC.search(path) is not None


def literal_prefix(pattern: str) -> str:
    """The characters before the first wildcard: every match begins with them."""
    wildcard = _MAGIC.search(pattern)
    return pattern[: wildcard.start()] if wildcard else pattern


def literal_directory(pattern: str) -> str:
    """The directory to list for `pattern`: all before the first wildcard's name, without a final `/`; "" is root."""
    return literal_prefix(pattern).rpartition("/")[0]


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """The expression that relative file paths matching `pattern` match whole (with `match`, since it is anchored)."""
    names = pattern.split("/")
    parts = []
    for position, name in enumerate(names):
        is_last = position == len(names) - 1
        if name == "**":
            parts.append(f"{_ANY_DEPTH}{_NOT_HIDDEN}[^/]+" if is_last else _ANY_DEPTH)
        else:
            parts.append(_name_expression(name) + ("" if is_last else "/"))
    return re.compile("".join(parts) + r"\Z", re.DOTALL)


def may_match_below(pattern: str, directory: str) -> bool:
    """Whether a file somewhere below `directory` could match: some beginning of the pattern matches the directory."""
    names = pattern.split("/")
    ends = range(1, len(names) + (names[-1] == "**"))
    return any(compile_glob("/".join(names[:end])).match(directory) for end in ends)


def _name_expression(name: str) -> str:
    """One name of a pattern; a name with wildcards does not match hidden ones, a literal one is taken at its word."""
    pieces = [""]  # what stands between the stars
    start = 0
    for wildcard in _MAGIC.finditer(name):
        pieces[-1] += re.escape(name[start : wildcard.start()])
        if wildcard.group() == "*":
            pieces.append("")
        else:
            pieces[-1] += _wildcard_expression(wildcard.group())
        start = wildcard.end()
    pieces[-1] += re.escape(name[start:])
    if len(pieces) == 1:
        return (_NOT_HIDDEN if start else "") + pieces[0]
    # Atomic, as in fnmatch: the first place where a middle piece fits will do, so many stars cost no backtracking.
    middle = "".join(f"(?>[^/]*?{piece})" for piece in pieces[1:-1] if piece)
    return f"{_NOT_HIDDEN}{pieces[0]}{middle}[^/]*{pieces[-1]}"


def _wildcard_expression(wildcard: str) -> str:
    if wildcard == "?":
        return "[^/]"
    negated = wildcard.startswith("[!")
    members = wildcard[2 if negated else 1 : -1]
    escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", members)
    try:
        re.compile(f"[{escaped}]")
    except re.error:
        escaped = re.escape(members)  # a range such as [z-a]: its characters, since no file lies between
    return f"(?!/)[{'^' if negated else ''}{escaped}]"
