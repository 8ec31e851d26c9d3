"""What a syntax tree asks to import: its import statements, and calls that load a module by a literal name.

This module imports ast, so it is itself imported only where something has to be parsed.
"""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING

from runner.decide.guards import Guards
from runner.decide.sources import DEEPEST, RUN_PATH, Request
from runner.decide.standing import Standing, standing_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MODULES = frozenset({"importlib", "builtins", "runpy", "pkgutil"})
_NAMING = {"runpy.run_path": "path_name", "pkgutil.resolve_name": "name"}  # what they load, by the first argument
_IMPORTING = frozenset(
    {"importlib.import_module", "importlib.__import__", "builtins.__import__", "runpy.run_module", *_NAMING}
)
_RUNNING = frozenset({"builtins.exec", "builtins.eval", "builtins.compile"})  # of text
_LOADERS = _IMPORTING | _RUNNING
_TOP = Standing()
_LIKE_STATEMENT = ("name", "globals", "locals", "fromlist", "level")


class Collector:
    """One pass over a tree that gathers imports, then the calls that load a module by a literal name."""

    def __init__(self, tree: ast.Module, *, has_guards: bool) -> None:
        self.found: list[tuple[Request, ast.stmt | ast.expr]] = []
        self.exports: list[str] = []
        self._children = Guards(tree).live_children if has_guards else ast.iter_child_nodes
        self._calls: list[tuple[ast.Call, Standing]] = []
        self._aliases = {"__builtins__": "builtins"}
        self._aliases.update((full.partition(".")[2], full) for full in _LOADERS if full.startswith("builtins."))
        self._gather(tree)
        for call, standing in self._calls:  # grows: a text that is run may hold more
            self._add_call(call, standing)

    def _gather(self, tree: ast.AST, at: ast.Call | None = None, outer: Standing = _TOP) -> None:
        """Look at every node; `at` is the call that runs the tree's text, whose place is that of all that is in it."""
        for node, standing in self._nodes(tree, outer):
            if at is not None and isinstance(node, ast.stmt | ast.expr):
                ast.copy_location(node, at)
            if isinstance(node, ast.Import):
                self._add_import(node, standing)
            elif isinstance(node, ast.ImportFrom):
                self._add_from(node, standing)
            elif isinstance(node, ast.Call):
                self._calls.append((node, standing))
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                self._add_assignment(node)
            elif isinstance(node, ast.ClassDef):
                self._add_attributes(node, node.name)

    def _nodes(self, tree: ast.AST, outer: Standing) -> Iterator[tuple[ast.AST, Standing]]:
        """Yield every node and how it stands; not what is for type checkers only."""
        pending: list[tuple[ast.AST, Standing]] = [(tree, outer)]
        while pending:
            node, standing = pending.pop()
            yield node, standing
            inside = standing_in(node, standing)
            pending.extend([(child, inside) for child in self._children(node)][::-1])

    def _add_import(self, node: ast.Import, standing: Standing) -> None:
        for alias in node.names:
            self.found.append((Request(node.lineno, 0, alias.name, (), *standing), node))
            top = alias.name.partition(".")[0]
            if top in _MODULES:
                self._aliases[alias.asname or top] = alias.name if alias.asname else top

    def _add_from(self, node: ast.ImportFrom, standing: Standing) -> None:
        names = tuple(alias.name for alias in node.names)
        self.found.append((Request(node.lineno, node.level, node.module or "", names, *standing), node))
        is_loaders_own = not node.level and node.module in _MODULES
        for alias in node.names:
            full, bound = f"{node.module}.{alias.name}", alias.asname or alias.name
            if is_loaders_own and full in _LOADERS:
                self._aliases[bound] = full
            elif is_loaders_own and bound == "*":
                own = (one for one in _LOADERS if one.startswith(f"{node.module}."))
                self._aliases.update((one.rpartition(".")[2], one) for one in own)
            elif f"builtins.{bound}" in _RUNNING:  # `from re import compile`: its text is a pattern
                self._aliases.pop(bound, None)

    def _add_assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id == "__all__":
                self.exports.extend(_literal_strings(node.value))
            elif node.value and (name := _spelled(target)) and (full := _dotted(node.value, self._aliases)):
                self._aliases[name] = full

    def _add_attributes(self, node: ast.ClassDef, name: str) -> None:
        """Aliases that a class has for attributes, for its own methods too."""
        for child in node.body:
            if isinstance(child, ast.ClassDef):
                self._add_attributes(child, f"{name}.{child.name}")
            elif isinstance(child, ast.Assign | ast.AnnAssign) and child.value:
                full = _dotted(child.value, self._aliases)
                for target in child.targets if isinstance(child, ast.Assign) else [child.target]:
                    if full and isinstance(target, ast.Name):
                        self._aliases.update({f"{owner}.{target.id}": full for owner in (name, "self", "cls")})

    def _add_call(self, call: ast.Call, standing: Standing) -> None:
        full = _dotted(call.func, self._aliases)
        if full in _RUNNING:
            source = (
                call.args[0] if call.args else next((one.value for one in call.keywords if one.arg == "source"), None)
            )
            text = _literal(source) if source is not None else None
            tree = _tree_of(text) if isinstance(text, str | bytes) else None
            if tree is not None:
                self._gather(tree, call, standing)
        elif full in _IMPORTING:
            self.found += [(request, call) for request in _requested_by(call, full, standing)]


