"""A module that is found nowhere is told with where it lies below root."""

from __future__ import annotations

import pytest

from runner.decide.unfound import how_to_find


@pytest.mark.parametrize(
    ("module", "pythonpath", "said"),
    [
        ("lib.norm", "", 'lib is there: "env": {"PYTHONPATH": "."}'),
        ("norm", "", 'lib/norm.py is there: "env": {"PYTHONPATH": "lib"}'),
        ("norm.part", "other", 'lib/norm.py is there: "env": {"PYTHONPATH": "other:lib"}'),
        ("package", "", 'src/package is there: "env": {"PYTHONPATH": "src"}'),
        ("top", "", 'top.py is there: "env": {"PYTHONPATH": "."}'),
    ],
)
def test_what_lies_below_root_is_named_with_what_finds_it(tmp_path, module, pythonpath, said):
    for name in ("lib/norm.py", "src/package/__init__.py", "top.py", "data/norm.csv", ".venv/top/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert how_to_find(module, str(tmp_path), pythonpath) == said


@pytest.mark.parametrize("module", ["data", "hidden", "far", "no\0name", ".top"])
def test_what_does_not_is_to_be_installed(tmp_path, module):
    for name in ("data/x.csv", ".venv/hidden.py", "a/b/far.py", "top.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert how_to_find(module, str(tmp_path), "").startswith("install it for the interpreter")
    assert how_to_find(module, str(tmp_path / "gone"), "").startswith("install it")
