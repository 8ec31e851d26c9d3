"""A module that is found nowhere is told with where it lies below root."""

from __future__ import annotations

import pytest

from runner.decide.unfound import how_to_find


def lay_out(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


@pytest.mark.parametrize(
    ("module", "pythonpath", "said"),
    [
        ("lib", "", 'lib is there: "env": {"PYTHONPATH": "."}'),
        ("lib.norm", "other", 'lib/norm.py is there: "env": {"PYTHONPATH": "other:."}'),
        ("norm", "", 'lib/norm.py is there: "env": {"PYTHONPATH": "lib"}'),
        ("package", "", 'src/package is there: "env": {"PYTHONPATH": "src"}'),
        ("package.part", "", 'src/package/part.py is there: "env": {"PYTHONPATH": "src"}'),
        ("top", "", 'top.py is there: "env": {"PYTHONPATH": "."}'),
        ("odd", "", r'a"b/odd.py is there: "env": {"PYTHONPATH": "a\"b"}'),
    ],
)
def test_what_lies_below_root_is_named_with_what_finds_it(tmp_path, module, pythonpath, said):
    lay_out(
        tmp_path, "lib/norm.py", "src/package/__init__.py", "src/package/part.py", "top.py", "data/norm.csv",
        ".venv/top/x.py", 'a"b/odd.py',
    )  # fmt: skip
    assert how_to_find(module, str(tmp_path), pythonpath) == said


@pytest.mark.parametrize(
    ("module", "pythonpath"),
    [("data", ""), ("hidden", ""), ("far", ""), ("no\0name", ""), (".top", ""), ("norm.part", ""), ("norm", "lib/"),
     ("odd", "")],
)  # fmt: skip
def test_what_does_not_or_would_not_be_found_so_is_to_be_installed(tmp_path, module, pythonpath):
    lay_out(tmp_path, "data/x.csv", ".venv/hidden.py", "a/b/far.py", "top.py", "lib/norm.py", "a:b/odd.py")
    assert how_to_find(module, str(tmp_path), pythonpath).startswith("install it for the interpreter")
    assert how_to_find(module, str(tmp_path / "gone"), "").startswith("install it")
