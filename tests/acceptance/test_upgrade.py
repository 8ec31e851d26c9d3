"""A run may take all night. An upgrade of the installation during that time must not hurt it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_outlives_the_removal_of_its_own_code(tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    shutil.copytree(ROOT / "runner", installed / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    tree = "mkdir $PIPELINE_OUTPUT_T; echo new > $PIPELINE_OUTPUT_T/a; mkdir -p $TMPDIR/x/y"
    stages = [
        {
            "name": "upgrade",
            "command": ["rm", "-r", str(installed)],
            "outputs": {"none": "none"},
            "retry": {"attempts": 1},
        },
        {"name": "tree", "command": ["sh", "-c", tree], "outputs": {"t": "t/"}},
        {"name": "code", "processor": "code.py", "inputs": {"t": "t/"}, "outputs": {"c": "c.txt"}},
        {"name": "fails", "command": ["sh", "-c", "echo why; exit 3"], "needs": ["code"], "outputs": {"f": "f.txt"}},
    ]
    (tmp_path / "code.py").write_text("import os, helper\nopen(os.environ['PIPELINE_OUTPUT_C'], 'w').write(helper.A)\n")
    (tmp_path / "helper.py").write_text("A = 'a'\n")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "old").write_text("what the directory output replaces\n")
    (tmp_path / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "night", "stages": stages}))
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "runner", "spec.json", "-k", "-j1"],
        cwd=tmp_path, env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not installed.exists()
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "fails: failed" in ended.stderr
    assert "why" in ended.stderr
    assert (tmp_path / "c.txt").read_text() == "a"
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["a"]
