"""A stage that cuts or extends the log of its run ends the run with 74; the next run mends what a kill can leave."""

from __future__ import annotations

import pytest
from pipeline_bench import PipelineBench, shell

LOG = "state/audit_mine.jsonl"
WORK = "cat in.txt > $PIPELINE_OUTPUT_OUT"
CHANGES = {
    "by half a line": (f"printf '{{\"data\":' >> {LOG}", "extended"),
    "by a copy of its last line": (f"tail -n 1 {LOG} > last; cat last >> {LOG}", "extended"),
    "by some bytes": (f"truncate -s -5 {LOG}", "cut"),
    "to nothing": (f": > {LOG}", "cut"),
}


@pytest.fixture
def bench(tmp_path):
    made = PipelineBench(tmp_path)
    made.write("in.txt", "one\n")
    yield made
    made.close()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("code", [0, 3])
def test_a_log_that_a_stage_cuts_or_extends_ends_the_run(bench, change, code):
    script, how = CHANGES[change]
    bench.define(
        shell("a", f"{WORK}; {script}; exit {code}", inputs={"i": "in.txt"}),
        shell("b", WORK, inputs={"i": "in.txt"}, needs=["a"]),
    )
    done = bench.run("--run-id", "mine")
    assert done.returncode == 74
    assert f"{LOG}: was {how} while the run was at work" in done.stderr
    assert not bench.exists("out/a.txt") and not bench.exists("out/b.txt")


@pytest.mark.parametrize("change", ["by half a line", "by some bytes"])
def test_the_next_run_goes_on_from_the_whole_records(bench, change):
    bench.define(shell("a", f"{WORK}; test -e again || {CHANGES[change][0]}", inputs={"i": "in.txt"}))
    assert bench.run("--run-id", "mine").returncode == 74
    bench.write("again", "")
    bench.succeed()
    assert bench.run("verify", "--outputs").returncode == 0
    assert [record["run"] for record in bench.records("recovered")] == ["mine"]
