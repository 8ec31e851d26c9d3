"""The parsed imports of Python files, kept by the SHA-256 of the content, so that each content is parsed once."""

from __future__ import annotations

import sys
from typing import NamedTuple, cast

UNUSED_KEPT = 5_000  # parsed files that this run did not use; the oldest go first
DEEPEST = 1_000  # levels of a relative import; no package is nested as deep
RUN_PATH = -1  # instead of a level: the request runs the file whose path is `module`

_FORMAT = 4  # of the values that are kept


class Request(NamedTuple):
    """One import: `import MODULE`, or with names `from MODULE import NAMES`.

    `level` counts leading dots, or is RUN_PATH. `deferred`: it stands in a function, so it does not run when the file
    is imported. `optional`: the file goes on without the module.
    """

    line: int
    level: int
    module: str
    names: tuple[str, ...] = ()
    deferred: bool = False
    optional: bool = False


class Parsed(NamedTuple):
    """The requests of one file, by line, and its literal `__all__`, which `import *` uses."""

    requests: tuple[Request, ...]
    exports: tuple[str, ...] = ()


class ParseCache:
    """Parsed files by the SHA-256 of their content. The cache file holds them as plain JSON values."""

    def __init__(self, value: object = None) -> None:
        """Read a value of `dump`. Damaged values, and those of another grammar, count as missing."""
        self._loaded: dict[str, object] = {}
        self._parsed: dict[str, Parsed] = {}  # those that this run has used
        self.dirty = False
        if isinstance(value, dict) and value.get("python") == _grammar() and isinstance(value.get("files"), dict):
            self._loaded = value["files"]

    def get(self, sha256: str) -> Parsed | None:
        parsed = self._parsed.get(sha256)
        if parsed is None and sha256 in self._loaded:
            try:
                parsed = self._parsed[sha256] = _restored(self._loaded[sha256])
            except (TypeError, ValueError):
                del self._loaded[sha256]
        return parsed

    def put(self, sha256: str, parsed: Parsed) -> None:
        self._parsed[sha256] = parsed
        self.dirty = True

    def dump(self) -> dict[str, object]:
        unused = [sha256 for sha256 in self._loaded if sha256 not in self._parsed]
        kept = {sha256: self._loaded[sha256] for sha256 in unused[-UNUSED_KEPT:]}
        return {"python": _grammar(), "files": kept | self._parsed}


def _restored(value: object) -> Parsed:
    """Read the value of one file. Raises TypeError or ValueError for a damaged one."""
    requests, exports = cast("tuple[list[list[object]], list[str]]", value)
    restored = []
    for line, level, module, names, deferred, optional in requests:
        if not (isinstance(line, int) and isinstance(level, int) and level <= DEEPEST and isinstance(module, str)):
            raise TypeError(value)
        restored.append(Request(line, level, module, _strings(names), bool(deferred), bool(optional)))
    return Parsed(tuple(restored), _strings(exports))


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(value)
    return tuple(value)


def _grammar() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}/{_FORMAT}"
