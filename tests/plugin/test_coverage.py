"""pytest-cov with `patch = subprocess` measures stages, and reports the user's files, not the copies that ran."""

from __future__ import annotations

import importlib.util
import json

import pytest
from spec_project import SpecProject

MISSING = [name for name in ("pytest_cov", "xdist") if importlib.util.find_spec(name) is None]
pytestmark = [pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}"), pytest.mark.full]

STAGE = """\
import os, shutil

def main():
    shutil.copyfile(os.environ["PIPELINE_INPUT_TEXT"], os.environ["PIPELINE_OUTPUT_TEXT"])
    if os.environ.get("NEVER"):
        print("never")

main()
"""


@pytest.mark.parametrize(("workers", "relative"), [("0", "true"), ("2", "false")])
def test_lines_of_stages_are_reported_for_the_users_files(pytester, relative, workers):
    project = SpecProject(pytester)
    project.write("stages/own.py", STAGE)
    project.write(".coveragerc", f"""
        [run]
        patch = subprocess
        source = stages
        parallel = true
        relative_files = {relative}
    """)  # fmt: skip
    project.spec({
        "name": "own", "processor": "stages/own.py", "inputs": {"text": "in.txt"}, "outputs": {"text": "o.txt"}
    })  # fmt: skip
    result = project.pytest_process(
        "it.json", "--cov", "--cov-report", "json:coverage.json", "-n", workers, timeout=120
    )  # fmt: skip
    result.assert_outcomes(passed=2)
    files = json.loads((project.path / "coverage.json").read_text())["files"]
    assert {name: file["missing_lines"] for name, file in files.items()} == {"stages/own.py": [6]}
    assert not list(project.path.glob(".coverage.*"))
