"""Globs over relative paths: `*`, `?`, `[...]` stay within one name, `**` crosses directories, nothing hidden matches.

Pure. A file that is literally named like a pattern comes before the pattern's matches: `OutputIndex` sees to that for
outputs, the planner for files on disk.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from runner.spec.locations import parents, starting_with

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.spec.model import Stage

_MAGIC = re.compile(r"[*?]|\[(?!!\])!?[^/][^\]/]*\]")
_NOT_HIDDEN = r"(?!\.)"
_ANY_DEPTH = rf"(?:{_NOT_HIDDEN}[^/]+/)*"


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


@lru_cache(maxsize=4096)
def compile_glob_above(pattern: str) -> re.Pattern[str]:
    """The expression of directories (ending in `/`) somewhere below which a file could match `pattern`."""
    names = pattern.split("/")
    if names[-1] != "**":
        del names[-1]
    expression = ""
    for name in reversed(names):
        # Each name may be the last one that the directory has, so what follows it is optional.
        expression = f"(?:{_ANY_DEPTH}{expression})" if name == "**" else f"(?:{_name_expression(name)}/{expression})?"
    return re.compile(expression + r"\Z", re.DOTALL)


def hidden_name(pattern: str) -> str | None:
    """The name in `pattern`, from its first wildcard on, that begins with a dot and so can never match."""
    start = literal_directory(pattern)
    for name in pattern[len(start) :].split("/"):
        if name.startswith("."):
            return name
    return None


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


class OutputIndex:
    """All outputs of a pipeline, and which of them an input means. `producers`: output path -> (stage, output name).

    The first to declare an output is its producer. Outputs are kept sorted, so that a glob or a directory looks only at
    those that begin with its literal prefix.
    """

    def __init__(self, stages: Iterable[Stage]) -> None:
        self.producers: dict[str, tuple[str, str]] = {}
        for stage in stages:
            for name, path in stage.outputs.items():
                self.producers.setdefault(path, (stage.name, name))
        self._sorted = sorted(self.producers)
        self._directories = {path for path in self._sorted if path.endswith("/")}
        self._known: dict[str, tuple[tuple[str, str], ...]] = {}

    def matches(self, pattern: str) -> tuple[tuple[str, str], ...]:
        """Return the (producer, path) of each output that an input means.

        That is the output of this very path, or else what lies in, over or matches it.
        """
        if pattern in self.producers:
            return ((self.producers[pattern][0], pattern),)
        if pattern not in self._known:
            self._known[pattern] = tuple((self.producers[path][0], path) for path in self._matches(pattern))
        return self._known[pattern]

    def _matches(self, pattern: str) -> Iterator[str]:
        if is_glob(pattern):
            prefix = literal_prefix(pattern)
            # Outputs over the literal part are not among those that begin with it, except the one that just is it.
            yield from (path for path in self._enclosing(literal_directory(pattern) + "/x") if path != prefix)
            for path in starting_with(self._sorted, prefix):
                if self._may_match(path, pattern):
                    yield path
        else:
            yield from self._enclosing(pattern)
            if pattern.endswith("/"):
                yield from starting_with(self._sorted, pattern)

    def _may_match(self, path: str, pattern: str) -> bool:
        """Whether the output is, lies in, or may hold what the glob matches; one ending in `/` matches directories."""
        if path in self._directories and compile_glob_above(pattern).match(path):
            return True
        matches = compile_glob(pattern).match
        if pattern.endswith("/"):
            return any(matches(f"{parent}/") for parent in parents(path))
        return path not in self._directories and matches(path) is not None

    def _enclosing(self, path: str) -> Iterator[str]:
        if self._directories:
            yield from (parent + "/" for parent in parents(path) if parent + "/" in self._directories)
