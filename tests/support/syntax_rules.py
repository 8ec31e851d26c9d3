"""Rules about the shape of the code: each reads a syntax tree and yields what it finds, `LINE: WHAT`.

A rule takes the tree and the module's name inside runner (`record.files`), which relative imports start from.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NETWORK = frozenset(
    "asyncio ftplib http imaplib nntplib poplib smtplib socket socketserver ssl telnetlib urllib webbrowser wsgiref"
    " xmlrpc".split()
)
WRITING_CALLS = frozenset(
    "chmod chown fchmod fchown ftruncate lchown link linkat makedirs mkdir mkfifo mknod remove removedirs removexattr"
    " rename renameat2 renames replace rmdir setxattr symlink truncate unlink utime".split()
)
SHUTIL_WRITING_CALLS = frozenset("chown copy copy2 copyfile copyfileobj copymode copystat copytree move rmtree".split())
PATH_WRITING_METHODS = frozenset("hardlink_to symlink_to touch write_bytes write_text".split())
WRITING_FLAGS = frozenset("O_APPEND O_CREAT O_RDWR O_TRUNC O_WRONLY".split())
STARTING_CALLS = frozenset("fork forkpty popen posix_spawn posix_spawnp system".split())
STARTING_PREFIXES = ("exec", "spawn")
STARTING_MODULES = frozenset("_posixsubprocess multiprocessing pty subprocess".split())
LAYOUT = frozenset(
    getattr(tokenize, name) for name in "COMMENT NL NEWLINE INDENT DEDENT ENCODING ENDMARKER".split()
)  # tokens that are no code
STREAMS = frozenset("stdin stdout stderr __stdin__ __stdout__ __stderr__".split())


def fits(module: str, names: Iterable[str]) -> bool:
    """Whether `module` is one of `names` or inside one of them."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


@cache
def nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """All nodes of a tree, in the order of ast.walk. The rules share them: each tree is walked once."""
    return tuple(ast.walk(tree))


