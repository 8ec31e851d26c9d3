"""docs/plugins.md: its table has the hooks that are there, and its example does what it says."""

from __future__ import annotations

import inspect
import os
import re
from pathlib import Path

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


def test_the_example_tells_of_a_run_that_failed(tmp_path) -> None:
    site, home = tmp_path / "site", tmp_path / "home"
    (site / "tell-1.dist-info").mkdir(parents=True)
    home.mkdir()
    (site / "tell.py").write_text(re.search(r"`tell\.py`:\n```python\n(.*?)```", PAGE, re.DOTALL)[1])
    (site / "tell-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: tell\nVersion: 1\n")
    (group,) = re.findall(r"^\[project\.entry-points\.(\w+)\]\n(.*)\n", PAGE, re.MULTILINE)
    (site / "tell-1.dist-info/entry_points.txt").write_text(f"[{group[0]}]\n{group[1].replace(chr(34), '')}\n")
    bench = PipelineBench(tmp_path)
    bench.define(shell("works", "echo >$PIPELINE_OUTPUT_OUT"), shell("fails", "exit 3"))
    env = {"HOME": str(home), "PYTHONPATH": os.pathsep.join((str(ROOT), str(site)))}
    assert bench.run(env=env).returncode == 1
    assert re.fullmatch(r"\w+ \S+: exit 1, fails\n", (home / "failed-runs.txt").read_text())
