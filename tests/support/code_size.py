"""Measures code in logical lines, and follows imports: what a module loads, and which modules import each other.

A logical line is one statement, or the head of a compound one. Layout cannot change how many there are.
"""

from __future__ import annotations

import ast
import io
import tokenize
from typing import TYPE_CHECKING

from syntax_rules import code_lines, lines_for_types, nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def logical_lines(source: bytes) -> int:
    """Return the number of logical lines of a file. Comments, docstrings and blank lines do not count."""
    lines = code_lines(source)
    return sum(
        token.type == tokenize.NEWLINE and token.start[0] in lines
        for token in tokenize.tokenize(io.BytesIO(source).readline)
    )


def import_graph(modules: Mapping[str, ast.AST], *, typed: bool = True) -> dict[str, set[str]]:
    """Return which of `modules` (by full name) each imports, in any scope, also for type checkers only.

    Without `typed`, what only type checkers import is left out, and a module that is named in a string counts as
    imported.
    """
    return {
        name: {
            module
            for wanted in _wanted(tree, modules, typed)
            if (module := _nearest(wanted, modules)) not in {"", name}
        }
        for name, tree in modules.items()
    }


def closure(modules: Mapping[str, ast.AST], starts: Iterable[str]) -> set[str]:
    """Return the modules that may be loaded once `starts` are: their imports, in any scope, and the packages around."""
    graph = import_graph(modules, typed=False)
    loaded: set[str] = set()
    waiting = [*starts]
    while waiting:
        name = waiting.pop()
        if name and name not in loaded:
            loaded.add(name)
            waiting += [*graph[name], name.rpartition(".")[0]]
    return loaded


def _wanted(tree: ast.AST, modules: Mapping[str, ast.AST], typed: bool) -> Iterator[str]:
    skipped = set() if typed else lines_for_types(tree)
    for node in nodes(tree):
        if getattr(node, "lineno", 0) in skipped:
            continue
        if not typed and isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in modules:
            yield node.value
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _nearest(name: str, modules: Mapping[str, ast.AST]) -> str:
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def cycles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """Return the sets of modules that import each other, directly or through others."""
    reached = {name: _reached_from(name, graph) for name in graph}
    found: list[set[str]] = []
    for name in graph:
        cycle = {other for other in reached[name] if name in reached[other]}
        if cycle and cycle not in found:
            found.append(cycle)
    return found


def _reached_from(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[name])
    while waiting:
        other = waiting.pop()
        if other not in reached:
            reached.add(other)
            waiting.extend(graph[other])
    return reached


def protocols(trees: Mapping[str, ast.AST]) -> set[str]:
    """Return `module.Name` of each Protocol that the given modules define."""
    return {
        f"{module}.{node.name}"
        for module, tree in trees.items()
        for node in nodes(tree)
        if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)
    }
