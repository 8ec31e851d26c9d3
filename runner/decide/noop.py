"""The no-op record: what a plan that found everything up to date had looked at, and how it all was.

An answer to one question only: is everything exactly as it was then? Reading it loads nothing but built-in modules,
since a run with nothing to do is mostly the start of its interpreter. Losing it costs time only.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from _operator import attrgetter

from runner.decide.settled import is_settled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Around = tuple[Any, ...]
    Told = dict[str, Any]
    Signed = tuple[bool, list[str], list[tuple[int, ...]]]  # whether links are followed, paths, how each was

MAGIC = b"offpipe noop 1\n"
_signature = attrgetter("st_ctime_ns", "st_mtime_ns", "st_size", "st_ino")
_kind = attrgetter("st_mode", "st_ino")


class Looked:
    """Absolute paths that a plan depends on.

    files: followed through links. entries: themselves, such as outputs. directories: what was listed. ways: directories
    of which only the kind counts. absent: where nothing was, or a link to nothing, and where
    something would change the plan.
    """

    __slots__ = ("absent", "directories", "entries", "files", "ways")

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.entries: set[str] = set()
        self.directories: set[str] = set()
        self.ways: set[str] = set()
        self.absent: set[str] = set()

    def add(self, path: str) -> None:
        """Take in a file that may be there or not."""
        (self.files if os.path.exists(path) else self.absent).add(path)

    def listed(self, path: str) -> None:
        """Take in a directory that was listed, or is not there."""
        (self.directories if os.path.isdir(path) else self.absent).add(path)

    def tree(self, top: str) -> None:
        """Take in a directory with all that lies below it."""
        self.listed(top)
        for directory, names, files in os.walk(top):
            self.entries.update(os.path.join(directory, name) for name in files)
            for name in names:
                path = os.path.join(directory, name)
                (self.entries if os.path.islink(path) else self.directories).add(path)


class Record:
    """What stands in the file; `told` is for who answers: anything that marshal takes."""

    __slots__ = ("_absent", "_signed", "_ways", "around", "told")

    def __init__(
        self, around: Around, signed: list[Signed], ways: tuple[list[str], list[tuple[int, ...]]], absent: list[str],
        told: Told,
    ) -> None:  # fmt: skip
        self.around = around
        self._signed = signed
        self._ways = ways
        self._absent = absent
        self.told = told

    def is_current(self, around: Around) -> bool:
        """Whether everything is as it was; `around` is what `surroundings` gives now."""
        if self.around != around:
            return False
        try:
            for follows, paths, signatures in self._signed:
                if list(map(_signature, map(os.stat if follows else os.lstat, paths))) != signatures:
                    return False
            paths, kinds = self._ways
            if list(map(_kind, map(os.lstat, paths))) != kinds:
                return False
        except (OSError, ValueError):
            return False
        return not any(map(os.path.exists, self._absent))

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        content = marshal.dumps((self.around, self._signed, self._ways, self._absent, self.told))
        return _head(content) + content


def surroundings(options: tuple[str, ...], version: str) -> Around:
    """Return what else a plan depends on: this interpreter and its path, two variables, and `options` of the run."""
    env, archive = os.environ, f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    names = [entry.rpartition("/")[2] for entry in sys.path]
    installed = sys.path[names.index(archive) :] if archive in names else sys.path  # before it is what started this
    return (version, sys.version, sys.executable, tuple(installed), env.get("PATH"), env.get("HOME"), options)


def record(looked: Looked, around: Around, told: Told, *, began: int) -> Record | None:
    """Return the record of a plan that began at `began` (time.time_ns), all of it looked at again.

    None when something changed since, or so shortly before that a change after the plan might not show (as git has it:
    racily clean), or is gone.
    """
    try:
        signed = [
            _signed(looked.files | looked.directories, follows=True), _signed(looked.entries, follows=False)
        ]  # fmt: skip
        ways = sorted(looked.ways)
        kinds: list[tuple[int, ...]] = [_kind(os.lstat(path)) for path in ways]
    except (OSError, ValueError):
        return None
    stamps = (signature[:2] for _, _, signatures in signed for signature in signatures)
    if not all(is_settled(modified, changed, began) for changed, modified in stamps):
        return None
    if any(map(os.path.exists, looked.absent)):
        return None
    return Record(around, signed, (ways, kinds), sorted(looked.absent), told)


def _signed(paths: Iterable[str], *, follows: bool) -> Signed:
    ordered = sorted(paths)
    return follows, ordered, list(map(_signature, map(os.stat if follows else os.lstat, ordered)))


def decode(content: bytes) -> Record | None:
    """Return the record in the bytes of a file; None for anything that this interpreter and release did not write."""
    start = len(_head(b""))
    body = content[start:]
    if content[:start] != _head(body):
        return None
    try:
        return Record(*marshal.loads(body))  # noqa: S302 - nothing else has this head, but for who writes it by hand
    except (ValueError, TypeError, EOFError):
        return None


def is_damaged(content: bytes) -> bool:
    """Whether the bytes of a file are no record at all, rather than one of another interpreter."""
    start = len(_head(b""))
    written = int.from_bytes(content[len(MAGIC) : len(MAGIC) + 8], "little")
    return not content.startswith(MAGIC) or (written == sys.hexversion and content[:start] != _head(content[start:]))


def _head(content: bytes) -> bytes:
    parts = sys.hexversion, len(content), zlib.crc32(content)
    return MAGIC + b"".join(part.to_bytes(8, "little") for part in parts)


def record_path(spec: str, workspace: str | None) -> str:
    """Return where the record of a spec is: beside it, or below the workspace."""
    directory, name = os.path.split(os.path.abspath(spec))
    return os.path.join(os.path.abspath(workspace) if workspace else directory, ".offpipe", f"noop-{name}")
