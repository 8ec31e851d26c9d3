"""Which `if` bodies are for type checkers only: those whose test is a TYPE_CHECKING that this file leaves false."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_GUARD = "TYPE_CHECKING"
_TYPING = frozenset({"typing", "typing_extensions"})


class Guards:
    """What TYPE_CHECKING means in one file.

    It is false where it comes from typing, or is set to a false constant, and nothing else in the file binds the name
    or sets such an attribute, as `from x import *` may. Whatever other modules do to `typing` is not seen.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._modules: set[str] = set()  # the names that typing has here
        self._others: set[str] = set()  # the names that anything else has
        self._left_false: set[ast.expr] = set()  # targets that a false constant is assigned to
        self._is_false = False
        self._is_rebound = False
        for node in ast.walk(tree):
            self._look_at(node)

    def live_children(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the children of a node without what is for type checkers only."""
        if isinstance(node, ast.If) and not self._is_rebound:
            if self._is_guard(node.test):
                return iter(node.orelse)
            if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not):
                return iter(node.body if self._is_guard(node.test.operand) else ast.iter_child_nodes(node))
        return ast.iter_child_nodes(node)

    def _is_guard(self, test: ast.expr) -> bool:
        if isinstance(test, ast.Name):
            return test.id == _GUARD and self._is_false
        if isinstance(test, ast.Attribute):
            return (
                test.attr == _GUARD
                and isinstance(test.value, ast.Name)
                and test.value.id in self._modules - self._others
            )
        # What stands before it in `a and TYPE_CHECKING` does run, so only as the first.
        return isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And) and self._is_guard(test.values[0])

    def _look_at(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._look_at_import(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and _is_false(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            self._left_false.update(targets)  # the walk comes to them later
            self._is_false |= any(isinstance(target, ast.Name) and target.id == _GUARD for target in targets)
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if isinstance(node.ctx, ast.Store):
                self._others.add(name)
                self._is_rebound |= name == _GUARD and node not in self._left_false
        else:
            names = (getattr(node, field, None) for field in ("name", "arg", "rest"))
            self._is_rebound |= not isinstance(node, ast.keyword | ast.alias) and _GUARD in names

    def _look_at_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            bound = alias.asname or alias.name
            if isinstance(node, ast.Import):
                (self._modules if alias.name in _TYPING else self._others).add(bound.partition(".")[0])
                self._is_rebound |= bound == _GUARD
                continue
            self._others.add(bound)
            if bound in {_GUARD, "*"}:
                is_typing = node.module in _TYPING and not node.level and alias.name in {_GUARD, "*"}
                self._is_false |= is_typing
                self._is_rebound |= not is_typing


def _is_false(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and not value.value
