"""Models a file system as POSIX promises it: the steps of a run, which are durable, and what a power cut may leave.

An fsync makes durable the bytes of its file, or the entries of its directory, and nothing else. A power cut may lose
any steps that were not synced, with three limits: the bytes of a file change in order, the changes of a name happen in
order, and a rename within a directory is one step. After a failed fsync of a file, later ones do not make durable what
was written before it, but only what is written again (Linux marks such pages clean).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from disk_trace import path_of, place_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from disk_trace import Call

ROOT = 0  # the number of the top directory in the model


class Entries(NamedTuple):
    """A step that changes names in one directory: each gets a file's number, or None if it is removed."""

    inode: int
    changes: tuple[tuple[str, int | None], ...]


class Bytes(NamedTuple):
    """A step that changes a file's bytes: it writes `data` at `offset`, or cuts the file there if `data` is None."""

    inode: int
    offset: int
    data: bytes | None


class Sync(NamedTuple):
    """A sync: the changes of one file or directory in the first `began` steps, before the call began, are durable."""

    inode: int
    began: int


class Failed(NamedTuple):
    """A failed fsync of a file: changes of it that were not durable by then never will be."""

    inode: int


Step = Entries | Bytes | Sync | Failed


class Tree:
    """Directories (number -> names) and files (number -> bytes; a link's target as text)."""

    def __init__(self, directories: dict[int, dict[str, int]], files: dict[int, bytes | str]) -> None:
        self.directories = {number: dict(names) for number, names in directories.items()}
        self.files = dict(files)

    def copy(self) -> Tree:
        return Tree(self.directories, self.files)

    def find(self, path: str) -> int | None:
        """Return the number of the file at a path relative to the top; None if there is none."""
        number: int | None = ROOT
        for name in filter(None, path.split("/")):
            number = self.directories.get(-1 if number is None else number, {}).get(name)
        return number

    def below(self, number: int, path: str = "") -> Iterable[tuple[str, int]]:
        """Yield path and number of `number` and all below it, parents first."""
        yield path, number
        for name, child in sorted(self.directories.get(number, {}).items()):
            yield from self.below(child, f"{path}/{name}" if path else name)

    def content(self, number: int) -> dict[str, bytes | str | None]:
        """Return the bytes of a file, or of all below a directory, by path; None for a directory."""
        return {path: self.files.get(entry) for path, entry in self.below(number)}

    def apply(self, step: Entries | Bytes) -> None:
        if isinstance(step, Entries):
            for name, number in step.changes:
                if number is None:
                    self.directories[step.inode].pop(name, None)
                else:
                    self.directories[step.inode][name] = number
            return
        before = self.files[step.inode]
        assert isinstance(before, bytes)
        if step.data is None:
            self.files[step.inode] = before[: step.offset].ljust(step.offset, b"\0")
        else:
            end = step.offset + len(step.data)
            self.files[step.inode] = before[: step.offset].ljust(step.offset, b"\0") + step.data + before[end:]


