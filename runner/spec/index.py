"""Declared outputs, found by path: which of them a stage's input means. Linear in their number however they lie.

Outputs are kept sorted, so that a glob or a directory looks only at those that begin with its literal prefix.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from runner.spec.globs import compile_glob, compile_glob_above, is_glob, literal_directory, literal_prefix
from runner.spec.locations import bare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from runner.spec.model import Stage


class OutputIndex:
    """All outputs of a pipeline. `producers`: output path -> (stage, output name), the first to declare it."""

    def __init__(self, stages: Iterable[Stage]) -> None:
        self.producers: dict[str, tuple[str, str]] = {}
        for stage in stages:
            for name, path in stage.outputs.items():
                self.producers.setdefault(path, (stage.name, name))
        self._sorted = sorted(self.producers)
        self._directories = {path for path in self._sorted if path.endswith("/")}
        self._known: dict[str, tuple[str, ...]] = {}

    def matches(self, pattern: str) -> tuple[str, ...]:
        """Return the outputs that an input means: itself, before anything else, or what lies in, over or matches it."""
        if pattern in self.producers:
            return (pattern,)
        found = self._known.get(pattern)
        if found is None:
            found = self._known[pattern] = tuple(self._matches(pattern))
        return found

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
