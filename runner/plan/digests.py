"""The SHA-256 of files and directories; a file is read again only if its signature has changed.

The cache is `state/files.json`; losing it costs time only. It keeps an entry only if any later write must give the
file another signature. That is git's rule for "racily clean" entries, see `is_settled`. The file also holds what was
parsed.
"""

from __future__ import annotations

import json
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, cast
from zlib import crc32

from runner.canonical import digest
from runner.errors import Fault, InputError, raise_if_system_error
from runner.hashing import hasher
from runner.paths import is_partial
from runner.plan.code.cache import ParseCache
from runner.reading import NotRegularError, is_settled, open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runner.record.markers import OutputIdentity


CHUNK = 1 << 20
SMALL = 1 << 12  # room for growth in the buffer of a small file; a buffer of CHUNK takes longer than its hash
VERSION = 1
UNUSED_KEPT = 20_000  # entries that this run did not use; the oldest go first
_CHECKSUM = b',"crc32":"'


class Signature(NamedTuple):
    """Tells two states of a file apart without reading it. Times are in nanoseconds."""

    size: int
    mtime: int
    ctime: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Return the signature of the file with this status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @classmethod
    def at(cls, path: str) -> Signature | None:
        """Return the signature of what is at `path`, None if nothing is. Links are not followed."""
        with suppress(OSError):
            return cls.of(os.lstat(path))
        return None


class FileDigest(NamedTuple):
    """The hex SHA-256 of a file, and its signature before the first byte was read."""

    sha256: str
    signature: Signature


class DigestCache:
    """Digests by (path, signature), and the `parsed` files of Python.

    `tick(n)`, if it is set, is called for every n bytes read, and may raise to interrupt. `clock()` gives the wall
    clock in ns. Without `trust`, every file is read. `published`: the verified identities of outputs, by declared path,
    which are not hashed again by the stages that read them.
    """

    def __init__(
        self, content: bytes | None = None, *, clock: Callable[[], int] = time.time_ns, trust: bool = True
    ) -> None:
        """Read the bytes of `dump`. The cache is empty for None, damaged content, or another version."""
        self._entries: dict[str, FileDigest] = {}
        self.parsed = ParseCache()
        self.published: dict[str, OutputIdentity] = {}
        self._used: set[str] = set()
        self.tick: Callable[[int], None] | None = None
        self._clock = clock
        self.trust = trust
        self.reading = ("", 0)  # the file that is being hashed, and its size
        self.dirty = False
        self.damaged = False
        if content is not None:
            try:
                self._entries, self.parsed = _decoded(content)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
                self.damaged = True

    def dump(self) -> bytes:
        """Return the bytes of the cache file: up to a limit the unused entries, then those that this run used."""
        unused = [path for path in self._entries if path not in self._used]
        kept = [*unused[-UNUSED_KEPT:], *(path for path in self._entries if path in self._used)]
        files = {path: (*self._entries[path].signature, self._entries[path].sha256) for path in kept}
        text = json.dumps({"imports": self.parsed.dump(), "v": VERSION, "files": files}, separators=(",", ":"))
        content = text[:-1].encode("ascii")
        return content + _CHECKSUM + _checksum(content)

    def known(self, path: str, status: os.stat_result) -> FileDigest | None:
        """Return the digest of the file if its signature has not changed; nothing is read."""
        entry = self._entries.get(path)
        if entry is None or not self.trust or entry.signature != Signature.of(status):
            return None
        self._used.add(path)
        return entry

    def file(self, path: str, status: os.stat_result | None = None, *, reads: bool = True) -> FileDigest:
        """Return the digest of a regular file. Without `reads`, one with no known digest is only opened: it is "".

        Raises InputError for any other file, without opening it; an OSError passes through.
        """
        return self.known(path, os.stat(path) if status is None else status) or self._hash(path, reads=reads)

    def program(self, path: str, shown: str, hint: str = "") -> FileDigest:
        """Return the digest of a program. Raises InputError if it cannot be read; `shown` is the place in the error."""
        try:
            return self.file(path)
        except OSError as error:
            raise_if_system_error(error, path)
            raise InputError(Fault(shown, f"cannot read it: {error.strerror}", hint)) from error

    def read(self, path: str) -> tuple[bytes, FileDigest]:
        """Return the content and the digest of a regular file that fits into memory. Raises as `file` does."""
        chunks: list[bytes] = []
        digest = self._hash(path, chunks)
        return b"".join(chunks), digest

    def passing(self, path: str) -> FileDigest:
        """Return the digest of a regular file, not a link, and cache nothing, since the file will be renamed.

        Raises as `file` does.
        """
        return self._hash(path, is_kept=False)

    def _hash(
        self, path: str, chunks: list[bytes] | None = None, *, is_kept: bool = True, reads: bool = True
    ) -> FileDigest:
        began = self._clock()
        try:
            descriptor = open_regular(path, follow=is_kept)
        except NotRegularError as error:
            shown = path.encode("utf-8", "backslashreplace").decode()
            hint = "only regular files, directories and links can be read"
            raise InputError(Fault(shown, error.what, hint)) from error
        try:
            signature = Signature.of(os.fstat(descriptor))
            if not reads:
                return FileDigest("", signature)
            self.reading = (path, signature.size)
            digest = FileDigest(self._sha256(descriptor, signature.size, chunks), signature)
        finally:
            os.close(descriptor)
        if is_kept:
            self._keep(path, digest, began)
        return digest

    def _sha256(self, descriptor: int, size: int, chunks: list[bytes] | None) -> str:
        digest = hasher(more=size)
        wanted = min(CHUNK, size + SMALL)
        while chunk := os.read(descriptor, wanted):
            digest.update(chunk)
            if chunks is not None:
                chunks.append(chunk)
            if self.tick:
                self.tick(len(chunk))
        return digest.hexdigest()

    def _keep(self, path: str, entry: FileDigest, began: int) -> None:
        before = self._entries.pop(path, None)
        if is_settled(entry.signature.mtime, entry.signature.ctime, began):  # else it is hashed again next time
            self._used.add(path)
            self._entries[path] = entry  # as the youngest
            self.dirty |= entry != before


