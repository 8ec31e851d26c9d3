"""What a sealed stage sees: the steps that make its view, which the launcher's child takes (see `view`).

All that is below root and the workspace comes from one writable directory, in which inputs and code are bound one by
one. Elsewhere everything is as it is, but some directories are empty but for what the stage needs there.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from runner.paths import upward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Source = tuple[str, str]  # the kind of a step, and its source
    Step = tuple[str, str, str]  # and a path in the view

ABSENT = ("/home", "/media", "/mnt", "/root", "/run", "/srv")  # what is in these is not there
TEMPORARY = "/tmp"  # a directory of the attempt
INTERPRETER = ("bin", "lib", "lib64", "pyvenv.cfg")  # what a Python needs of its prefix
_MOST_LINKS = 40  # on the way to one file, path_resolution(7)


class Shown(NamedTuple):
    """Entries of another `root` that a view shows besides what is declared. It looks the same there as at its own root.

    A directory is shown whole and read-only, or writable if it is empty. No entry may be declared, nor lie above or
    below what is.
    """

    root: str
    entries: Sequence[str]


class Contents:
    """What a view shows: `ours`, by path relative to root, and the rest by real path."""

    def __init__(self, root: str, workspace: str, shown: Shown | None = None) -> None:
        shown = shown or Shown(root, ())
        self._places = {root, workspace, shown.root}
        bases = {*map(os.path.realpath, self._places)}
        self.bases = sorted(bases, key=len, reverse=True)  # if one lies in the other, the inner one first
        self._hidden: dict[str, Source] = {}
        self._rest: dict[str, Source] = {}
        self.ours: dict[str, Source] = {}
        for entry in shown.entries:
            path = os.path.join(shown.root, entry)
            if os.path.islink(path):
                self.ours[entry] = "link", os.readlink(path)
            else:
                self.ours[entry] = ("room", "") if _is_empty(path) else ("read", path)

    def hide(self, home: str, temporary: str) -> None:
        """Hide the directories of others. `temporary` is in place of /tmp; HOME and others are empty and in memory.

        Show the links on the way to root and workspace, and the interpreter.
        """
        for directory in ABSENT:
            self._hide(directory, "empty", "")
        self._hide(TEMPORARY, "write", temporary)
        for directory in ("/dev/shm", "/var/tmp", home):
            self._hide(directory, "own", "")
        for directory in self._places:
            self._show_links(directory)
        for prefix in (sys.prefix, sys.base_prefix):
            self._show_prefix(prefix, INTERPRETER)
        self.show_program(sys.executable)

    def _hide(self, directory: str, kind: str, source: str) -> None:
        """Hide what is in a directory, unless it is root, or is missing where none can be made."""
        real = self._show_links(directory)
        if real in (*self.bases, "/"):
            return
        if any(real.startswith(f"{base}/") for base in self.bases):
            self._put(real, "room", "")
        elif os.path.isdir(real) or any(real.startswith(f"{hidden}/") for hidden in self._hidden):
            self._hidden[real] = kind, source

    def show(self, path: str) -> None:
        """Show a file or directory at its path, and at its real path, where it would not be seen without a step."""
        real = self._show_links(path)
        self._put(real, "read", real)

    def _show_links(self, path: str) -> str:
        """Show the symbolic links on the way to a path; return the real path."""
        real, links = _resolve(path)
        for at, text in links:
            self._put(at, "link", text)
        return real

    def show_program(self, path: str) -> None:
        """Show a program, and what is installed with it: the directory above its `bin`, or no more than that `bin`."""
        real, links = _resolve(path)
        for place in (*(at for at, _ in links), real):
            directory = os.path.dirname(place)
            if os.path.basename(directory) == "bin" and os.path.dirname(directory) not in self.bases:
                self._show_prefix(os.path.dirname(directory), ("bin",))
        self.show(path)

    def show_tools(self, prefix: str) -> None:
        """Show an environment of tools, and what its Python is installed in, if that is a link to another one."""
        self._show_prefix(prefix, INTERPRETER)
        if os.path.exists(python := f"{prefix}/bin/python"):
            self.show_program(python)
            self._show_prefix(os.path.dirname(os.path.dirname(os.path.realpath(python))), INTERPRETER)

    def _show_prefix(self, prefix: str, parts: tuple[str, ...]) -> None:
        """Show what is installed in a directory. If that is root, HOME or hidden, show these parts of it."""
        is_apart = os.path.realpath(prefix) in (*self.bases, *self._hidden, "/")
        for path in (os.path.join(prefix, part) for part in parts) if is_apart else (prefix,):
            if os.path.exists(path):
                self.show(path)

    def covered(self) -> str | None:
        """Return one of `ours` that nobody would see, because the view shows all of them `again` in its place."""
        *inner, base = self.bases
        places = [other.removeprefix(f"{base}/") for other in inner]
        return next((path for path in self.ours if not {*upward(path, "")}.isdisjoint(places)), None)

    def steps(self, writable: str, outputs: Iterable[str]) -> Iterator[Step]:
        """Yield the steps, each after those for the directories above it.

        `writable` is the directory to show in place of root, and `outputs` are the paths in it of what the stage makes.
        """
        *inner, base = self.bases
        yield from _in_order(self._hidden | self._rest)
        yield "write", writable, base
        needed = {above for path, (kind, _) in self.ours.items() if kind != "link" for above in upward(path, "")}
        needed |= {above for path in outputs for above in upward(path, "")}
        ours = {path: source for path, source in self.ours.items() if source[0] != "link" or path not in needed}
        yield from ((kind, source, f"{base}/{path}") for kind, source, path in _in_order(ours))
        for other in inner:
            yield "again", base, other

    def _put(self, path: str, kind: str, source: str) -> None:
        for base in self.bases:
            if path.startswith(f"{base}/"):
                self.ours.setdefault(path.removeprefix(f"{base}/"), (kind, source))
                return
        if any(path.startswith(f"{hidden}/") for hidden in self._hidden):
            self._rest.setdefault(path, (kind, source))


def _in_order(sources: dict[str, Source]) -> Iterator[Step]:
    """Yield steps by path, without what a directory that is shown whole has anyway."""
    whole: set[str] = set()
    for path in sorted(sources):
        kind, source = sources[path]
        if kind == "read":
            if whole.isdisjoint(upward(path, "")):
                yield kind, source, path
            whole.add(path)
        elif kind not in ("link", "room") or whole.isdisjoint(upward(path, "")):
            yield kind, source, path


def _is_empty(path: str) -> bool:
    """Return whether this is a directory that has nothing. False if it cannot be listed."""
    try:
        return not os.listdir(path)
    except OSError:
        return False


def _resolve(path: str) -> tuple[str, list[Source]]:
    """Return the real path of an absolute path, and the links on the way: their paths and what they say."""
    links: list[Source] = []
    at, rest = "", path.split("/")
    while rest:
        name = rest.pop(0)
        if name == "..":
            at = os.path.dirname(at)
        elif name not in ("", "."):
            below = f"{at}/{name}"
            if os.path.islink(below) and len(links) < _MOST_LINKS:
                links.append((below, os.readlink(below)))
                rest[:0] = links[-1][1].split("/")
                at = "" if links[-1][1].startswith("/") else at
            else:
                at = below
    return at or "/", links
