"""Measures the files, lines of code, tokens and import cycles of a package.

Comments, docstrings and blank lines are not lines of code. Only tokens in lines of code count.
"""

from __future__ import annotations

import ast
import io
import tokenize
from typing import TYPE_CHECKING, NamedTuple

from syntax_rules import LAYOUT, code_lines, nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SMALL = 40  # lines of code; a smaller file needs a reason


class Size(NamedTuple):
    """The size of a package; `small` counts files below `SMALL` lines of code, but no `__init__.py`."""

    files: int
    code: int
    tokens: int
    small: int


def size_of(paths: Iterable[Path]) -> Size:
    """Measure a package, given its Python files."""
    files = code = tokens = small = 0
    for path in paths:
        source = path.read_bytes()
        lines = code_lines(source)
        files += 1
        code += len(lines)
        tokens += sum(
            token.type not in LAYOUT and token.start[0] in lines
            for token in tokenize.tokenize(io.BytesIO(source).readline)
        )
        small += len(lines) < SMALL and path.name != "__init__.py"
    return Size(files, code, tokens, small)


def import_graph(modules: Mapping[str, ast.AST]) -> dict[str, set[str]]:
    """Return which of `modules` (by full name) each imports, in any scope, also for type checkers only."""
    return {
        name: {module for wanted in _wanted(tree) if (module := _nearest(wanted, modules)) not in {"", name}}
        for name, tree in modules.items()
    }


def _wanted(tree: ast.AST) -> Iterator[str]:
    for node in nodes(tree):
        if isinstance(node, ast.Import):
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
