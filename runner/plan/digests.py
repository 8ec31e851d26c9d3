"""The SHA-256 of files and directories; a file is read again only if its signature has changed.

The cache is `state/files.json`; losing it costs time only. An entry is kept only if a later write is certain to
give the file another signature: git's rule for "racily clean" entries, see `is_settled`.
"""

from __future__ import annotations

import json
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.errors import Fault, InputError
from runner.hashing import hasher
from runner.paths import is_partial
from runner.reading import NotRegularError, is_settled, open_regular

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


class DigestCache:
    """Digests by (path, signature).

    `tick(n)` is called for every n bytes read, and may raise to interrupt. `clock()` gives the wall clock in ns.
    Without `trust` every file is read. `sections` is what else the cache file holds, plain JSON values by name; `dump`
    takes them as an argument.
    """

    def __init__(
        self,
        content: bytes | None = None,
        *,
        tick: Callable[[int], None] | None = None,
        clock: Callable[[], int] = time.time_ns,
        trust: bool = True,
    ) -> None:
        """Read what `dump` wrote. None, damaged content, or that of another version is an empty cache."""
        self._entries: dict[str, Entry] = {}
        self.sections: dict[str, object] = {}
        self._used: set[str] = set()
        self._tick = tick
        self._clock = clock
        self.trust = trust
        self.reading = ("", 0)  # the file that is being hashed, and its size
        self.dirty = False
        self.damaged = False
        if content is not None:
            try:
                self._entries, self.sections = _decoded(content)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
                self.damaged = True

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
        return (sha256, Signature.of(status)) if sha256 is not None else self._hash(path)

    def read(self, path: str) -> tuple[bytes, str, Signature]:
        """Return the content too, of a regular file that is small enough to hold; raises as `file` does."""
        chunks: list[bytes] = []
        sha256, signature = self._hash(path, chunks)
        return b"".join(chunks), sha256, signature

    def passing(self, path: str) -> tuple[str, Signature]:
        """Return digest and signature of a regular file, not a link, and cache nothing: it will be renamed.

        Raises as `file` does.
        """
        return self._hash(path, is_kept=False)

    def _hash(self, path: str, chunks: list[bytes] | None = None, *, is_kept: bool = True) -> tuple[str, Signature]:
        began = self._clock()
        try:
            descriptor = open_regular(path, follow=is_kept)
        except NotRegularError as error:
            shown = path.encode("utf-8", "backslashreplace").decode()
            hint = "only regular files, directories and links can be read"
            raise InputError(Fault(shown, error.what, hint)) from error
        try:
            signature = Signature.of(os.fstat(descriptor))
            self.reading = (path, signature.size)
            sha256 = self._digest(descriptor, signature.size, chunks)
        finally:
            os.close(descriptor)
        if is_kept:
            self._keep(path, (signature, sha256), began)
        return sha256, signature

    def _digest(self, descriptor: int, size: int, chunks: list[bytes] | None) -> str:
        digest = hasher(more=size)
        wanted = min(CHUNK, size + SMALL)
        while chunk := os.read(descriptor, wanted):
            digest.update(chunk)
            if chunks is not None:
                chunks.append(chunk)
            if self._tick:
                self._tick(len(chunk))
            if len(chunk) < wanted and len(chunk) == size:  # of nearly every small file: no call for its end
                break
        return digest.hexdigest()

    def _keep(self, path: str, entry: Entry, began: int) -> None:
        if is_settled(entry[0].mtime, entry[0].ctime, began):
            self._used.add(path)
            if self._entries.get(path) != entry:
                self._entries.pop(path, None)  # so that the new one is the youngest
                self._entries[path] = entry
                self.dirty = True
        else:  # hashed again next time, when its time stamps are old enough
            self._entries.pop(path, None)


class TreeDigest(NamedTuple):
    """What a directory holds: its digest, and the bytes of all its files."""

    sha256: str
    size: int


def digest_tree(path: str, cache: DigestCache, is_of_output: Callable[[str], bool] = lambda _: False) -> TreeDigest:
    """Digest a directory as the sorted list of (relative path, type, mode, size, sha256 or link target).

    Its own mode is left out; links are recorded and not followed. A file with the name of a partial counts like any
    other, unless it `is_of_output`: the partial of an output that lies in the directory. Raises InputError for a FIFO,
    socket or device; an OSError passes through.
    """
    from runner.canonical import digest

    base = path.rstrip("/") or "/"
    is_passing = is_partial(os.path.basename(base))
    listed: list[tuple[str, str, int, int, str]] = []
    for entry in _entries_below(base, is_of_output):
        status = entry.stat(follow_symlinks=False)
        kind, content, size, mode = "directory", "", 0, status.st_mode
        if stat.S_ISLNK(mode):
            kind, content, mode = "link", os.readlink(entry.path), 0  # whose mode differs between systems
        elif not stat.S_ISDIR(mode):
            kind = "file"
            content, signature = cache.passing(entry.path) if is_passing else cache.file(entry.path, status)
            size = signature.size
        listed.append((entry.path[len(base.rstrip("/")) + 1 :], kind, stat.S_IMODE(mode), size, content))
    listed.sort(key=lambda item: os.fsencode(item[0]))
    return TreeDigest(digest(listed), sum(item[3] for item in listed))


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
