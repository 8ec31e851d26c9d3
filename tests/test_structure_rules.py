"""Each rule of tests/support/syntax_rules.py finds what it forbids and passes what it should."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
import syntax_rules
from code_size import closure, cycles, import_graph, logical_lines, protocols
from syntax_rules import (
    long_functions,
    machine_paths,
    network_imports,
    private_pytest_imports,
    process_starts,
    terminal_uses,
    writes,
    wrong_direction,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Rule = Callable[[ast.Module, str], Iterator[str]]


def direction(tree: ast.Module, module: str) -> Iterator[str]:
    allowed = {"leaf": (), "room": ("leaf", "room"), "room.special": ("leaf", "room", "other.one"), "other": ("leaf",)}
    return wrong_direction(tree, module, allowed, {"leaf": ("other.one",)})


FORBIDDEN: list[tuple[Rule, str, str]] = [
    (direction, "leaf", "import runner.room"),
    (direction, "leaf", "from runner.other import one"),
    (direction, "leaf", "if TYPE_CHECKING:\n    from runner.other import two"),
    (direction, "leaf", "if TYPE_CHECKING:\n    pass\nelse:\n    from runner.other import one"),
    (direction, "room.a", "import runner.other.one"),
    (direction, "room.a", "from runner import other"),
    (direction, "room.a", "def f():\n    from ..other import one"),
    (direction, "room.a", "if TYPE_CHECKING:\n    from runner.other.one import Thing"),
    (direction, "room.a", "import importlib\nimportlib.import_module('runner.other')"),
    (direction, "room.special", "from runner.other import two"),
    (direction, "room.specially", "from runner.other import one"),
    (direction, "newcomer", ""),
    (network_imports, "cli", "import socket"),
    (network_imports, "cli", "def f():\n    from urllib import request"),
    (network_imports, "cli", "import http.client as c"),
    (private_pytest_imports, "x", "from _pytest.pytester import Pytester"),
    (writes, "executor", "open(path, 'w')"),
    (writes, "executor", "open(path, mode='ab')"),
    (writes, "executor", "open(path, mode)"),
    (writes, "executor", "open(path, 'r+')"),
    (writes, "executor", "Path(p).open('x')"),
    (writes, "executor", "os.fdopen(3, 'wb')"),
    (writes, "executor", "os.open(p, os.O_WRONLY)"),
    (writes, "executor", "os.replace(a, b)"),
    (writes, "executor", "os.mkdir(a)"),
    (writes, "executor", "from os import unlink"),
    (writes, "executor", "from os import O_CREAT, O_WRONLY, open as open_"),
    (writes, "executor", "shutil.rmtree(a)"),
    (writes, "executor", "from shutil import rmtree"),
    (writes, "executor", "path.write_text('x')"),
    (writes, "executor", "import tempfile"),
    (writes, "executor", "from tempfile import mkstemp"),
    (process_starts, "executor", "import subprocess"),
    (process_starts, "executor", "def f():\n    from subprocess import run"),
    (process_starts, "executor", "os.fork()"),
    (process_starts, "executor", "os.execv(a, b)"),
    (process_starts, "executor", "spawn = os.posix_spawn"),
    (process_starts, "executor", "from os import execve"),
    (process_starts, "executor", "import multiprocessing.pool"),
    (terminal_uses, "executor", "print('x')"),
    (terminal_uses, "executor", "sys.stderr.write('x')"),
    (terminal_uses, "executor", "sys.__stdout__.write('x')"),
    (terminal_uses, "executor", "from sys import stdout"),
    (terminal_uses, "executor", "from rich.console import Console"),
    (long_functions, "x", "def f():\n" + "    x = 1\n" * 40),
    (long_functions, "x", "class A:\n    async def f(self):\n" + "        x = 1\n" * 40),
]
PERMITTED: list[tuple[Rule, str, str]] = [
    (direction, "room.a", "from runner.room.b import c\nimport json\nfrom runner import __version__, leaf"),
    (direction, "room.a", "from . import b\nfrom .b import c\nfrom ..leaf import d"),
    (direction, "room.special", "from runner.other.one import thing"),
    (direction, "leaf", "if TYPE_CHECKING:\n    from runner.other.one import thing"),
    (network_imports, "cli", "from urllib.parse import quote\nimport selectors"),
    (
        writes,
        "executor",
        "open(path)\nopen(path, 'rb')\nos.open(p, os.O_RDONLY)\ntext.replace('a', 'b')\nos.write(1, b'')",
    ),
    (process_starts, "executor", "os.kill(1, 2)\nexecute()"),
    (terminal_uses, "executor", "sys.argv\npprint(x)"),
    (long_functions, "x", "def f():\n    '''" + "\n" * 60 + "    '''\n" + "    x = 1\n" * 38),
]


@pytest.mark.parametrize(("rule", "module", "source"), FORBIDDEN, ids=lambda value: getattr(value, "__name__", None))
def test_rule_finds_what_it_forbids(rule, module, source) -> None:
    assert list(rule(ast.parse(source), module)) != []


@pytest.mark.parametrize(("rule", "module", "source"), PERMITTED, ids=lambda value: getattr(value, "__name__", None))
def test_rule_passes_what_it_should(rule, module, source) -> None:
    assert list(rule(ast.parse(source), module)) == []


def test_machine_paths_are_found_and_ordinary_paths_are_not() -> None:
    places = ["/srv/ann/offpipe"]
    assert list(machine_paths("one\nsee '/srv/ann/offpipe/x'", places)) == ["2: /srv/ann/offpipe"]
    assert list(machine_paths("/srv/ann/offpipe2, x/srv/ann/offpipe, /srv/ann, data/work/copy.txt", places)) == []


def test_code_lines_leave_out_blanks_comments_and_docstrings() -> None:
    source = b'"""Two\nlines."""\n\n# why\nX = (  # here\n    1\n)\n\n\ndef f():\n    "one"\n    return X\n'
    assert syntax_rules.code_lines(source) == {5, 6, 7, 10, 12}


def test_logical_lines_are_the_same_in_every_layout() -> None:
    packed = b'"""Doc."""\n# why\nX = [1, 2]\n\n\ndef f(): return "a"; return "b"\n'
    laid_out = (
        b'X = [\n    1,\n    2,\n]\n\n\ndef f():\n    """Say."""\n    return (\n        "a"\n    )\n    return "b"\n'
    )
    assert (logical_lines(packed), logical_lines(laid_out)) == (2, 4)


def test_a_closure_follows_lazy_imports_and_names_in_strings_but_no_types() -> None:
    texts = {
        "p": "",
        "p.a": "if TYPE_CHECKING:\n    from p.e import E\ndef f():\n    from p import b",
        "p.b": "LATER = ('p.q.c',)",
        "p.q": "import p.d",
        "p.q.c": "",
        "p.d": "",
        "p.e": "",
    }
    modules = {name: ast.parse(text) for name, text in texts.items()}
    assert closure(modules, ["p.a"]) == {"p", "p.a", "p.b", "p.q", "p.q.c", "p.d"}


def test_cycles_are_found_through_types_and_functions_too() -> None:
    texts = {
        "p": "",
        "p.a": "if TYPE_CHECKING:\n    from p.b import B",
        "p.b": "def f():\n    import p.c",
        "p.c": "from p import a",
        "p.d": "from p import a",
    }
    graph = import_graph({name: ast.parse(text) for name, text in texts.items()})
    assert cycles(graph) == [{"p.a", "p.b", "p.c"}]


def test_protocols_are_listed_by_module() -> None:
    assert protocols({"p.a": ast.parse("class A(Protocol[T]): ...\nclass B: ...")}) == {"p.a.A"}
