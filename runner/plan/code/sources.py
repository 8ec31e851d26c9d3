"""Reads code from the disk. Each directory is listed once, and each file is read once."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import NamedTuple

from runner.errors import Fault, InputError, OfflineError, raise_if_system_error
from runner.hashing import sha256_of
from runner.plan.code.cache import Parsed
from runner.plan.digests import DigestCache, FileDigest, Signature

_COMPILED = ".pyc"
_ARCHIVE_END = b"PK\x05\x06"  # of its central directory
_NO_SIGNATURE = Signature(0, 0, 0, 0)


class Source(NamedTuple):
    """A file of code as it was read. With a fault, `parsed` is empty."""

    digest: FileDigest
    parsed: Parsed = Parsed(())
    fault: Fault | None = None


class Sources:
    """The files and directories read so far. `paths` are all that were tried, present or absent."""

    def __init__(self, root: str, digests: DigestCache) -> None:
        self.root = root
        self.paths: set[str] = set()
        self.names = cache(self._names)
        self.read = cache(self._read)
        self._digests = digests

    def _names(self, directory: str) -> frozenset[str]:
        """Return the names in a directory; none if it is not a directory or cannot be read."""
        self.paths.add(directory)
        try:
            return frozenset(os.listdir(directory))
        except (OSError, ValueError) as error:
            raise_if_system_error(error, directory)
            return frozenset()

    def is_file(self, path: str) -> bool:
        self.paths.add(path)
        return os.path.isfile(path)

    def _read(self, path: str, *, is_script: bool = False) -> Source:
        """Read a file of code. With `is_script`, it is Python whatever its name. Raises FileNotFoundError."""
        self.paths.add(path)
        shown = self.shown(path)
        try:
            return self._source(path, shown, is_script=is_script)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise_if_system_error(error, path)
            fault = Fault(shown, f"cannot read it: {error.strerror}")
        except InputError as error:
            fault = Fault(shown, error.faults[0].what, error.faults[0].hint)
        return Source(FileDigest("", _NO_SIGNATURE), fault=fault)

    def text(self, text: str, shown: str) -> Source:
        """Read the text of `python -c`, where a line that names an encoding has no effect."""
        if sys.version_info >= (3, 14):
            from textwrap import dedent

            text = dedent(text)
        content = b"\0" + text.encode("utf-8", "surrogateescape")  # unlike any file: none with a NUL parses
        return self._parse(text, FileDigest(sha256_of(content), _NO_SIGNATURE), shown)

    def shown(self, path: str) -> str:
        """Return the path for errors: relative to root if it lies below root."""
        relative = path.removeprefix(self.root.rstrip("/") + "/")
        return relative.encode("utf-8", "backslashreplace").decode()

    def _source(self, path: str, shown: str, *, is_script: bool) -> Source:
        status = os.stat(path)
        if not is_script and not path.endswith((".py", _COMPILED)):
            return Source(self._digests.file(path, status))
        known = self._digests.known(path, status)
        if known and (parsed := self._digests.parsed.get(known.sha256)):
            return Source(known, parsed)
        content, digest = self._digests.read(path)
        if path.endswith(_COMPILED) or _ARCHIVE_END in content:
            what = "compiled Python" if path.endswith(_COMPILED) else "a zip file"
            return Source(digest, fault=unreadable(shown, what))
        return self._parse(content, digest, shown)

    def _parse(self, source: bytes | str, digest: FileDigest, shown: str) -> Source:
        parsed = self._digests.parsed.get(digest.sha256)
        if parsed is None:
            from runner.plan.code.parse import parse

            try:
                parsed = parse(source, shown)
            except OfflineError as error:
                return Source(digest, fault=error.faults[0])
            self._digests.parsed.put(digest.sha256, parsed)
        return Source(digest, parsed)


def unreadable(shown: str, what: str) -> Fault:
    """Return the fault of Python code that is not source."""
    hint = "name the source itself: a .py file or a directory"
    return Fault(shown, f"is {what}, whose imports cannot be known", hint)
