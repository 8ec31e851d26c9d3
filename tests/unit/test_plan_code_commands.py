import os

import pytest

from runner.plan.code.commands import (
    Start,
    has_python_shebang,
    python_files_among,
    python_files_of_command,
    script_start,
    shebang,
)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "x.py").write_text("")
    (tmp_path / "y.py").write_text("")
    (tmp_path / "run").write_text("#!/usr/bin/env python3\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text("")
    return str(tmp_path)


@pytest.mark.parametrize(
    "python", ["python", "python3", "python3.11", "/usr/bin/python3", "{python}", "./bin/python3.13t"]
)
@pytest.mark.parametrize(
    "options",
    [[], ["-u"], ["-W", "error"], ["-Werror"], ["-X", "dev"], ["-bB", "-OO"], ["--check-hash-based-pycs", "never"]],
)
def test_script_of_an_interpreter(root, python, options):
    starts = python_files_of_command([python, *options, "tools/x.py", "-m", "no"], root)
    assert starts == (Start("script", f"{root}/tools/x.py", f"{root}/tools"),)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["python", "-m", "pkg.mod", "a"], ("module", "pkg.mod", True)),
        (["python", "-mpkg"], ("module", "pkg", True)),
        (["python", "-uIm", "pkg"], ("module", "pkg", False)),
        (["python", "-c", "import a"], ("text", "import a", True)),
        (["python", "-ucimport a"], ("text", "import a", True)),
        (["python", "-P", "-c", "import a"], ("text", "import a", False)),
        (["nice", "-n", "5", "python3", "-c", "import a", "y"], ("text", "import a", True)),
        (["python", "--", "y.py"], ("script", "y.py", True)),
        (["python", "-I", "y.py"], ("script", "y.py", False)),
    ],
)
def test_module_and_text(root, words, expected):
    kind, value, has_entry = expected
    (start,) = python_files_of_command(words, root)
    assert start == Start(kind, os.path.join(root, value) if kind == "script" else value, root if has_entry else "")


@pytest.mark.parametrize(
    "words", [["sort", "a"], ["python"], ["python", "-"], ["python", "{inputs.code}"], ["awk", "{print}"], ["a\0.py"]]
)
def test_commands_that_name_no_python(root, words):
    assert python_files_of_command(words, root) == ()


def test_directory_is_started_by_its_main(root):
    assert python_files_of_command(["python", "app"], root) == (
        Start("script", f"{root}/app/__main__.py", f"{root}/app"),
    )


def test_every_other_python_file_counts(root):
    starts = python_files_of_command(["python", "-c", "import a", "tools/x.py", "./run", "run.sh", "missing.py"], root)
    assert [start.value for start in starts] == ["import a", f"{root}/tools/x.py", f"{root}/run"]
    assert [start.value for start in python_files_of_command(["./run", "y.py"], root)] == [
        f"{root}/run",
        f"{root}/y.py",
    ]


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"#!/usr/bin/env python3\n", True),
        (b"#!/usr/bin/python3.11 -u\n", True),
        (b"#! /opt/x/python\r\n", True),
        (b"#!/usr/bin/env -S python3 -u\n", True),
        (b"#!/usr/bin/env -Spython3 -u\n", True),
        (b"#!/usr/bin/env -S -i A=b -u X python3\n", True),
        (b"#!/bin/sh\n# python", False),
        (b"#!/usr/bin/env sh", False),
        (b"#!/usr/bin/env", False),
        (b"#!", False),
        (b"", False),
        (b"\x7fELF python", False),
    ],
)
def test_a_python_program_is_recognised_by_its_shebang(tmp_path, first, expected):
    path = tmp_path / "program"
    path.write_bytes(first)
    assert has_python_shebang(str(path)) is expected
    assert [*python_files_among(("program",), str(tmp_path))] == [script_start(str(path))] * expected


def test_the_interpreter_is_the_first_word_of_a_shebang(tmp_path):
    for content, words in {"#! /usr/bin/env -S perl\n": ["/usr/bin/env", "-S", "perl"], "#!\n": [], "x": []}.items():
        (tmp_path / "program").write_text(content)
        assert shebang(str(tmp_path / "program")) == words


def test_unreadable_program_has_no_shebang(tmp_path):
    assert not has_python_shebang(str(tmp_path / "missing"))
    assert not has_python_shebang(str(tmp_path))


def test_linked_script_looks_beside_its_target(root, tmp_path):
    (tmp_path / "link.py").symlink_to("tools/x.py")
    assert script_start(f"{root}/link.py") == Start("script", f"{root}/link.py", f"{root}/tools")
