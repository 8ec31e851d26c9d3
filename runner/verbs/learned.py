"""From what a command used and changed to what a stage declares: inputs, outputs, and what no stage can say.

Paths are relative to root unless they are called absolute. Root is "". A declared directory ends in "/".
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import Fault, UsageError
from runner.paths import kind_of, upward
from runner.sandbox.tracer import IMPORTED, LISTED, LOOKED_UP, READ, WRITTEN
from runner.spec.globs import bare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    Entry = tuple[int, ...]  # its kind and inode; but for a directory also its time of writing, and its size

MOST_ENTRIES = 100_000
SYSTEM = frozenset("/bin /dev /etc /lib /lib32 /lib64 /opt /proc /sbin /sys /usr /var/cache /var/lib".split())
_MOST_NOTES = 10  # about files outside root, by kind
_BYTECODE = "__pycache__"  # what Python keeps there follows from its sources
_MODULES = (".py", ".pyc", ".so")


def list_entries(root: str, apart: Collection[str]) -> dict[str, Entry]:
    """Return all that is below root, but not in the absolute paths `apart`. Raises UsageError for too many entries."""
    entries: dict[str, Entry] = {}
    pending = [""]
    while pending:
        above = pending.pop()
        # What cannot be listed, the command cannot list either.
        with suppress(PermissionError, FileNotFoundError), os.scandir(os.path.join(root, above)) as found:
            for entry in found:
                path, status = f"{above}{entry.name}", entry.stat(follow_symlinks=False)
                if os.path.join(root, path) in apart or entry.name == _BYTECODE:
                    continue
                entries[path] = stat.S_IFMT(status.st_mode), status.st_ino
                if stat.S_ISDIR(status.st_mode):
                    pending.append(f"{path}/")
                else:
                    entries[path] += status.st_mtime_ns, status.st_size
                if len(entries) > MOST_ENTRIES:
                    what = f"holds more than {MOST_ENTRIES:,} files and directories, too many to compare"
                    raise UsageError(Fault(root, what, "learn in a directory that holds only what the command needs"))
    return entries


class Evidence:
    """What a command did below root.

    `uses` are those of a trace, `before` and `after` listings of root. Absolute paths `apart` are not looked at.
    """

    def __init__(
        self,
        root: str,
        uses: Mapping[str, int],
        before: Mapping[str, Entry],
        after: Mapping[str, Entry],
        apart: Collection[str],
    ) -> None:
        self._root = root
        self._before = before
        self._after = after
        self._changed = {path for path, entry in after.items() if entry != before.get(path)}
        self._uses: dict[str, int] = {}
        self._outside: dict[str, int] = {}
        for path, bits in uses.items():
            if _BYTECODE not in path.split("/") and {*apart}.isdisjoint(upward(path, "/")):
                inside = self.inside(path)
                place, key = (self._outside, path) if inside is None else (self._uses, inside)
                place[key] = place.get(key, 0) | bits

    def inside(self, path: str) -> str | None:
        """Return an absolute path as one below root, None for one outside. Root may have a second name."""
        head, tail = os.path.split(path)
        for place in (path, os.path.join(os.path.realpath(head), tail)):
            if f"{place}/".startswith(f"{self._root.rstrip('/')}/"):
                return os.path.relpath(place, self._root) if place != self._root else ""
        return None

    def outputs(self, named: set[str]) -> list[str]:
        """Return what it made: files, and new directories unless it was given each file in them by name."""
        files = {path for path in self._changed if stat.S_ISREG(self._after[path][0])}
        trees: set[str] = set()
        for path in sorted(path for path in self._changed if stat.S_ISDIR(self._after[path][0])):
            inner = {file for file in files if file.startswith(f"{path}/")}
            if trees.isdisjoint(upward(path, "")) and not (inner and named >= inner):
                trees.add(path)
        return sorted([f"{path}/" for path in trees] + [path for path in files if trees.isdisjoint(upward(path, ""))])

    def inputs(self, outputs: Collection[str]) -> list[str]:
        """Return what it read, executed or looked up by name and left as it was; listed directories as a whole."""
        around = {above for path in outputs for above in upward(bare(path), "")}
        used = [path for path in sorted(self._uses) if self._is_left(path)]
        trees = {path for path in used if self._is_listed(path) and path not in around}
        single = [path for path in used if self._uses[path] & (READ | LOOKED_UP) and path not in around]
        files = [path for path in single if not os.path.isdir(os.path.join(self._root, path))]
        around |= {above for path in (*files, *trees) for above in upward(path, "")[1:]}
        trees |= {path for path in {*single} - {*files} if path not in around}
        trees = {path for path in trees if trees.isdisjoint(upward(path, "")[1:])}
        return [path for path in files if trees.isdisjoint(upward(path, ""))] + [f"{path}/" for path in sorted(trees)]

    def notes(self, outputs: Collection[str]) -> Iterator[Fault]:
        """Yield what a stage cannot say."""
        for path in sorted(self._before.keys() - self._after.keys()):
            if os.path.dirname(path) in self._after or "/" not in path:
                yield Fault(path, "it was removed, and a stage removes nothing", "keep it, as gzip -k does")
        for path in sorted(self._changed):
            if path in self._before and self._uses.get(path, 0) & READ:
                what = "it was read and then written, so it is no input: the stage makes it without its old content"
                yield Fault(path, what, "write to another path")
            elif (kind := self._after[path][0]) not in (stat.S_IFREG, stat.S_IFDIR):
                yield Fault(path, f"it is {kind_of(kind)}, and an output is a file or a directory")
        around = {above for path in outputs for above in upward(bare(path), "")}
        for path in sorted(around & self._uses.keys()):
            if self._is_listed(path) and self._is_left(path):
                what = "its entries were listed, and outputs lie in it: the stage sees only what it declares there"
                yield Fault(path or ".", what, "if the command needs more of it than these, add inputs")
        yield from self._notes_outside()

    def _notes_outside(self) -> Iterator[Fault]:
        outside = [path for path in sorted(self._outside) if os.path.isfile(path)]
        written = [path for path in outside if self._outside[path] & WRITTEN]
        read = [path for path in outside if self._outside[path] & READ and SYSTEM.isdisjoint(upward(path, "/"))]
        for path in written[:_MOST_NOTES]:
            yield Fault(path, "it was written outside root, where no stage writes", "write below root")
        for path in [path for path in read if path not in written][:_MOST_NOTES]:
            what = "it was read outside root, so a change is not noticed, and a sealed stage may not see it"
            yield Fault(path, what, "an input may be absolute: add it")
        if max(len(written), len(read)) > _MOST_NOTES:
            yield Fault("", f"it read {len(read):,} files outside root, and wrote {len(written):,}")

    def _is_left(self, path: str) -> bool:
        """Whether a path is there and is as it was, also if it leads through links."""
        absolute = os.path.join(self._root, path)
        real = self.inside(os.path.realpath(absolute))
        return os.path.lexists(absolute) and self._changed.isdisjoint((*upward(path, ""), real))

    def _is_listed(self, path: str) -> bool:
        """Whether the entries of a directory were read, but not if Python only looked for modules."""
        bits = self._uses[path]
        modules = (other for other in self._uses if other.endswith(_MODULES) and os.path.dirname(other) == path)
        return bool(bits & LISTED) or bool(bits & IMPORTED and path and next(modules, None) is None)
