"""Reads code from the disk: each directory is listed once, and each file is read once."""

from __future__ import annotations

import codecs
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from runner.errors import Fault, InputError, OfflineError, raise_refusal
from runner.hashing import sha256_of
from runner.plan.code.cache import NOTHING, Parsed
from runner.plan.digests import Signature

if TYPE_CHECKING:
    from runner.plan.code.cache import ParseCache
    from runner.plan.digests import DigestCache

_COMPILED = ".pyc"
_ARCHIVES = (".zip", ".pyz", ".pyzw")
_ARCHIVE_END = b"PK\x05\x06"  # of the central directory; at most a comment of 65,535 bytes stands behind it
_ARCHIVE_TAIL = 65_535 + 22
_NONE = Signature(0, 0, 0, 0)


class Source(NamedTuple):
    """A file of code as it was read. Where there is a fault, `parsed` is empty."""

    sha256: str
    signature: Signature
    parsed: Parsed
    fault: Fault | None = None


class Sources:
    """The files and directories read so far. `paths`: all that were tried, present or absent."""

    def __init__(self, root: str, cache: DigestCache, parsed: ParseCache) -> None:
        self.root = root
        self.paths: set[str] = set()
        self._cache = cache
        self._parsed = parsed
        self._names: dict[str, frozenset[str]] = {}
        self._read: dict[str, Source] = {}

    def names(self, directory: str) -> frozenset[str]:
        """Return the names in a directory; none if it is no directory, or may not be read."""
        found = self._names.get(directory)
        if found is None:
            self.paths.add(directory)
            try:
                found = frozenset(os.listdir(directory))
            except (OSError, ValueError) as error:
                raise_refusal(error, directory)
                found = frozenset()
            self._names[directory] = found
        return found

    def is_file(self, path: str) -> bool:
        self.paths.add(path)
        return os.path.isfile(path)

    def read(self, path: str, *, is_script: bool = False) -> Source:
        """Read a file of code; `is_script`: Python whatever its name says. FileNotFoundError passes."""
        source = self._read.get(path)
        if source is None:
            self.paths.add(path)
            try:
                source = self._source(path, is_script)
            except FileNotFoundError:
                raise
            except OSError as error:
                raise_refusal(error, path)
                source = self._unread(path, f"cannot read it: {error.strerror}")
            except InputError as error:
                source = self._unread(path, error.faults[0].what, error.faults[0].hint)
            self._read[path] = source
        return source

    def text(self, text: str, shown: str) -> Source:
        """Read the text of `python -c`."""
        if sys.version_info >= (3, 14):
            from textwrap import dedent

            text = dedent(text)
        # The text is UTF-8. One with a cookie of another encoding, which python -c would ignore, is refused.
        content = codecs.BOM_UTF8 + text.encode("utf-8", "surrogateescape")
        return self._parse(content, sha256_of(content), _NONE, shown)

    def shown(self, path: str) -> str:
        """Return the path as errors spell it: relative to root where it lies there."""
        relative = path.removeprefix(self.root.rstrip("/") + "/")
        return relative.encode("utf-8", "backslashreplace").decode()

    def _unread(self, path: str, what: str, hint: str = "") -> Source:
        return Source("", _NONE, NOTHING, Fault(self.shown(path), what, hint))

    def _source(self, path: str, is_script: bool) -> Source:
        status = os.stat(path)
        if path.endswith(_COMPILED) or (is_script and path.endswith(_ARCHIVES)):
            what = "compiled Python" if path.endswith(_COMPILED) else "a zip file"
            return Source(*self._cache.file(path, status), NOTHING, unreadable(self.shown(path), what))
        if not path.endswith(".py") and not is_script:
            return Source(*self._cache.file(path, status), NOTHING)
        sha256 = self._cache.known(path, status)
        parsed = self._parsed.get(sha256) if sha256 else None
        if sha256 is not None and parsed is not None:
            return Source(sha256, Signature.of(status), parsed)
        content, sha256, signed = self._cache.read(path)
        return self._parse(content, sha256, signed, self.shown(path))

    def _parse(self, content: bytes, sha256: str, signed: Signature, shown: str) -> Source:
        parsed = self._parsed.get(sha256)
        if parsed is None:
            from runner.plan.code.parse import parse

            if _ARCHIVE_END in content[-_ARCHIVE_TAIL:]:
                return Source(sha256, signed, NOTHING, unreadable(shown, "a zip file"))
            try:
                parsed = parse(content, shown)
            except OfflineError as error:
                return Source(sha256, signed, NOTHING, error.faults[0])
            self._parsed.put(sha256, parsed)
        return Source(sha256, signed, parsed)


def unreadable(shown: str, what: str) -> Fault:
    """Return the fault of Python code that is not source."""
    hint = "name the source itself: a .py file or a directory"
    return Fault(shown, f"is {what}, whose imports cannot be known", hint)
