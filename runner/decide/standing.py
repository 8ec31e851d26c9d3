"""Whether a program needs what an import asks for: not in a function, nor where it is ready for the import to fail."""

from __future__ import annotations

import ast
from typing import NamedTuple

_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_OF_THE_PLATFORM = frozenset({"version_info", "hexversion", "platform", "implementation"})


class Standing(NamedTuple):
    """Where code stands. `deferred`: in a function. `optional`: there, or where the file goes on without a module."""

    deferred: bool = False
    optional: bool = False


def standing_in(node: ast.AST, outer: Standing) -> Standing:
    """Return how the parts of a node stand, which itself stands as `outer`."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return Standing(deferred=True, optional=True)
    if outer.optional or not _does_without(node):
        return outer
    return outer._replace(optional=True)


def _does_without(node: ast.AST) -> bool:
    if isinstance(node, ast.Try | ast.TryStar):
        return any(_catches(handler.type) for handler in node.handlers)
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        return any(_name_of(call.func) == "suppress" and any(map(_catches, call.args)) for call in calls)
    if isinstance(node, ast.If):
        return any(_name_of(part) in _OF_THE_PLATFORM or _is_os_name(part) for part in ast.walk(node.test))
    return False


def _catches(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(_catches, caught.elts))
    return caught is None or _name_of(caught) in _IMPORT_ERRORS


def _name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _is_os_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "name" and _name_of(node.value) == "os"
