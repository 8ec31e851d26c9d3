"""docs/spec.md, "From a Makefile": the script is run as printed, and each command prints what the page says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

from pipeline_bench import ROOT


def test_the_script_writes_a_spec_that_does_what_the_page_says(tmp_path) -> None:
    page = (ROOT / "docs/spec.md").read_text().partition("## From a Makefile")[2]
    name = re.search(r"in `(\w+\.py)`:", page)[1]
    (tmp_path / name).write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    (tmp_path / "in").mkdir()
    for letter in "ab":
        (tmp_path / f"in/{letter}.txt").write_text(f"{letter}\n")
    ran = 0
    for told in re.search(r"```console\n(.*?)```", page, re.DOTALL)[1].split("$ ")[1:]:
        command, _, expected = told.partition("\n")
        program, *words = shlex.split(command)
        start = {
            "python": [sys.executable],
            "offpipe": [sys.executable, "-m", "runner"],
            "touch": ["touch"],
            "cat": ["cat"],
        }
        done = subprocess.run(
            [*start[program], *words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")
        ran += 1
    assert ran == 7
