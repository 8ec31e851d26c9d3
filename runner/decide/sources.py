"""What one Python file asks to import: an AST walk over its bytes, kept by content so that a file is parsed once.

Nothing is executed. Names that only run time knows (`import_module(name)`, edits of `sys.path`) are not seen.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, NamedTuple, cast

from runner.errors import Fault, OfflineError

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Mapping

UNUSED_KEPT = 5_000  # parsed files that this run did not ask for; the oldest go first

_HINT = "it must parse with {} {}.{}, so that what it imports is known before it runs"
_IMPORTLIB = "importlib"
_LOADERS = frozenset({"importlib.import_module", "importlib.__import__", "builtins.__import__", "__import__"})


class Request(NamedTuple):
    """One import: `import MODULE`, or with names `from MODULE import NAMES`; `level` counts leading dots.

    `deferred`: it stands in a function, so importing the file does not yet run it.
    """

    line: int
    level: int
    module: str
    names: tuple[str, ...] = ()
    deferred: bool = False


class Parsed(NamedTuple):
    """The requests of one file in order of lines, and the literal `__all__` that `from it import *` goes by."""

    requests: tuple[Request, ...]
    exports: tuple[str, ...] = ()


NOTHING = Parsed(())


class ParseCache:
    """What was parsed, by the SHA-256 of the content; plain JSON values go in and out of the cache file."""

    def __init__(self, value: object = None) -> None:
        """Take over what `dump` gave; damaged values, or those of another Python's grammar, are an empty cache."""
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
    import ast

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is its author's business, when it runs
            tree = ast.parse(content, shown)
        return _Collector(tree, b"TYPE_CHECKING" in content).parsed()
    except SyntaxError as error:
        raise _refusal(
            f"{shown}:{error.lineno or 1}",
            f"invalid syntax: {error.msg}".replace("invalid syntax: invalid syntax", "invalid syntax"),
        ) from error
    except (RecursionError, MemoryError) as error:
        raise _refusal(shown, "invalid syntax: nested too deeply") from error
    except ValueError as error:  # a NUL byte before Python 3.12; bytes that are not in the file's encoding
        raise _refusal(shown, f"invalid syntax: {error}") from error


class _Collector:
    """One pass over a tree that gathers imports, then the calls that load a module by a literal name."""

    def __init__(self, tree: ast.Module, has_guards: bool) -> None:
        self._tree = tree
        self._skip_guarded = has_guards and _guard_is_false(tree)
        self._requests: list[Request] = []
        self._calls: list[tuple[ast.Call, bool]] = []
        self._aliases = {"__import__": "__import__"}
        self._exports: list[str] = []

    def parsed(self) -> Parsed:
        import ast

        for node, deferred in _nodes(self._tree, skip_guarded=self._skip_guarded):
            if isinstance(node, ast.Import):
                self._add_import(node, deferred)
            elif isinstance(node, ast.ImportFrom):
                self._add_from(node, deferred)
            elif isinstance(node, ast.Call):
                self._calls.append((node, deferred))
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                self._add_assignment(node)
        for call, deferred in self._calls:
            self._requests.extend(_requested_by(call, deferred, self._aliases))
        return Parsed(tuple(sorted(self._requests)), tuple(dict.fromkeys(self._exports)))

    def _add_import(self, node: ast.Import, deferred: bool) -> None:
        for alias in node.names:
            self._requests.append(Request(node.lineno, 0, alias.name, (), deferred))
            top = alias.name.partition(".")[0]
            if top in {_IMPORTLIB, "builtins"}:
                self._aliases[alias.asname or top] = alias.name if alias.asname else top

    def _add_from(self, node: ast.ImportFrom, deferred: bool) -> None:
        names = tuple(alias.name for alias in node.names)
        self._requests.append(Request(node.lineno, node.level, node.module or "", names, deferred))
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            if not node.level and full in _LOADERS:
                self._aliases[alias.asname or alias.name] = full

    def _add_assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        import ast

        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id == "__all__":
                self._exports.extend(_literal_strings(node.value))
            elif (
                isinstance(target, ast.Name) and node.value and (full := _dotted(node.value, self._aliases)) in _LOADERS
            ):
                self._aliases[target.id] = full