def imported_names(tree: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything imported anywhere in `tree`, also inside functions and by name."""
    package = ["runner", *module.split(".")]
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"__import__", "import_module"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


Table = Mapping[str, tuple[str, ...]]


def wrong_direction(tree: ast.AST, module: str, allowed: Table, for_types: Table | None = None) -> Iterator[str]:
    """Imports that `allowed` does not list; its longest key that is the module or a room around it counts.

    `for_types` lists, by module, what may be imported too under `if TYPE_CHECKING:`.
    """
    key = max((name for name in allowed if fits(module, [name])), key=len, default=None)
    if key is None:
        yield f"1: no line in the table says what runner.{module} may import"
        return
    types = lines_for_types(tree)
    for line, name in imported_names(tree, module):
        first, _, inner = name.partition(".")
        permitted = (*allowed[key], *((for_types or {}).get(module, ()) if line in types else ()))
        if first == "runner" and inner not in {"", "__version__"} and not fits(inner, permitted):
            yield f"{line}: runner.{module} may not import runner.{inner}"


def lines_for_types(tree: ast.AST) -> set[int]:
    """The lines inside `if TYPE_CHECKING:`, which never run."""
    lines: set[int] = set()
    for node in nodes(tree):
        if isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING"):
            lines.update(range(node.lineno, (node.body[-1].end_lineno or 0) + 1))
    return lines


def network_imports(tree: ast.AST, module: str) -> Iterator[str]:
    for line, name in imported_names(tree, module):
        if name.split(".")[0] in NETWORK and not name.startswith("urllib.parse"):
            yield f"{line}: imports {name}"


def private_pytest_imports(tree: ast.AST, module: str) -> Iterator[str]:
    for line, name in imported_names(tree, module):
        if name.split(".")[0] == "_pytest":
            yield f"{line}: imports {name}"


def dotted(node: ast.AST) -> str:
    """`os.path.join` for such an expression; what is not a plain name is `?`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def writes(tree: ast.AST, module: str) -> Iterator[str]:
    """Calls that change a disk; opening counts unless the mode is a constant that only reads."""
    for node in nodes(tree):
        if isinstance(node, ast.Attribute) and node.attr in WRITING_FLAGS and dotted(node.value) == "os":
            yield f"{node.lineno}: os.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module in {"os", "shutil", "tempfile", "posix"}:
            bad = {alias.name for alias in node.names} & (WRITING_CALLS | SHUTIL_WRITING_CALLS | WRITING_FLAGS)
            if bad or node.module == "tempfile":
                yield f"{node.lineno}: from {node.module} import {', '.join(sorted(bad))}"
        elif isinstance(node, ast.Import) and any(alias.name == "tempfile" for alias in node.names):
            yield f"{node.lineno}: import tempfile"
        elif isinstance(node, ast.Call):
            called = dotted(node.func)
            owner, _, method = called.rpartition(".")
            if (
                (owner in {"os", "posix"} and method in WRITING_CALLS)
                or (owner == "shutil" and method in SHUTIL_WRITING_CALLS)
                or (method in PATH_WRITING_METHODS and owner != "files")
                or (method in {"open", "fdopen"} and owner != "os" and opens_for_writing(node, called))
                or (called == "os.fdopen" and opens_for_writing(node, "open"))
            ):
                yield f"{node.lineno}: {called}()"


def opens_for_writing(call: ast.Call, called: str) -> bool:
    """`open(path, mode)`, `gzip.open(path, mode)`, `Path.open(mode)`: a mode that is no constant counts as writing."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    if called in {"open", "io.open", "gzip.open", "os.fdopen"}:
        modes += call.args[1:2]
    else:
        modes += [argument for argument in call.args[:1] if isinstance(argument, ast.Constant)]
    return any(not isinstance(mode, ast.Constant) or bool(set(str(mode.value)) & set("wax+")) for mode in modes)


def process_starts(tree: ast.AST, module: str) -> Iterator[str]:
    for line, name in imported_names(tree, module):
        if name.split(".")[0] in STARTING_MODULES:
            yield f"{line}: imports {name}"
    for node in nodes(tree):
        if isinstance(node, ast.Attribute) and dotted(node.value) in {"os", "posix"}:
            if node.attr in STARTING_CALLS or node.attr.startswith(STARTING_PREFIXES):
                yield f"{node.lineno}: os.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module in {"os", "posix"}:
            for alias in node.names:
                if alias.name in STARTING_CALLS or alias.name.startswith(STARTING_PREFIXES):
                    yield f"{node.lineno}: from os import {alias.name}"


def terminal_uses(tree: ast.AST, module: str) -> Iterator[str]:
    for line, name in imported_names(tree, module):
        if name.split(".")[0] in {"rich", "curses", "getpass", "readline", "termios", "tty"}:
            yield f"{line}: imports {name}"
    for node in nodes(tree):
        if isinstance(node, ast.Attribute) and dotted(node) in {
            f"sys.{end}{name}" for end in ("", "__") for name in STREAMS
        }:
            yield f"{node.lineno}: {dotted(node)}"
        elif isinstance(node, ast.Call) and dotted(node.func) in {"print", "input", "breakpoint"}:
            yield f"{node.lineno}: {dotted(node.func)}()"
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            yield from (f"{node.lineno}: from sys import {alias.name}" for alias in node.names if alias.name in STREAMS)


def long_functions(
    tree: ast.AST, module: str, limit: int = 40, longer: Mapping[str, int] | None = None
) -> Iterator[str]:
    """Functions over `limit` lines, from `def` to the end, decorators and docstring not counted.

    `longer` are the functions, by name, that have a limit of their own.
    """
    for node in nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            lines = (node.end_lineno or 0) - node.lineno + 1
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                lines -= (first.end_lineno or 0) - first.lineno + 1
            if lines > (longer or {}).get(node.name, limit):
                yield f"{node.lineno}: {node.name} has {lines} lines"


def machine_paths(text: str, places: Iterable[str]) -> Iterator[str]:
    """Lines that name one of `places`, directories of the machine on which `text` was written."""
    named = [place for place in places if place in text]
    for number, line in enumerate(text.splitlines() if named else (), 1):
        yield from (
            f"{number}: {place}" for place in named if re.search(rf"(?<![\w./-]){re.escape(place)}(?![\w-])", line)
        )


@cache
def code_lines(source: bytes) -> frozenset[int]:
    """The numbers of the lines that hold code: no blank ones, no comments, no docstrings."""
    lines: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return frozenset(lines)