class TreeDigest(NamedTuple):
    """The digest of a directory, the total size of its files in bytes, and what was digested."""

    sha256: str
    size: int
    listed: list[tuple[str, str, int, int, str]]

    @property
    def content(self) -> str:
        """The digest without the modes of what is in the directory."""
        return digest([(path, kind, 0, size, content) for path, kind, _, size, content in self.listed])


def digest_tree(
    path: str, cache: DigestCache, is_of_output: Callable[[str], bool] = lambda _: False, *, reads: bool = True
) -> TreeDigest:
    """Digest a directory as the sorted list of (relative path, type, mode, size, sha256 or link target).

    Its own mode is left out; links are recorded and not followed. A file named like a partial counts, unless it
    `is_of_output`: the partial of an output that lies in the directory. Without `reads`, files have no digest. Raises
    InputError for a FIFO, socket or device; an OSError passes through.
    """
    base = path.rstrip("/") or "/"
    is_passing = is_partial(os.path.basename(base))
    listed: list[tuple[str, str, int, int, str]] = []
    for entry in _entries_below(base, is_of_output):
        status = entry.stat(follow_symlinks=False)
        kind, content, size, mode = "directory", "", 0, status.st_mode
        if stat.S_ISLNK(mode):
            kind, content, mode = "link", os.readlink(entry.path), 0  # systems give links different modes
        elif not stat.S_ISDIR(mode):
            kind = "file"
            digested = cache.passing(entry.path) if is_passing else cache.file(entry.path, status, reads=reads)
            content, size = digested.sha256, digested.signature.size
        listed.append((entry.path[len(base.rstrip("/")) + 1 :], kind, stat.S_IMODE(mode), size, content))
    listed.sort(key=lambda item: os.fsencode(item[0]))
    return TreeDigest(digest(listed), sum(item[3] for item in listed), listed)


def _entries_below(base: str, is_of_output: Callable[[str], bool]) -> Iterator[os.DirEntry[str]]:
    pending = [base]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if is_partial(entry.name) and is_of_output(entry.path):
                    continue
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)


def present_digest(path: str, identity: OutputIdentity, cache: DigestCache, *, former: bool = False) -> str | None:
    """Return the digest of what is at an output's path now, None for nothing, or words for what cannot be an output.

    A link cannot be one, even to the same content: its target does not belong to offpipe, and may change. Modes in the
    directory of a `former` output do not count.

    This decides whether an output is as it should be, wherever that matters to a plan. Others ask something else:
    `OutputIdentity.at`, whether it is the committed file itself, by its status alone; `verify`, how it differs from its
    commit, and there an unreadable file is an error and not absent; the no-op record, whether anything has changed.
    """
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return "is a symbolic link"
        if identity.path.endswith("/"):
            tree = digest_tree(path, cache)
            return tree.content if former else tree.sha256
        if cache.trust and identity.is_unchanged(status):
            return identity.sha256
        return cache.file(path, status).sha256
    except InputError as error:
        return _shown(error.faults[0], path)
    except OSError as error:
        raise_if_system_error(error, path)
        return None


def _shown(fault: Fault, path: str) -> str:
    """Return the words for a fault of the output at `path`, or of a file below it."""
    below = fault.where.removeprefix(f"{path.rstrip('/')}/")
    return fault.what if below == fault.where else f'"{below}" in it {fault.what}'


def _decoded(content: bytes) -> tuple[dict[str, FileDigest], ParseCache]:
    """Return what a cache file holds; nothing if another release wrote it. Raises ValueError etc. for damage.

    The checksum keeps a flipped bit from becoming a digest, or from hiding an import.
    """
    text, _, checksum = content.rpartition(_CHECKSUM)
    value = json.loads(content)
    if type(value["v"]) is int and value["v"] != VERSION:
        return {}, ParseCache()
    if checksum != _checksum(text):
        raise ValueError(checksum)
    return {path: _entry(*fields) for path, fields in value["files"].items()}, ParseCache(value.get("imports"))


def _checksum(text: bytes) -> bytes:
    return b'%08x"}' % crc32(text)


def _entry(size: object, mtime: object, ctime: object, inode: object, sha256: object) -> FileDigest:
    numbers = (size, mtime, ctime, inode)
    if not isinstance(sha256, str) or not all(isinstance(number, int) for number in numbers):
        raise TypeError(sha256)
    return FileDigest(sha256, Signature._make(cast("tuple[int, int, int, int]", numbers)))
