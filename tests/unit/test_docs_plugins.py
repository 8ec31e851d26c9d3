"""docs/plugins.md: its table lists every hook, and its example does what the page says."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_bench import ROOT, PipelineBench, shell

from runner import hookspecs

PAGE = (Path(ROOT) / "docs/plugins.md").read_text(encoding="utf-8")


def test_the_table_has_every_hook_with_its_arguments() -> None:
    documented = {
        name: re.findall(r"`(\w+)`", arguments)
        for name, arguments in re.findall(r"^\| `(offpipe_\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    }
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("offpipe_")}
    assert documented == {name: list(inspect.signature(hook).parameters) for name, hook in hooks.items()}


@pytest.mark.full
def test_the_example_reports_failed_runs(tmp_path) -> None:
    site, home, source = tmp_path / "site", tmp_path / "home", tmp_path / "source"
    home.mkdir()
    source.mkdir()
    for name, text in re.findall(r"^`(\S+)`:\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE):
        (source / name).write_text(text)
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-build-isolation", "--no-deps", "--target")
    subprocess.run([*pip, str(site), str(source)], check=True)
    bench = PipelineBench(tmp_path)
    bench.define(shell("works", "echo >$PIPELINE_OUTPUT_OUT"), shell("fails", "exit 3"))
    env = {"HOME": str(home), "PYTHONPATH": os.pathsep.join((str(ROOT), str(site)))}
    assert bench.run(env=env).returncode == 1
    bench.define(shell("late", "echo >$PIPELINE_OUTPUT_OUT", inputs={"x": "gone.txt"}))
    assert [bench.run(*words, env=env).returncode for words in ((), ("-k",))] == [5, 5]
    notes = re.findall(r"^\w+ \S+: (.*)\n", (home / "failed-runs.txt").read_text(), re.MULTILINE)
    assert notes == ["exit 1, fails", "exit 5, refused", "exit 5, late"]
