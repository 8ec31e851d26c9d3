"""What a sealed attempt sees: the steps that make its view, which the launcher's child takes (sandbox/view.py).

All that is below root and the workspace comes from one writable directory, in which inputs and code are bound one by
one. Elsewhere everything is as it is, but some directories are empty but for what the stage needs there.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from runner.errors import Fault, OfflineError
from runner.paths import upward
from runner.plan.code.modules import OUR_DIRECTORIES
from runner.record import files
from runner.spec.globs import is_below

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.executor.job import Job
    from runner.record.views import View
    from runner.spec.model import Spec

    Source = tuple[str, str]  # the kind of a step, and its source
    Step = tuple[str, str, str]  # and a path in the view

ABSENT = ("/home", "/media", "/mnt", "/root", "/run", "/srv")  # what is in these is not there
TEMPORARY = "/tmp"  # a directory of the attempt
MOST_ENTRIES = 50_000
_MOST_LINKS = 40  # on the way to one file, path_resolution(7)


def seen_inputs(spec: Spec, job: Job) -> dict[str, list[str]]:
    """Return the absolute paths of each input in the view. An output of another stage is below root, too."""
    return {
        name: [os.path.normpath(f"{spec.root}/{job.seen_as(name, file.path)}") for file in found]
        for name, found in job.fingerprint.inputs.items()
    }


def view_steps(spec: Spec, job: Job, view: View, program: str, own: Sequence[str]) -> tuple[str, list[Step]]:
    """Return the mount point and the steps of the view of an attempt that starts `program`.

    `own`: files in the state directory that it may read. Makes the directories that are the attempt's own. Raises
    OfflineError for too many entries.
    """
    point, private = os.path.join(os.path.dirname(job.scratch), "view"), f"{job.scratch}.own"
    for directory in (point, f"{private}/home", f"{private}/tmp"):
        files.make_directories(directory)
    contents = Contents(spec)
    home = os.path.realpath(os.environ.get("HOME") or TEMPORARY)
    contents.hide(home, "write", f"{private}/home")
    contents.hide(TEMPORARY, "write", job.scratch)
    contents.hide("/var/tmp", "write", f"{private}/tmp")
    contents.hide("/dev/shm", "own", "")
    for directory in ABSENT:
        contents.hide(directory, "empty", "")
    for directory in (spec.root, spec.workspace):
        contents.show_links(directory)
    for directory in (sys.prefix, sys.base_prefix, OUR_DIRECTORIES[0]):
        contents.show(directory)
    for path in (program, sys.executable):
        contents.show_program(path)
    for path in (*own, job.scratch):
        contents.ours[os.path.relpath(path, spec.workspace)] = "write" if path == job.scratch else "read", path
    inputs = set()
    for name, found in job.fingerprint.inputs.items():
        for file in found:
            inputs.add(file.absolute)
            contents.show_at(job.seen_as(name, file.path), file.absolute)
    for path in job.fingerprint.watched.keys() - inputs:
        contents.show(path)
    contents.ours |= {directory: ("write", source) for directory, source in view.others.items()}
    steps = [*contents.steps(view)]
    if len(steps) > MOST_ENTRIES:
        what = f"its view would have {len(steps):,} entries, more than {MOST_ENTRIES:,}"
        raise OfflineError(Fault(f"stage {job.stage.name}", what, "declare a directory in place of its files"))
    return point, steps


class Contents:
    """What a view shows: `ours`, by path relative to root, and the rest by real path."""

    def __init__(self, spec: Spec) -> None:
        bases = {os.path.realpath(spec.root), os.path.realpath(spec.workspace)}
        self._bases = sorted(bases, key=len, reverse=True)  # if one lies in the other, the inner one first
        self._hidden: dict[str, Source] = {}
        self._rest: dict[str, Source] = {}
        self.ours: dict[str, Source] = {}

    def hide(self, directory: str, kind: str, source: str) -> None:
        """Hide what is in a directory, unless it is hidden already, is root, or does not exist."""
        real = os.path.realpath(directory)
        if real not in (*self._bases, *self._hidden, "/") and os.path.isdir(real):
            if any(real.startswith(f"{base}/") for base in self._bases):
                self._put(real, kind, source)
            else:
                self._hidden[real] = kind, source

    def show(self, path: str) -> None:
        """Show a file or directory at its path, and at its real path, where it would not be seen without a step."""
        real = self.show_links(path)
        self._put(real, "read", real)

    def show_links(self, path: str) -> str:
        """Show the symbolic links on the way to a path; return the real path."""
        real, links = _resolve(path)
        for at, text in links:
            self._put(at, "link", text)
        return real

    def show_at(self, path: str, source: str) -> None:
        """Show an input at a path relative to root, or where it is, if that is outside root."""
        if is_below(path):
            self.ours[path.rstrip("/")] = "read", source
        else:
            self.show(source)

    def show_program(self, path: str) -> None:
        """Show a program, and what is installed with it: the directory above its `bin`, or no more than that `bin`."""
        real, links = _resolve(path)
        for place in (*(at for at, _ in links), real):
            directory = os.path.dirname(place)
            prefix = os.path.dirname(directory)
            if os.path.basename(directory) == "bin" and prefix not in self._bases:
                self.show(directory if prefix in (*self._hidden, "/") else prefix)
        self.show(path)

    def steps(self, view: View) -> Iterator[Step]:
        """Yield the steps, each after those for the directories above it."""
        *inner, base = self._bases
        yield from _in_order(self._hidden | self._rest)
        yield "write", view.root, base
        needed = {above for path, (kind, _) in self.ours.items() if kind != "link" for above in upward(path, "")}
        needed |= {above for path in view.seen.values() for above in upward(path, "")}
        ours = {path: source for path, source in self.ours.items() if source[0] != "link" or path not in needed}
        yield from ((kind, source, f"{base}/{path}") for kind, source, path in _in_order(ours))
        for other in inner:
            yield "again", base, other

    def _put(self, path: str, kind: str, source: str) -> None:
        for base in self._bases:
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
        elif kind != "link" or whole.isdisjoint(upward(path, "")):
            yield kind, source, path


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
