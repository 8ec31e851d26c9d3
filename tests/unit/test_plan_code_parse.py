import warnings

import pytest

from runner.errors import EXIT_OFFLINE, OfflineError
from runner.plan.code.cache import Request
from runner.plan.code.parse import parse


def requests(text):
    return [
        ("." * request.level + request.module, *request.names)
        for request in parse(text if isinstance(text, bytes) else text.encode(), "x.py").requests
    ]


def test_finds_imports_at_any_depth_with_their_lines():
    parsed = parse(
        b"""import a.b, c as d
if 1:
    from e import f
try:
    import g
except ImportError:
    def h():
        class I:
            from . import j
            from ..k import l as m, n
""",
        "x.py",
    )
    assert parsed.requests == (
        Request(1, 0, "a.b"),
        Request(1, 0, "c"),
        Request(3, 0, "e", ("f",)),
        Request(5, 0, "g", optional=True),
        Request(9, 1, "", ("j",), deferred=True, optional=True),
        Request(10, 2, "k", ("l", "n"), deferred=True, optional=True),
    )


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import a\nexcept ImportError:\n    import a",
        "try:\n    import a\nexcept (KeyError, builtins.ModuleNotFoundError):\n    pass",
        "try:\n    import a\nexcept:\n    pass",
        "with contextlib.suppress(ImportError):\n    import a",
        "if sys.version_info < (3, 11):\n    import a",
        "if os.name == 'nt':\n    import a",
        "def f():\n    import a",
        "class A:\n    def f(self):\n        __import__('a')",
    ],
)
def test_an_import_that_the_file_can_do_without_is_optional(text):
    assert all(request.optional for request in parse(text.encode(), "x.py").requests)


@pytest.mark.parametrize(
    "text",
    [
        "import a",
        "class A:\n    import a",
        "if __name__ == '__main__':\n    import a",
        "try:\n    import a\nexcept ValueError:\n    pass",
        "try:\n    import a\nfinally:\n    pass",
        "with open(x):\n    import a",
    ],
)
def test_any_other_import_is_needed(text):
    assert not any(request.optional for request in parse(text.encode(), "x.py").requests)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import importlib\nimportlib.import_module('a.b')", ("a.b",)),
        ("import importlib as il\nil.import_module(name='a')", ("a",)),
        ("import importlib.util\nimportlib.import_module('a')", ("a",)),
        ("from importlib import import_module as im\nim('a')", ("a",)),
        ("import importlib\nload = importlib.import_module\nload('a')", ("a",)),
        ("__import__('a')", ("a",)),
        ("import builtins\nbuiltins.__import__('a')", ("a",)),
        ("__import__('a', None, None, ['b', 'c'], 1)", (".a", "b", "c")),
        ("from importlib import import_module\nimport_module('.x', 'pkg.sub')", ("pkg.sub.x",)),
        ("from importlib import import_module\nimport_module('..x', package='pkg.sub')", ("pkg.x",)),
        ("from importlib import import_module\nimport_module('.x', __package__)", (".x",)),
    ],
)
def test_finds_modules_loaded_by_a_literal_name(text, expected):
    assert expected in requests(text)


@pytest.mark.parametrize(
    "text", ["__import__(name)", "import_module('a')", "x.__import__('a')", "'import a'  # import b"]
)
def test_a_name_that_is_not_literal_is_not_requested(text):
    assert requests(text) == []


def test_bodies_for_type_checkers_are_left_out():
    body = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\n"
    assert ("a",) not in requests("from typing import TYPE_CHECKING\n" + body)
    assert ("b",) in requests("from typing import TYPE_CHECKING\n" + body)
    assert ("a",) not in requests("TYPE_CHECKING = False\n" + body)
    assert ("a",) not in requests("import typing as t\nif t.TYPE_CHECKING:\n    import a\n")


def test_exports_are_the_literal_all():
    text = b"__all__ = ['a', 'b'] + other.__all__\n__all__ += ('c',)\n__all__: list = ['a']\n"
    assert parse(text, "x.py").exports == ("a", "b", "c")


def test_encoding_is_found_as_python_does():
    assert requests(b"\xef\xbb\xbfimport a") == [("a",)]
    assert requests("# -*- coding: latin-1 -*-\n'\xe4'; import a".encode("latin-1")) == [("a",)]
    assert requests("# coding: latin-1\nimport m\xe4".encode("latin-1")) == [("m\xe4",)]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"import a\nimport\n", "x.py:2"),
        (b"a = (\n", "x.py:1"),
        (b"# coding: klingon\n", "x.py"),
        (b"'\xff'", "x.py"),
        (b"a\0b", "x.py"),
        (b"import a\x00", "x.py"),
        (b"(" * 5000 + b")" * 5000, "x.py"),
        (b"-" * 200_000 + b"1", "x.py"),
    ],
)
def test_what_cannot_be_parsed_is_refused_with_its_place(content, where):
    with pytest.raises(OfflineError) as caught:
        parse(content, "x.py")
    (fault,) = caught.value.faults
    assert caught.value.exit_code == EXIT_OFFLINE
    assert fault.where.startswith(where) and fault.what.startswith("invalid syntax") and fault.hint


def test_warnings_of_the_compiler_are_not_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert requests(r"'\d' is 'x'" + "\nimport a") == [("a",)]


def test_long_chains_need_no_recursion():
    assert requests("if a:\n    pass\n" + "elif a:\n    pass\n" * 50 + "import b\n" * 10_000)[-1] == ("b",)