def _nodes(tree: ast.Module, *, skip_guarded: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield every node and whether it stands in a function; not the bodies of `if TYPE_CHECKING:`."""
    import ast

    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, deferred = pending.pop()
        yield node, deferred
        if skip_guarded and isinstance(node, ast.If) and _is_guard(node.test):
            children: Iterator[ast.AST] = iter(node.orelse)
        else:
            children = ast.iter_child_nodes(node)
        inside = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending.extend([(child, inside) for child in children][::-1])


def _is_guard(test: ast.expr) -> bool:
    import ast

    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def _guard_is_false(tree: ast.Module) -> bool:
    """Whether the file itself never sets TYPE_CHECKING to what could be true."""
    import ast

    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            is_false = isinstance(node.value, ast.Constant) and not node.value.value
            if not is_false and any(_is_guard(target) for target in targets):
                return False
    return True


def _dotted(node: ast.expr, aliases: Mapping[str, str]) -> str:
    """Return what a name or a chain of attributes stands for, "" when that is none of the `aliases`."""
    import ast

    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    start = aliases.get(node.id, "") if isinstance(node, ast.Name) else ""
    return ".".join([start, *attributes[::-1]]) if start else ""


def _requested_by(call: ast.Call, deferred: bool, aliases: Mapping[str, str]) -> Iterator[Request]:
    import ast

    full = _dotted(call.func, aliases)
    if full not in _LOADERS:
        return
    is_statement_like = full.endswith("__import__")
    parameters = ("name", "globals", "locals", "fromlist", "level") if is_statement_like else ("name", "package")
    given = dict(zip(parameters, call.args, strict=False))
    given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
    name = _constant(given.get("name"))
    if not isinstance(name, str) or not name.strip("."):
        return
    module = name.lstrip(".")
    level = len(name) - len(module)
    names: tuple[str, ...] = ()
    if is_statement_like:
        found = _constant(given.get("level"))
        level = found if isinstance(found, int) else 0
        names = tuple(_literal_strings(given.get("fromlist")))
    elif level and isinstance(package := _constant(given.get("package")), str):
        module, level = f"{package.rsplit('.', level - 1)[0]}.{module}", 0
    elif level and not isinstance(given.get("package"), ast.Name):
        return
    yield Request(call.lineno, level, module, names, deferred)


def _constant(node: ast.expr | None) -> object:
    import ast

    return node.value if isinstance(node, ast.Constant) else None


def _literal_strings(node: ast.expr | None) -> list[str]:
    """Return the strings written out in a list, a tuple, or a sum of them; the rest of a sum is left out."""
    import ast

    found: list[str] = []
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, ast.BinOp):
            pending += [part.right, part.left]
        elif isinstance(part, ast.List | ast.Tuple | ast.Set):
            found += [value for element in part.elts if isinstance(value := _constant(element), str)]
    return found


def _restored(value: object) -> Parsed:
    """Return what `dump` wrote for one file; TypeError or ValueError when it is something else."""
    requests, exports = cast("tuple[list[list[object]], list[str]]", value)
    restored = []
    for line, level, module, names, deferred in requests:
        if not (isinstance(line, int) and isinstance(level, int) and isinstance(module, str)):
            raise TypeError(value)
        restored.append(Request(line, level, module, _strings(names), bool(deferred)))
    return Parsed(tuple(restored), _strings(exports))


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(value)
    return tuple(value)


def _grammar() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _refusal(where: str, what: str) -> OfflineError:
    return OfflineError(Fault(where, what, _HINT.format(sys.implementation.name, *sys.version_info[:2])))
