"""The no-op record: what a plan that found everything up to date had looked at, and how it all was.

An answer to one question only: is everything exactly as it was then? Reading it loads nothing but built-in modules,
since a run with nothing to do is mostly the start of its interpreter. Losing it costs time only. Written by
decide.looked.
"""

from __future__ import annotations

import marshal
import os
import sys
import zlib
from _operator import attrgetter
from itertools import repeat

from runner.paths import OWN_DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Conditions = tuple[Any, ...]
    Told = dict[str, Any]
    Look = Callable[[Any], os.stat_result]
    Signed = Callable[[os.stat_result], tuple[int, ...]]

PLAIN_VARIABLE = "OFFPIPE_PLAIN"  # 1: no caches, this one neither
MAGIC = b"offpipe noop 2\n"
FILES, ENTRIES, WAYS, ABSENT = range(4)  # how paths are looked at: see decide.looked
LONGEST = 200  # bytes of a spec's name
PART = 250  # paths that are looked at, and read of the record, at a time
SHARED_FROM = 4_000  # paths: with fewer the fork, and the pages that are copied since, take what a child takes over
MEANWHILE = 2  # parts that could be looked at in the time that `meanwhile` takes
_FAMILY = b"offpipe noop "
_O_PATH = getattr(os, "O_PATH", 0)  # of Linux: for a directory that one may be in and not read
_signature: Signed = attrgetter("st_ctime_ns", "st_mtime_ns", "st_size", "st_ino")
_kind: Signed = attrgetter("st_mode", "st_ino")
_LOOKS: tuple[tuple[Look, Signed], ...] = ((os.stat, _signature), (os.lstat, _signature), (os.lstat, _kind))


def is_plain() -> bool:
    """Whether caches are switched off (`OFFPIPE_PLAIN=1`); what a run does must be the same either way."""
    return os.environ.get(PLAIN_VARIABLE) == "1"


class Record:
    """What stands in the file; `told` is for who answers: anything that marshal takes.

    `parts`: what was looked at, as `part` gives it; paths may be relative to the directory `base`. `paths`: how many.
    """

    __slots__ = ("_base", "_parts", "_paths", "conditions", "told")

    def __init__(self, conditions: Conditions, base: str, parts: list[bytes], paths: int, told: Told) -> None:
        self.conditions = conditions
        self._base = base
        self._parts = parts
        self._paths = paths
        self.told = told

    def is_current(self, conditions: Conditions, meanwhile: Callable[[], object] = bool) -> bool:
        """Whether everything is as it was; `conditions` is what `conditions_now` gives.

        It is looked at from `base`, since short paths take a quarter less time; OSError where there is no way back from
        there. Of many paths a child looks at half, and this process does what is to be done `meanwhile` too.
        """
        if self.conditions != conditions:
            return False
        try:
            back = os.open(".", _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return self._is_current_from_base(back, meanwhile)
        finally:
            os.close(back)

    def _is_current_from_base(self, back: int, meanwhile: Callable[[], object]) -> bool:
        try:
            os.fchdir(back)
            os.chdir(self._base)
        except OSError:
            return False
        try:
            if self._paths < SHARED_FROM or "threading" in sys.modules or _processors() == 1:
                return all(map(_is_same, self._parts))
            return _are_same_for_two(self._parts, meanwhile)
        finally:
            os.fchdir(back)

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        content = marshal.dumps((self.conditions, self._base, self._parts, self._paths, self.told))
        return _head(content) + content


def seen(way: int, paths: Iterable[bytes | str]) -> list[tuple[int, ...]]:
    """Return how all of the paths are now, looked at in one of three ways. Raises OSError, ValueError."""
    look, signed = _LOOKS[way]
    return list(map(signed, map(look, paths)))


def part(way: int, paths: Sequence[bytes], signatures: Sequence[tuple[int, ...]]) -> bytes:
    """Return a part of a record: paths, and how each was; of what is absent there is nothing to be told."""
    return marshal.dumps((way, b"\0".join(paths), list(signatures)))


def _are_same_for_two(parts: list[bytes], meanwhile: Callable[[], object]) -> bool:
    """Whether all that the parts tell of is as it was; a child of this process looks at more than half of them.

    Its word counts only where it ends with 0, saying that nothing has changed; anything else, such as its death, or
    that another takes note of it, and this process looks itself. Only for where there are no threads.
    """
    half = (len(parts) + MEANWHILE) // 2
    child = _child(parts[:half])
    if child is None:
        return all(map(_is_same, parts))
    try:
        meanwhile()
        same = all(map(_is_same, parts[half:]))
    finally:
        confirmed = _is_confirmed(child)
    return same and (confirmed or all(map(_is_same, parts[:half])))


def _is_same(content: bytes) -> bool:
    way, joined, signatures = marshal.loads(content)  # noqa: S302 - within what a checksum holds
    paths = joined.split(b"\0")
    if way == ABSENT:
        return not any(map(os.access, paths, repeat(os.F_OK)))
    try:
        return bool(seen(way, paths) == signatures)
    except (OSError, ValueError):
        return False


def _child(parts: list[bytes]) -> int | None:
    """Start a child that looks at `parts`, and ends with 0 if nothing has changed; None where there can be none."""
    try:
        child = os.fork()
    except OSError:
        return None
    if child:
        return child
    code = 1
    try:
        code = 0 if all(map(_is_same, parts)) else 1
    finally:
        os._exit(code)


def _is_confirmed(child: int) -> bool:
    try:
        return os.waitpid(child, 0)[1] == 0
    except ChildProcessError:  # whoever started this ignores SIGCHLD, and so do we then
        return False


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def conditions_now(options: tuple[str, ...], version: str) -> Conditions:
    """Return what else a plan depends on: this interpreter and its path, two variables, and `options` of the run."""
    env, archive = os.environ, f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    names = [entry.rpartition("/")[2] for entry in sys.path]
    installed = sys.path[names.index(archive) :] if archive in names else sys.path  # before it is what started this
    return (version, sys.version, sys.executable, tuple(installed), env.get("PATH"), env.get("HOME"), options)


def decode(content: bytes) -> Record | None:
    """Return the record in the bytes of a file; None for anything that this interpreter and release did not write."""
    start = len(_head(b""))
    body = memoryview(content)[start:]
    if content[:start] != _head(body):
        return None
    try:
        return Record(*marshal.loads(body))  # noqa: S302 - nothing else has this head, but for who writes it by hand
    except (ValueError, TypeError, EOFError):
        return None


def is_damaged(content: bytes) -> bool:
    """Whether the bytes of a file are no record at all, rather than one of another interpreter or release."""
    if not content.startswith(MAGIC):
        return not content.startswith(_FAMILY)
    start = len(_head(b""))
    written = int.from_bytes(content[len(MAGIC) : len(MAGIC) + 8], "little")
    return written == sys.hexversion and content[:start] != _head(content[start:])


def _head(content: bytes | memoryview) -> bytes:
    parts = sys.hexversion, len(content), zlib.crc32(content)
    return MAGIC + b"".join(part.to_bytes(8, "little") for part in parts)


def record_path(spec: str, workspace: str | None) -> str:
    """Return where the record of a spec is: beside it, or below the workspace."""
    directory, name = os.path.split(os.path.abspath(spec))
    if len(os.fsencode(name)) > LONGEST:  # with what comes before it a file could not be called so
        name = f"{zlib.crc32(os.fsencode(name)):08x}"
    return os.path.join(os.path.abspath(workspace) if workspace else directory, OWN_DIRECTORY, f"noop-{name}")
