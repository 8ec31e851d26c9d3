"""The SHA-256 of files and directories; a file is read again only if its signature has changed.

The cache is `state/files.json`; losing it costs time only. An entry is kept only if a later write is certain to
give the file another signature: git's rule for "racily clean" entries, see `settled`.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.errors import Fault, InputError
from runner.hashing import hasher
from runner.paths import PARTIAL_PREFIX, is_partial
from runner.settled import is_settled
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


CHUNK = 1 << 20
SMALL = 1 << 12  # what a file may grow by without more reads; a chunk's buffer costs more than a small file's hash
VERSION = 1
UNUSED_KEPT = 20_000  # entries that this run did not use; the oldest go first
_CHECKSUM = b',"crc32":"'


class Signature(NamedTuple):
    """Distinguishes two states of a file without reading it; times in nanoseconds."""

    size: int
    mtime: int
    ctime: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Return the signature of the file with this status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


Entry = tuple[Signature, str]  # with the hex SHA-256 of the content

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


def kind_of(mode: int) -> str:
    """Return the kind of a file that is not regular, such as `a FIFO`."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


class DigestCache:
    """Digests by (path, signature).

    `tick(n)` is called for every n bytes read, and may raise to interrupt. `clock()` gives the wall clock in ns.
    Without `trust` every file is read.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry] | None = None,
        *,
        tick: Callable[[int], None] | None = None,
        clock: Callable[[], int] = time.time_ns,
        trust: bool = True,
        sections: Mapping[str, object] | None = None,
    ) -> None:
        """`sections`: what else the cache file holds, plain JSON values by name; `dump` takes them as an argument."""
        self._entries = dict(entries or {})
        self._used: set[str] = set()
        self._tick = tick
        self._clock = clock
        self.trust = trust
        self.sections = dict(sections or {})
        self.reading = ("", 0)  # the file that is being hashed, and its size
        self.dirty = False
        self.damaged = False

    @classmethod
    def load(
        cls,
        content: bytes | None,
        *,
        tick: Callable[[int], None] | None = None,
        clock: Callable[[], int] = time.time_ns,
        trust: bool = True,
    ) -> DigestCache:
        """Read what `dump` wrote. None, damaged content, or that of another version is an empty cache."""
        empty = cls(tick=tick, clock=clock, trust=trust)
        if content is None:
            return empty
        try:
            entries, sections = _decoded(content)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
            empty.damaged = True
            return empty
        return cls(entries, tick=tick, clock=clock, trust=trust, sections=sections)

    def dump(self, sections: Mapping[str, object] | None = None) -> bytes:
        """Return the bytes to keep: the entries of earlier runs up to a limit, then those used in this one."""
        unused = [path for path in self._entries if path not in self._used]
        kept = [*unused[-UNUSED_KEPT:], *(path for path in self._entries if path in self._used)]
        files = {path: (*self._entries[path][0], self._entries[path][1]) for path in kept}
        text = json.dumps({**(sections or {}), "v": VERSION, "files": files}, separators=(",", ":"))
        content = text[:-1].encode("ascii")
        return content + _CHECKSUM + _checksum(content)

    def known(self, path: str, status: os.stat_result) -> str | None:
        """Return the digest of the file if its signature has not changed; nothing is read."""
        entry = self._entries.get(path)
        if entry is None or not self.trust or entry[0] != Signature.of(status):
            return None
        self._used.add(path)
        return entry[1]

    def file(self, path: str, status: os.stat_result | None = None) -> tuple[str, Signature]:
        """Return the hex SHA-256 of a regular file and its signature, taken before the first byte was read.

        Raises InputError for anything but a regular file (which is not opened); an OSError passes through.
        """
        status = os.stat(path) if status is None else status
        sha256 = self.known(path, status)
        if sha256 is not None:
            return sha256, Signature.of(status)
        return self._hash(path, status, None)

    def read(self, path: str, status: os.stat_result | None = None) -> tuple[bytes, str, Signature]:
        """Return the content too, of a regular file that is small enough to hold; raises as `file` does."""
        chunks: list[bytes] = []
        sha256, signed = self._hash(path, os.stat(path) if status is None else status, chunks)
        return b"".join(chunks), sha256, signed

    def passing(self, path: str) -> tuple[str, Signature]:
        """Return digest and signature of a regular file, not a link, and cache nothing: it will be renamed.

        Raises as `file` does.
        """
        return self._hash(path, None, None)

    def _hash(self, path: str, status: os.stat_result | None, keep: list[bytes] | None) -> tuple[str, Signature]:
        began = self._clock()
        descriptor, signed = _open_regular(path, status)
        self.reading = (path, signed.size)
        try:
            digest = hasher(more=signed.size)
            wanted = min(CHUNK, signed.size + SMALL)
            while chunk := os.read(descriptor, wanted):
                digest.update(chunk)
                if keep is not None:
                    keep.append(chunk)
                if self._tick:
                    self._tick(len(chunk))
                if len(chunk) < wanted and len(chunk) == signed.size:  # of nearly every small file: no call for its end
                    break
        finally:
            os.close(descriptor)
        if status is None:
            return digest.hexdigest(), signed
        if is_settled(signed.mtime, signed.ctime, began):
            self._store(path, signed, digest.hexdigest())
        else:  # hashed again next time, when its time stamps are old enough to tell
            self._entries.pop(path, None)
        return digest.hexdigest(), signed

    def _store(self, path: str, signed: Signature, sha256: str) -> None:
        if f"/{PARTIAL_PREFIX}" in path:  # it will be renamed
            return
        self._used.add(path)
        if self._entries.get(path) != (signed, sha256):
            self._entries.pop(path, None)  # so that the new one is the youngest
            self._entries[path] = (signed, sha256)
            self.dirty = True


class TreeDigest(Value):
    """What a directory holds: its digest, how many entries and bytes, and the signature of each by absolute path."""

    sha256: str
    entries: int
    size: int
    signatures: dict[str, Signature]


def digest_tree(path: str, cache: DigestCache) -> TreeDigest:
    """Digest a directory as the sorted list of (relative path, type, mode, size, sha256 or link target).

    Its own mode is left out, partials are skipped, links are recorded and not followed. Raises InputError for a FIFO,
    socket or device; an OSError passes through.
    """
    from runner.canonical import digest

    base = path.rstrip("/") or "/"
    signatures = {base: Signature.of(os.stat(base))}
    listed: list[tuple[str, str, int, int, str]] = []
    for entry in _entries_below(base):
        status = entry.stat(follow_symlinks=False)
        signatures[entry.path] = Signature.of(status)
        kind, content, size = "directory", "", 0
        if stat.S_ISLNK(status.st_mode):
            kind, content = "link", os.readlink(entry.path)
        elif not stat.S_ISDIR(status.st_mode):
            kind = "file"
            content, signatures[entry.path] = cache.file(entry.path, status)
            size = signatures[entry.path].size
        mode = 0 if kind == "link" else stat.S_IMODE(status.st_mode)  # that of a link differs between systems
        listed.append((entry.path[len(base.rstrip("/")) + 1 :], kind, mode, size, content))
    listed.sort(key=lambda item: os.fsencode(item[0]))
    return TreeDigest(digest(listed), len(listed), sum(item[3] for item in listed), signatures)


def _entries_below(base: str) -> Iterator[os.DirEntry[str]]:
    pending = [base]
    while pending:
        with os.scandir(pending.pop()) as found:
            for entry in found:
                if is_partial(entry.name):
                    continue
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)


def _open_regular(path: str, status: os.stat_result | None) -> tuple[int, Signature]:
    """Open a regular file; anything else is refused, by `status` and again once it is open.

    O_NONBLOCK: a FIFO swapped in must not hold up the run. The signature is that of the file that was opened.
    """
    if status is not None:
        _require_regular(path, status)
    follow = os.O_NOFOLLOW if status is None else 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | follow)
    try:
        opened = os.fstat(descriptor)
        _require_regular(path, opened)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, Signature.of(opened)


def _require_regular(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        shown = path.encode("utf-8", "backslashreplace").decode()
        raise InputError(
            Fault(shown, f"is {kind_of(status.st_mode)}", "only regular files, directories and links can be read")
        )


def _decoded(content: bytes) -> tuple[dict[str, Entry], dict[str, object]]:
    """Return what a cache file holds; nothing if another release wrote it. Raises ValueError and such for damage.

    The checksum keeps a flipped bit from becoming a digest, or from hiding an import.
    """
    text, _, checksum = content.rpartition(_CHECKSUM)
    value = json.loads(content)
    if type(value["v"]) is int and value["v"] != VERSION:
        return {}, {}
    if checksum != _checksum(text):
        raise ValueError(checksum)
    entries = {path: _entry(*fields) for path, fields in value["files"].items()}
    return entries, {name: section for name, section in value.items() if name not in {"v", "files", "crc32"}}


def _checksum(text: bytes) -> bytes:
    from zlib import crc32

    return b'%08x"}' % crc32(text)


def _entry(size: object, mtime: object, ctime: object, inode: object, sha256: object) -> Entry:
    numbers = (size, mtime, ctime, inode)
    if not isinstance(sha256, str) or not all(isinstance(number, int) for number in numbers):
        raise TypeError(sha256)
    return Signature._make(cast("tuple[int, int, int, int]", numbers)), sha256
