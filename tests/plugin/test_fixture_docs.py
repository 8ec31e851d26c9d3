"""The examples in docs/pytest-fixtures.md pass as they are printed there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fixture_project import make_project
from spec_project import LEFT_OUT

pytestmark = pytest.mark.full


PAGE = Path(__file__).resolve().parent.parent.parent / "docs/pytest-fixtures.md"


def test_every_example_passes(pytester: pytest.Pytester) -> None:
    make_project(pytester.path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    examples = "\n\n".join(["import pytest", *blocks])
    (pytester.path / "test_examples.py").write_text(examples, encoding="utf-8")
    result = pytester.runpytest_subprocess("-W", "error", *LEFT_OUT, "-n2")
    result.assert_outcomes(passed=examples.count("\ndef test_"))
