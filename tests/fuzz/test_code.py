"""No Python source, and no cache entry of one, makes `plan` hang or show a traceback."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from fuzz_calls import examples, look
from fuzz_state import SPELL
from fuzz_values import WORDS, junk, mutated, spoilt
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.plan.code.cache import ParseCache

pytestmark = pytest.mark.full

# Few standard modules: a plan keeps no cache, so each plan would parse all of them again.
NAMES = ("local", "local.x", "keyword", ".local", "..", "a..b", "socket", "a:b", "*", "é", *WORDS)
LEVELS = (-1, 0, 1, 2, 300, 10**9, 10**30)
TEMPLATES = (
    "import {0}", "import {0} as {1}", "from {0} import {1}", "from .{0} import {1}", "from {dots} import {0}",
    "import importlib; importlib.import_module({0!r})", "from importlib import import_module as i; i({0!r}, {1!r})",
    "__import__({0!r})", "__import__({0!r}, None, None, [{1!r}], {level})", "__import__(name={0!r}, level={level})",
    "import runpy; runpy.run_path({0!r})", "import runpy; runpy.run_module({0!r})",
    "import pkgutil; pkgutil.resolve_name({0!r})",
    "exec({0!r})", "exec('import ' + {0!r})", "eval({0!r})", "__all__ = [{0!r}, {1!r}]",
    "try:\n    import {0}\nexcept: pass",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {0}", "def f():\n    import {0}",
    "class C:\n    i = __import__\nC.i({0!r})",
    "# coding: {0}", "getattr({0!r}, {1!r})({0!r})",
)  # fmt: skip
SOUND = b"""\
import keyword, local
from . import local as other
from importlib import import_module
import_module('local')
"""


@st.composite
def sources(draw):
    lines = []
    for template in draw(st.lists(st.sampled_from(TEMPLATES), min_size=1, max_size=4)):
        names = draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMES))
        level = draw(st.sampled_from(LEVELS))
        lines.append(template.format(*names, level=level, dots="." * (level % 301 or 1)))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def spec(place):
    stage = {"name": "first", "processor": "code.py", "outputs": {"out": "out/code.txt"}}
    path = place / "code.json"
    path.write_text(json.dumps({"specVersion": 1, "name": "code", "stateDir": "of-code", "stages": [stage]}))
    (place / "of-code").mkdir()
    return path


@settings(max_examples=examples(40))
@given(content=sources() | spoilt(SOUND), words=st.sampled_from([("plan",), ("explain", "first"), ("validate",)]))
def test_python_of_any_kind_is_planned_or_refused(place, spec, content, words):
    (place / "code.py").write_bytes(content)
    assert look(spec, words).code in {0, 4}


REQUEST = [1, 0, "local", ["x"], False, False]
PARSED = [[REQUEST, [2, 1, "", ["local"], True, True]], ["x"]]


@settings(max_examples=examples(30))
@given(entry=mutated([PARSED]) | junk, level=st.sampled_from(LEVELS), name=st.sampled_from(NAMES), odd=st.booleans())
def test_any_cache_entry_of_a_source_is_planned_or_refused(place, spec, entry, level, name, odd):
    (place / "code.py").write_bytes(SOUND)
    value = [[[1, level, name, [name], False, False]], [name]] if odd else entry
    section = {"python": ParseCache().dump()["python"], "files": {sha256(SOUND).hexdigest(): value}}
    (place / "of-code/files.json").write_bytes(SPELL["cache"]({"imports": section, "v": 1, "files": {}}))
    assert look(spec, ("plan",)).code in {0, 4}


def test_plan_believes_the_cache_entry_of_a_source(place, spec):
    """Otherwise the test above would prove nothing."""
    (place / "code.py").write_bytes(SOUND)
    section = {
        "python": ParseCache().dump()["python"],
        "files": {sha256(SOUND).hexdigest(): [[[1, 0, "socket", [], False, False]], []]},
    }
    (place / "of-code/files.json").write_bytes(SPELL["cache"]({"imports": section, "v": 1, "files": {}}))
    assert look(spec, ("plan",)).code == 4


@pytest.mark.parametrize(
    "line",
    ["import_module('.a', '')", f"__import__('x', None, None, ['a'], {10**27})"],
)  # fmt: skip
def test_an_import_that_can_only_fail_is_planned_as_a_missing_module(place, spec, line):
    (place / "code.py").write_text(f"from importlib import import_module\n{line}\n")
    (place / "of-code/files.json").unlink(missing_ok=True)
    assert look(spec, ("plan",)).code == 0