def _tree_of(text: str | bytes) -> ast.Module | None:
    """Return the tree of a text that is run; None for what would fail when it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text.lstrip(" \t") if isinstance(text, str) else text)  # eval takes an indented expression
        except (SyntaxError, ValueError):
            return None


def _dotted(node: ast.expr, aliases: Mapping[str, str]) -> str:
    """Return what a name or a chain of attributes stands for, "" when that is none of the `aliases`."""
    parts = _spelled(node).split(".")
    for end in range(len(parts), 0, -1):
        if start := aliases.get(".".join(parts[:end]), ""):
            return ".".join([start, *parts[end:]])
    return ""


def _spelled(node: ast.expr) -> str:
    """Return a name or a chain of attributes as `x.y.z`, "" for anything else.

    `getattr(x, "y")`, `x["y"]` and `x.__dict__["y"]` are taken for `x.y`, `x().y` too, and `staticmethod(x)` for `x`.
    """
    attributes: list[str] = []
    while not isinstance(node, ast.Name):
        attribute: object = None
        if isinstance(node, ast.Attribute):
            attribute, node = node.attr, node.value
        elif isinstance(node, ast.Subscript):
            attribute, node = _literal(node.slice), node.value
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"getattr", "staticmethod"}
        ):
            at = 1 if node.func.id == "getattr" else 0
            if len(node.args) <= at:
                return ""
            attribute, node = _literal(node.args[at]) if at else "__dict__", node.args[0]
        elif isinstance(node, ast.Call) and attributes:
            attribute, node = "__dict__", node.func
        if not isinstance(attribute, str):
            return ""
        if attribute != "__dict__":
            attributes.append(attribute)
    return ".".join([node.id, *attributes[::-1]])


def _named_by(call: ast.Call, full: str, standing: Standing) -> Iterator[Request]:
    given = [*call.args[:1], *(one.value for one in call.keywords if one.arg == _NAMING[full])]
    name = _literal(given[0]) if given else None
    if not isinstance(name, str) or not name:
        return
    if full == "runpy.run_path":
        yield Request(call.lineno, RUN_PATH, name, (), *standing)
        return
    module, colon, _ = name.partition(":")
    above, _, last = ("", "", "") if colon else module.rpartition(".")
    # Without a colon the longest part that is a module is imported, so the rest need not be found.
    yield Request(
        call.lineno, 0, above or module, (last,) if above else (), standing.deferred, standing.optional or not colon
    )


def _requested_by(call: ast.Call, full: str, standing: Standing) -> Iterator[Request]:
    if full in _NAMING:
        yield from _named_by(call, full, standing)
        return
    is_statement_like = full.endswith("__import__")
    parameters = ("mod_name",) if full == "runpy.run_module" else ("name", "package")
    given = dict(zip(_LIKE_STATEMENT if is_statement_like else parameters, call.args, strict=False))
    given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
    name = _literal(given.get("name") or given.get("mod_name"))
    if not isinstance(name, str) or not name.strip("."):
        return
    module = name.lstrip(".")
    level = len(name) - len(module)
    names: tuple[str, ...] = ()
    if is_statement_like:
        found = _literal(given.get("level"))
        level = min(found, DEEPEST) if isinstance(found, int) else 0
        names = tuple(_literal_strings(given.get("fromlist")))
    elif level and isinstance(package := _literal(given.get("package")), str):
        module, level = f"{package.rsplit('.', level - 1)[0]}.{module}", 0
    elif level and not isinstance(given.get("package"), ast.Name):
        return
    yield Request(call.lineno, level, module, names, *standing)


def _literal(node: ast.expr | None) -> object:
    """Return the value of a constant, of a sum of string constants, or of an f-string without placeholders."""
    if isinstance(node, ast.Constant):
        return node.value
    parts: list[object] = []
    if isinstance(node, ast.JoinedStr):
        parts = [_literal(part) for part in node.values]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [_literal(node.left), _literal(node.right)]
    strings = [part for part in parts if isinstance(part, str)]
    return "".join(strings) if strings and len(strings) == len(parts) else None


def _literal_strings(node: ast.expr | None) -> list[str]:
    """Return the strings written out in a list, a tuple, or a sum of them; the rest of a sum is left out."""
    found: list[str] = []
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, ast.BinOp):
            pending += [part.right, part.left]
        elif isinstance(part, ast.List | ast.Tuple | ast.Set):
            found += [value for element in part.elts if isinstance(value := _literal(element), str)]
    return found
