"""What one Python file asks to import: an AST walk over its bytes, kept by content so that a file is parsed once.

Nothing is executed. Names that only run time knows (`import_module(name)`, edits of `sys.path`) are not seen.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.errors import Fault, OfflineError

if TYPE_CHECKING:
    from runner.decide.syntax import Collector

UNUSED_KEPT = 5_000  # parsed files that this run did not ask for; the oldest go first

_HINT = "it must parse with {} {}.{}, so that what it imports is known before it runs"
_READING = 4  # raised when the same source would give other requests than before
DEEPEST = 1_000  # levels of a relative import; no package is nested as deep
RUN_PATH = -1  # no level of an import: the request is for the file whose path is its module
_LONGEST = 120  # characters of a statement that are shown


class Request(NamedTuple):
    """One import: `import MODULE`, or with names `from MODULE import NAMES`.

    `level` counts leading dots, or is RUN_PATH. `deferred`: it stands in a function, so importing the file does not yet
    run it. `optional`: the file can do without.
    """

    line: int
    level: int
    module: str
    names: tuple[str, ...] = ()
    deferred: bool = False
    optional: bool = False


class Parsed(NamedTuple):
    """The requests of one file in order of lines, and the literal `__all__` that `from it import *` goes by."""

    requests: tuple[Request, ...]
    exports: tuple[str, ...] = ()


NOTHING = Parsed(())


class ParseCache:
    """What was parsed, by the SHA-256 of the content; plain JSON values go in and out of the cache file."""

    def __init__(self, value: object = None) -> None:
        """Take over what `dump` gave; damaged values, or those that were read otherwise, are an empty cache."""
        self._used: set[str] = set()
        self._loaded: dict[str, object] = {}
        self._parsed: dict[str, Parsed] = {}
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
        if parsed is not None:
            self._used.add(sha256)
        return parsed

    def put(self, sha256: str, parsed: Parsed) -> None:
        self._parsed[sha256] = parsed
        self._used.add(sha256)
        self.dirty = True

    def dump(self) -> dict[str, object]:
        unused = [sha256 for sha256 in self._loaded if sha256 not in self._used]
        kept = {sha256: self._loaded[sha256] for sha256 in unused[-UNUSED_KEPT:]}
        return {"python": _grammar(), "files": {**kept, **{sha256: self._parsed[sha256] for sha256 in self._used}}}


def parse(content: bytes, shown: str) -> Parsed:
    """Return what the source `content` imports; its encoding is found as Python does (cookie, BOM, UTF-8).

    Raises OfflineError with the place as `shown:line` for what is no Python.
    """
    from runner.decide.decoding import is_archive

    if is_archive(content):
        raise OfflineError(unreadable(shown, "a zip file"))
    try:
        collector = _collect(content, shown)
    except SyntaxError as error:
        raise _refusal(
            f"{shown}:{error.lineno or 1}",
            f"invalid syntax: {error.msg}".replace("invalid syntax: invalid syntax", "invalid syntax"),
        ) from error
    except (RecursionError, MemoryError) as error:
        raise _refusal(shown, "invalid syntax: nested too deeply") from error
    except ValueError as error:  # a NUL byte before Python 3.12; bytes that are not in the file's encoding
        raise _refusal(shown, f"invalid syntax: {error}") from error
    requests = sorted(request for request, _ in collector.found)
    return Parsed(tuple(requests), tuple(dict.fromkeys(collector.exports)))


def statement(content: bytes, request: Request) -> str:
    """Return the source text that makes a request, on one line; what is not found in `content` is spelled anew."""
    from ast import get_source_segment

    from runner.decide.decoding import text_of

    text = None
    try:
        nodes = [node for found, node in _collect(content, "").found if found == request]
        text = get_source_segment(text_of(content), nodes[0]) if nodes else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the file has changed
        pass
    if not text:
        module = "." * request.level + request.module
        text = f"from {module} import {', '.join(request.names)}" if request.names else f"import {module}"
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def unreadable(shown: str, what: str) -> Fault:
    """Return the fault of Python that is there, but not as source."""
    return Fault(
        shown, f"is {what}, whose imports cannot be known", "name the source itself: a .py file or a directory"
    )


def _collect(content: bytes, shown: str) -> Collector:
    import ast

    from runner.decide.decoding import require_one_reading
    from runner.decide.syntax import Collector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape is its author's business, when it runs
        tree = ast.parse(content, shown)
    require_one_reading(content)
    return Collector(tree, has_guards=b"TYPE_CHECKING" in content)


def _restored(value: object) -> Parsed:
    """Return what `dump` wrote for one file; TypeError or ValueError when it is something else."""
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
    return f"{sys.version_info.major}.{sys.version_info.minor}/{_READING}"


def _refusal(where: str, what: str) -> OfflineError:
    return OfflineError(Fault(where, what, _HINT.format(sys.implementation.name, *sys.version_info[:2])))
