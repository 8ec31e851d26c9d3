"""No two runs ever write to the same log, whatever ids they are given or draw."""

from __future__ import annotations

import json

import pytest
from pipeline_bench import kill_and_await, shell, wait_for

from runner.engine import Options
from runner.engine.run import run
from runner.listener import Listener as Quiet
from runner.paths import StatePaths
from runner.record.invocation import new_run_id
from runner.record.log import read_chain
from runner.results import SKIPPED

HOLDS = "echo $$ > pid.new; mv pid.new pid; until test -e go; do sleep 0.01; done; touch $PIPELINE_OUTPUT_OUT"


def sealed_state(bench):
    """Return the content of the logs and metrics of all runs."""
    paths = [path for path in (bench.root / "state").iterdir() if path.name.startswith(("audit_", "metrics_"))]
    return {path.name: path.read_bytes() for path in paths if path.name != "audit_ledger.jsonl"}


def test_a_run_without_work_leaves_the_log_of_a_working_run_with_its_id_alone(bench):
    bench.define(shell("b", HOLDS))
    bench.write("go", "")
    bench.succeed()
    for name in ("go", "pid"):
        (bench.root / name).unlink()
    process = bench.start("-f", "--run-id", "mine")
    wait_for((bench.root / "pid").exists, "the holder")
    before = sealed_state(bench)
    bench.succeed("--run-id", "mine")
    assert sealed_state(bench) == before
    bench.write("go", "")
    assert process.wait(timeout=20) == 0
    events = [record["ev"] for record in read_chain(str(bench.root / "state/audit_mine.jsonl"))]
    assert (events[0], events[-1], events.count("run.start")) == ("run.start", "run.end", 1)


def test_a_run_without_work_leaves_the_log_of_an_ended_run_with_its_id_alone(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "work")
    bench.succeed("--run-id", "none")
    before = sealed_state(bench)
    for run_id in ("work", "none"):
        bench.succeed("--run-id", run_id)
    assert sealed_state(bench) == before


def test_a_run_that_died_before_its_first_record_can_be_begun_again(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    bench.write("state/audit_mine.jsonl", '{"half a rec')
    bench.succeed("--run-id", "mine")
    records = list(read_chain(str(bench.root / "state/audit_mine.jsonl")))
    assert [record["ev"] for record in records][:2] == ["run.start", "recovered"]


def test_a_default_id_that_another_run_has_is_drawn_again(tmp_path):
    paths = StatePaths(str(tmp_path), str(tmp_path))
    draws = iter([b"\0\1", b"\0\1", b"\0\2"])
    ids = []
    for _ in range(2):
        ids.append(new_run_id(paths, lambda: 1_785_000_000.0, lambda _: next(draws)))
        (tmp_path / f"audit_{ids[-1]}.jsonl").touch()
    assert ids == ["20260725T172000Z-0001", "20260725T172000Z-0002"]


class Meanwhile(Quiet):
    """Lets another run do everything while this one is planning."""

    def __init__(self, work):
        self._work = work

    def hashed(self, path, total, size):
        work, self._work = self._work, lambda: None
        work()


def test_a_run_whose_id_has_succeeded_while_it_was_planning_finds_nothing_to_do(bench):
    bench.write("in.txt", "x\n")
    touch = "touch $PIPELINE_OUTPUT_OUT"
    bench.define(shell("a", touch), shell("b", touch, inputs={"text": "in.txt"}))
    beside = Meanwhile(lambda: bench.succeed("--run-id", "mine"))
    result = run(str(bench.spec), Options(run_id="mine"), beside)
    assert {stage.status for stage in result.stages.values()} == {SKIPPED}
    assert len(bench.records("attempt.started")) == 2


# ---- one id, and other stages ----------------------------------------------------------------------------------------


def log_of(bench, run_id):
    return list(read_chain(str(bench.root / f"state/audit_{run_id}.jsonl")))


@pytest.mark.full
def test_a_run_of_other_stages_does_not_end_a_run_in_which_a_stage_failed(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"), shell("b", "test -e go && touch $PIPELINE_OUTPUT_OUT"))
    assert bench.run("--run-id", "mine").returncode == 1
    for words in (("a", "--run-id", "mine"), ("a", "-f", "--run-id", "mine"), ("a",), ("a", "-f")):
        bench.succeed(*words)
        assert log_of(bench, "mine")[-1]["ev"] == "run.stopped"
        assert bench.run("verify").returncode == 3
    assert log_of(bench, "mine")[-1]["data"]["status"] == "failed"
    assert bench.json("status")["openRuns"] == ["mine"]
    bench.write("go", "")
    bench.succeed("b", "--run-id", "mine")  # all that was left
    assert log_of(bench, "mine")[-1]["ev"] == "run.end"
    bench.succeed("verify", "--outputs")
    assert set(json.loads((bench.root / "state/metrics_mine.json").read_text())["stages"]) == {"a", "b"}


def test_a_run_of_some_stages_does_not_end_a_killed_run_of_all(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"), shell("b", HOLDS))
    process = bench.start("--run-id", "mine")
    wait_for((bench.root / "pid").exists, "the holder")
    kill_and_await(process)
    bench.succeed("a", "--run-id", "mine")
    last = log_of(bench, "mine")[-1]
    assert (last["ev"], last["data"]["status"]) == ("run.stopped", "interrupted")
    bench.write("go", "")
    bench.succeed("--run-id", "mine")
    assert log_of(bench, "mine")[-1]["ev"] == "run.end"
    bench.succeed("verify", "--outputs")


def test_a_run_of_a_stage_that_is_no_longer_declared_is_superseded(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"), shell("b", "exit 1"))
    assert bench.run("b", "--run-id", "gone").returncode == 1
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "mine")
    assert [log_of(bench, run)[-1]["ev"] for run in ("gone", "mine")] == ["run.stopped", "run.end"]
    assert bench.json("runs")["runs"][1]["supersededBy"] == "mine"
    bench.succeed("verify", "--outputs")
