"""Parses one file of Python for its import statements, and for calls that load a module by a literal name.

Nothing is executed. The parser sees what honest authors write; the sandbox stops evasions. This module is slow to
import, because of `ast`, so it is imported only when there is something to parse.
"""

from __future__ import annotations

import ast
import sys
import warnings
from typing import TYPE_CHECKING

from runner.errors import Fault, OfflineError
from runner.plan.code.cache import DEEPEST, RUN_PATH, Parsed, Request

if TYPE_CHECKING:
    from collections.abc import Iterable

_HINT = "it must parse with {} {}.{}, so that its imports are known before it runs"
_LIKE_STATEMENT = ("name", "globals", "locals", "fromlist", "level")
_LOADERS: dict[str, tuple[str, ...]] = {  # functions that load a module by its name, with their parameters
    "builtins.__import__": _LIKE_STATEMENT,
    "importlib.__import__": _LIKE_STATEMENT,
    "importlib.import_module": ("name", "package"),
    "runpy.run_module": ("mod_name",),
    "runpy.run_path": ("path_name",),
}
_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_OF_THE_PLATFORM = frozenset({"version_info", "hexversion", "platform", "implementation"})


def parse(source: bytes | str, shown: str) -> Parsed:
    """Return the imports of a source. For bytes, the encoding is found as Python does.

    Raises OfflineError for a syntax error, with the place as `shown:line`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the author sees a warning of an invalid escape when the stage runs
            imports = _Imports(ast.parse(source, shown))
    except (SyntaxError, ValueError) as error:  # ValueError for bytes that are not in the file's encoding
        where = f"{shown}:{error.lineno or 1}" if isinstance(error, SyntaxError) else shown
        raise _refusal(where, getattr(error, "msg", str(error)).removeprefix("invalid syntax: ")) from error
    except (RecursionError, MemoryError) as error:
        raise _refusal(shown, "nested too deeply") from error
    requests = sorted(imports.requests, key=lambda request: request.line)
    return Parsed(tuple(requests), tuple(dict.fromkeys(imports.exports)))


def _refusal(where: str, reason: str) -> OfflineError:
    hint = _HINT.format(sys.implementation.name, *sys.version_info[:2])
    return OfflineError(Fault(where, f"invalid syntax: {reason}", hint))


class _Imports:
    """One pass over a tree in the order of the source, without recursion, since generated code is nested deeply.

    `flags` are `deferred` and `optional` of the requests that a node makes.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.requests: list[Request] = []
        self.exports: list[str] = []
        self._names = {"__import__": "builtins.__import__"}  # full names, by the name in the file
        pending: list[tuple[ast.AST, tuple[bool, bool]]] = [(tree, (False, False))]
        while pending:
            node, flags = pending.pop()
            if isinstance(node, ast.Import):
                self._add_import(node, flags)
            elif isinstance(node, ast.ImportFrom):
                self._add_from(node, flags)
            elif isinstance(node, ast.Call):
                self._add_call(node, flags)
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                self._add_assignment(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                flags = (True, True)
            if _can_do_without(node):
                flags = (flags[0], True)
            pending += [(child, flags) for child in [*_live_children(node)][::-1]]

    def _add_import(self, node: ast.Import, flags: tuple[bool, bool]) -> None:
        for alias in node.names:
            self.requests.append(Request(node.lineno, 0, alias.name, (), *flags))
            top = alias.name.partition(".")[0]
            self._names[alias.asname or top] = alias.name if alias.asname else top

    def _add_from(self, node: ast.ImportFrom, flags: tuple[bool, bool]) -> None:
        names = tuple(alias.name for alias in node.names)
        self.requests.append(Request(node.lineno, node.level, node.module or "", names, *flags))
        for alias in node.names:
            self._names[alias.asname or alias.name] = f"{'.' * node.level}{node.module or ''}.{alias.name}"

    def _add_assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            name = target.id if isinstance(target, ast.Name) else ""
            if name == "__all__":
                self.exports += _strings(node.value)
            elif name and (full := self._full_name(node.value)):
                self._names[name] = full

    def _add_call(self, call: ast.Call, flags: tuple[bool, bool]) -> None:
        function = self._full_name(call.func)
        if function not in _LOADERS:
            return
        parameters = _LOADERS[function]
        arguments = dict(zip(parameters, call.args, strict=False))
        arguments.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
        name = _literal(arguments.get(parameters[0]))
        if not isinstance(name, str) or not name.strip("."):
            return
        names: tuple[str, ...] = ()
        module = name.lstrip(".")
        level = len(name) - len(module)
        if function == "runpy.run_path":
            level, module = RUN_PATH, name
        elif "level" in parameters:
            literal, names = _literal(arguments.get("level")), tuple(_strings(arguments.get("fromlist")))
            level = min(literal, DEEPEST) if isinstance(literal, int) else 0
        elif level and isinstance(package := _literal(arguments.get("package")), str):
            level, module = 0, f"{package.rsplit('.', level - 1)[0]}.{module}"
        elif level and not isinstance(arguments.get("package"), ast.Name):  # a name is most often __package__
            return
        self.requests.append(Request(call.lineno, level, module, names, *flags))

    def _full_name(self, node: ast.AST | None) -> str:
        """Return the full name that a name or a chain of attributes has after the imports so far, or ""."""
        attributes = ""
        while isinstance(node, ast.Attribute):
            attributes = f".{node.attr}{attributes}"
            node = node.value
        start = self._names.get(node.id, "") if isinstance(node, ast.Name) else ""
        return start and start + attributes


def _literal(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _strings(node: ast.expr | None) -> list[str]:
    """Return the literal strings in a list, a tuple, a set, or a sum of these."""
    if isinstance(node, ast.BinOp):
        return [*_strings(node.left), *_strings(node.right)]
    elements = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else ()
    return [value for element in elements if isinstance(value := _literal(element), str)]


def _live_children(node: ast.AST) -> Iterable[ast.AST]:
    """Return the children of a node, without code for type checkers only."""
    if isinstance(node, ast.If):
        if _is_guard(node.test):
            return node.orelse
        if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not) and _is_guard(node.test.operand):
            return node.body
    return ast.iter_child_nodes(node)


def _is_guard(test: ast.expr) -> bool:
    # In `a and TYPE_CHECKING`, `a` runs, so only the first operand counts.
    first = test.values[0] if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) else test
    return _last_name(first) == "TYPE_CHECKING"


def _can_do_without(node: ast.AST) -> bool:
    """Whether the file goes on if an import in this statement fails, or imports on some platforms only."""
    if isinstance(node, ast.Try | ast.TryStar):
        return any(_catches(handler.type) for handler in node.handlers)
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        return any(_last_name(call.func) == "suppress" and any(map(_catches, call.args)) for call in calls)
    if isinstance(node, ast.If):
        return any(_last_name(part) in _OF_THE_PLATFORM or _is_os_name(part) for part in ast.walk(node.test))
    return False


def _is_os_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "name" and _last_name(node.value) == "os"


def _catches(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(_catches, caught.elts))
    return caught is None or _last_name(caught) in _IMPORT_ERRORS


def _last_name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