class Disk:
    """The steps of one run on the tree below `root`, and the tree before it. Inode numbers are those of the disk.

    `root` is its own tmpfs, which numbers new files in order. So the numbers of removed files are known too, and a copy
    can give every file the number that the records name.
    """

    def __init__(self, root: Path, after: tuple[Disk, int] | None = None) -> None:
        """Read the tree; `after`: the disk of a killed run, and how many of its steps come before those of this run."""
        self.root = str(root)
        probe = root / "probe"
        probe.touch()
        self.next = probe.stat().st_ino + 1  # the number of the next file
        probe.unlink()
        self.times: dict[int, int] = {}
        self.before = self._read()
        self.tree = self.before.copy()
        self.steps: list[Step] = []
        self.descriptions: list[str] = []
        self._offsets: dict[str, int] = {}  # of descriptors, as strace spells them, that do not append
        if after is not None:
            earlier, until = after
            self.before, self.steps, self.descriptions = (
                earlier.before.copy(),
                earlier.steps[:until],
                earlier.descriptions[:until],
            )

    def _read(self) -> Tree:
        current = Tree({ROOT: {}}, {})
        for folder, directories, names in os.walk(self.root):
            relative = os.path.relpath(folder, self.root)
            here = current.find("" if relative == "." else relative)
            assert here is not None
            for name in (*directories, *names):
                path = os.path.join(folder, name)
                status = os.lstat(path)
                current.directories[here][name] = status.st_ino
                if os.path.islink(path):
                    current.files[status.st_ino] = os.readlink(path)
                elif os.path.isdir(path):
                    current.directories[status.st_ino] = {}
                else:
                    with open(path, "rb") as file:
                        current.files[status.st_ino] = file.read()
                    self.times[status.st_ino] = status.st_mtime_ns
        return current

    def matches_disk(self) -> bool:
        """Return whether the tree that follows from the calls is the one on the disk now, including numbers."""
        now = self._read()
        return self.tree.content(ROOT) == now.content(ROOT) and dict(self.tree.below(ROOT)) == dict(now.below(ROOT))

    def apply(self, calls: Iterable[Call]) -> None:
        """Apply the calls of a run."""
        counts = [len(self.steps)]
        for call in calls:
            method = getattr(self, f"_{call.name}", None)
            if method is not None:
                method(call, counts[call.began])
            elif any(self._inside(place_of(word)) is not None for word in call.words):
                raise AssertionError(f"the model knows no {call.name}: {call.words}")
            counts.append(len(self.steps))

    # ---- the calls ----

    def _openat(self, call: Call, _: int) -> None:
        if (path := self._inside(path_of(*call.words[:2]))) is None:
            return
        number = self.tree.find(path)
        self._offsets.pop(call.result, None)
        if "O_APPEND" not in call.words[2]:
            self._offsets[call.result] = 0
        if number is None:
            if "O_CREAT" in call.words[2]:
                self._make(path, b"")
        elif "O_TRUNC" in call.words[2] and self.tree.files[number]:
            self._do(Bytes(number, 0, None), f"empty {path}")

    def _mkdir(self, call: Call, _: int) -> None:
        if (path := self._inside(os.fsdecode(text_of(call.words[0])))) is not None:
            self._make(path, None)

    def _mkdirat(self, call: Call, _: int) -> None:
        if (path := self._inside(path_of(*call.words[:2]))) is not None:
            self._make(path, None)

    def _symlinkat(self, call: Call, _: int) -> None:
        if (path := self._inside(path_of(*call.words[1:3]))) is not None:
            self._make(path, os.fsdecode(text_of(call.words[0])))

    def _symlink(self, call: Call, _: int) -> None:
        if (path := self._inside(os.fsdecode(text_of(call.words[1])))) is not None:
            self._make(path, os.fsdecode(text_of(call.words[0])))

    def _write(self, call: Call, _: int) -> None:
        """Write at the end, or at the offset if the file was opened without O_APPEND. `matches_disk` checks this."""
        number = self._number(call.words[0])
        if number is not None:
            place = self._offsets.get(call.words[0], len(self.tree.files[number]))
            data = text_of(call.words[1])[: int(call.result.split("<")[0])]
            if call.words[0] in self._offsets:
                self._offsets[call.words[0]] += len(data)
            self._do(Bytes(number, place, data), f"write {self._name(call.words[0])}")

    def _pwrite64(self, call: Call, _: int) -> None:
        number = self._number(call.words[0])
        if number is not None:
            data = text_of(call.words[1])[: int(call.result.split("<")[0])]
            self._do(Bytes(number, int(call.words[3]), data), f"write in {self._name(call.words[0])}")

    def _ftruncate(self, call: Call, _: int) -> None:
        if (number := self._number(call.words[0])) is not None:
            self._do(Bytes(number, int(call.words[1]), None), f"cut {self._name(call.words[0])}")

    def _truncate(self, call: Call, _: int) -> None:
        if (path := self._inside(os.fsdecode(text_of(call.words[0])))) is not None:
            number = self.tree.find(path)
            assert number is not None
            self._do(Bytes(number, int(call.words[1]), None), f"cut {path}")

    def _rename(self, call: Call, _: int) -> None:
        self._move(*(self._inside(os.fsdecode(text_of(word))) for word in call.words))

    def _renameat2(self, call: Call, _: int) -> None:
        source, target = (self._inside(path_of(*call.words[at : at + 2])) for at in (0, 2))
        self._move(source, target, exchange="RENAME_EXCHANGE" in call.words[4])

    def _renameat(self, call: Call, _: int) -> None:
        self._move(*(self._inside(path_of(*call.words[at : at + 2])) for at in (0, 2)))

    def _unlink(self, call: Call, _: int) -> None:
        self._remove(self._inside(os.fsdecode(text_of(call.words[0]))))

    _rmdir = _unlink

    def _unlinkat(self, call: Call, _: int) -> None:
        self._remove(self._inside(path_of(*call.words[:2])))

    def _fsync(self, call: Call, began: int) -> None:
        if (number := self._number(call.words[0])) is not None:
            self.steps.append(Sync(number, began))
            self.descriptions.append(f"sync {self._name(call.words[0])}")

    _fdatasync = _fsync

    def _fsync_failed(self, call: Call, _: int) -> None:
        if (number := self._number(call.words[0])) is not None:
            self.steps.append(Failed(number))
            self.descriptions.append(f"sync {self._name(call.words[0])} fails")

    _fdatasync_failed = _fsync_failed

    # ---- the steps ----

    def _inside(self, path: str | None) -> str | None:
        if path is None or not (path == self.root or path.startswith(f"{self.root}/")):
            return None
        return path[len(self.root) + 1 :]

    def _name(self, word: str) -> str:
        return self._inside(place_of(word)) or "."

    def _number(self, word: str) -> int | None:
        path = self._inside(place_of(word))
        return None if path is None else self.tree.find(path)

    def _parent(self, path: str) -> tuple[int, str]:
        folder, name = os.path.split(path)
        number = self.tree.find(folder)
        assert number is not None, path
        return number, name

    def _do(self, step: Entries | Bytes, text: str) -> None:
        self.tree.apply(step)
        self.steps.append(step)
        self.descriptions.append(text)

    def _make(self, path: str, content: bytes | str | None) -> None:
        number, self.next = self.next, self.next + 1
        for tree in (self.before, self.tree):  # not yet in any directory
            if content is None:
                tree.directories[number] = {}
            else:
                tree.files[number] = content
        parent, name = self._parent(path)
        self._do(Entries(parent, ((name, number),)), f"make {path}")

    def _move(self, source: str | None, target: str | None, *, exchange: bool = False) -> None:
        if source is None or target is None:
            return
        number, replaced = self.tree.find(source), self.tree.find(target) if exchange else None
        (parent, name), (directory, new) = self._parent(source), self._parent(target)
        text = f"{'exchange' if exchange else 'rename'} {source} {target}"
        if parent == directory:
            self._do(Entries(parent, ((name, replaced), (new, number))), text)
        else:  # two directories, so no order between them: the file may have both names, or none
            self._do(Entries(directory, ((new, number),)), text)
            self._do(Entries(parent, ((name, replaced),)), text)

    def _remove(self, path: str | None) -> None:
        if path is not None:
            parent, name = self._parent(path)
            self._do(Entries(parent, ((name, None),)), f"remove {path}")

    # ---- what is durable ----

    def durable(self, until: int, *, names_too: bool) -> set[int]:
        """Return which of the first `until` steps are durable then.

        With `names_too`, an fsync of a file also keeps the earlier names of the file and of the directories above it,
        as ext4, XFS and btrfs do.
        """
        kept: set[int] = set()
        lost: set[int] = set()
        for place, step in enumerate(self.steps[:until]):
            if isinstance(step, Failed):
                before = enumerate(self.steps[:place])
                lost |= {
                    at for at, previous in before if isinstance(previous, Bytes) and previous.inode == step.inode
                } - kept
            elif isinstance(step, Sync):
                named = {step.inode} if names_too else set()
                for at in reversed(range(step.began)):
                    previous = self.steps[at]
                    if isinstance(previous, Sync | Failed) or at in lost:
                        continue
                    if isinstance(previous, Entries) and not named.isdisjoint(dict(previous.changes).values()):
                        named.add(previous.inode)
                        kept.add(at)
                    if previous.inode == step.inode:
                        kept.add(at)
        return kept

    def after(self, until: int, keeps: Callable[[int, Entries | Bytes], Entries | Bytes | None]) -> Tree:
        """Return the tree if, of the first `until` steps, only what `keeps` returns was done."""
        tree = self.before.copy()
        for at, step in enumerate(self.steps[:until]):
            if not isinstance(step, Sync | Failed) and (kept := keeps(at, step)) is not None:
                tree.apply(kept)
        return tree

    def synced(self, until: int, *, names_too: bool = True) -> Tree:
        """Return the tree if everything is lost that is not durable after `until` steps."""
        durable = self.durable(until, names_too=names_too)
        return self.after(until, lambda at, step: step if at in durable else None)

    def whole(self, until: int) -> Tree:
        """Return the tree after `until` steps without a power cut (a kill -9 there)."""
        return self.after(until, lambda _, step: step)
