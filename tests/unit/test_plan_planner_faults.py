"""Everything that keeps a run from starting is reported at once."""

from __future__ import annotations

import pytest
from pipeline_bench import PipelineBench, shell

from runner.engine import Options
from runner.errors import EXIT_OFFLINE, OfflineError
from runner.verbs.query import plan


def test_code_that_is_no_python_is_reported_once_and_hides_no_missing_input(tmp_path):
    bench = PipelineBench(tmp_path)
    bench.write("broken.py", "def\n")
    bench.define(
        {"name": "a", "processor": "broken.py", "outputs": ["a.txt"]},
        {"name": "b", "processor": "broken.py", "outputs": ["b.txt"]},
        shell("c", "true", inputs={"in": "missing.txt"}),
        shell("d", "true", inputs={"in": "missing/*.txt"}),
    )
    with pytest.raises(OfflineError) as caught:
        plan(str(bench.spec), Options())
    assert caught.value.exit_code == EXIT_OFFLINE
    code, file, glob = caught.value.faults
    assert code.where.startswith("broken.py:1")
    assert file.where.endswith("#/stages/2/inputs/in") and glob.where.endswith("#/stages/3/inputs/in")


def test_a_blocked_stage_hides_none_of_the_inputs_that_later_stages_miss(tmp_path):
    bench = PipelineBench(tmp_path)
    bench.define(
        shell("a", "true", inputs={"in": "missing.txt"}),
        shell("b", "true", inputs={"in": ["out/a.txt", "missing/*.txt"], "other": "gone.txt"}),
        shell("c", "true", inputs={"in": "out/b.txt"}, needs=["a"]),
        shell("d", "true", inputs={"in": "lost.txt"}, needs=["c"]),
    )
    faults = plan(str(bench.spec), Options()).planning.plan.faults
    assert [fault.where.rpartition("#")[2] for fault in faults] == [
        "/stages/0/inputs/in", "/stages/1/inputs/in/1", "/stages/1/inputs/other", "/stages/3/inputs/in",
    ]  # fmt: skip
