"""A run whose stages are asked for one after the other: one record, whatever comes in between."""

import contextlib
import json
import os
import subprocess
import sys

import pytest
from pipeline_bench import ROOT, PipelineBench, shell

from pytest_offpipe.launchers import Launchers
from runner.api import Options
from runner.api.stepwise import StepwiseRun
from runner.api.surroundings import warmth
from runner.errors import EXIT_LOCKED, InputError, StateError
from runner.hookspecs import hookimpl
from runner.results import FAILED, SKIPPED, SUCCEEDED

OK = "touch $PIPELINE_OUTPUT_OUT"
DIES = """\
import os, sys
from runner.api import Options
from runner.api.stepwise import StepwiseRun
StepwiseRun(sys.argv[1], Options()).run("a")
os._exit(9)
"""


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


class Lending:
    """Makes one launcher for all stages, as the checks of a spec do; one more would be another part of the run."""

    def __init__(self):
        self.launchers = Launchers()

    @hookimpl
    def offpipe_make_launcher(self, spec):
        launcher = self.launchers.lend(warmth(spec))
        launcher.alter = lambda launch: launch
        return launcher


@pytest.fixture
def lending(monkeypatch):
    monkeypatch.setattr("pytest_offpipe.launchers.circumstances", os.getpid)  # others may mount something meanwhile
    made = Lending()
    yield made
    made.launchers.close()


@pytest.fixture
def stepwise(bench, lending):
    made = StepwiseRun(str(bench.spec), Options(), (lending,))
    yield made
    made.close()


def ledger(bench):
    return [record["ev"] for record in map(json.loads, bench.read("state/audit_ledger.jsonl").splitlines())]


def ended(bench):
    """How the last part of each run ended: its last event, and the status with it."""
    return [(one["ev"], one["data"]["status"]) for one in bench.records() if one["ev"] in ("run.end", "run.stopped")]


def test_stages_that_are_asked_for_one_by_one_are_one_run_that_succeeded(bench, stepwise):
    bench.define(shell("a", OK), shell("b", OK), shell("c", OK))
    runs = {stepwise.run(stage).run_id for stage in ("b", "a", "c")}
    stepwise.close()
    assert len(runs) == 1
    assert ledger(bench) == ["opened", "closed"]
    assert [one["data"]["stage"] for one in bench.records("stage.commit")] == ["b", "a", "c"]
    assert ended(bench) == [("run.end", SUCCEEDED)]
    assert set(bench.metrics()["stages"]) == {"a", "b", "c"}
    bench.succeed("verify", "--outputs")
    assert bench.skips_everything()


def test_what_a_stage_needs_is_brought_up_to_date_once(bench, stepwise):
    bench.define(shell("a", OK), shell("b", OK, needs=["a"]), shell("c", OK, needs=["a"]))
    assert {name: one.status for name, one in stepwise.run("b").stages.items()} == {"a": SUCCEEDED, "b": SUCCEEDED}
    assert {name: one.status for name, one in stepwise.run("c").stages.items()} == {"a": SKIPPED, "c": SUCCEEDED}


def test_a_run_that_is_closed_too_early_goes_on_later(bench, stepwise):
    bench.define(shell("a", OK), shell("b", OK))
    stepwise.run("a")
    stepwise.close()
    assert ended(bench) == [("run.stopped", "interrupted")]
    stepwise.run("b")
    stepwise.close()
    assert ledger(bench) == ["opened", "opened", "closed"]
    assert len(bench.records("attempt.started")) == 2
    assert ended(bench)[-1] == ("run.end", SUCCEEDED)


def test_the_run_of_a_process_that_died_goes_on(bench):
    bench.define(shell("a", OK), shell("b", OK))
    assert subprocess.run([sys.executable, "-c", DIES, bench.spec], cwd=ROOT, check=False).returncode == 9
    bench.succeed()
    assert ledger(bench) == ["opened", "opened", "closed"]
    assert [one["data"]["stage"] for one in bench.records("attempt.started")] == ["a", "b"]
    bench.succeed("verify", "--outputs")


def test_nobody_else_runs_while_it_is_open(bench, stepwise):
    bench.define(shell("a", OK), shell("b", OK))
    stepwise.run("a")
    assert bench.run().returncode == EXIT_LOCKED
    stepwise.close()
    bench.succeed()


def test_a_stage_that_fails_is_no_harm_to_others_and_leaves_the_run_open(bench, stepwise):
    bench.define(shell("a", "exit 3"), shell("b", OK))
    assert stepwise.run("a").status == FAILED
    assert stepwise.run("b").status == SUCCEEDED
    stepwise.close()
    assert ended(bench) == [("run.stopped", FAILED)]
    assert ledger(bench) == ["opened"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_stage_that_cannot_be_started_is_no_harm_to_others(bench, stepwise, order):
    bench.define(shell("a", OK, inputs={"in": "missing"}), shell("b", OK))
    for stage in order:
        if stage == "a":
            with pytest.raises(InputError, match="missing"):
                stepwise.run(stage)
        else:
            assert stepwise.run(stage).status == SUCCEEDED


def test_a_stage_that_writes_into_the_record_is_told_by_itself(bench, stepwise):
    bench.define(shell("a", f"{OK}; echo x >>state/audit_ledger.jsonl"), shell("b", OK))
    with pytest.raises(StateError, match="the record is damaged"):
        stepwise.run("a")


def test_stages_are_started_in_the_world_as_it_is_now(bench, stepwise, monkeypatch):
    bench.define(shell("a", "echo $HOME >$PIPELINE_OUTPUT_OUT"), shell("b", "echo $HOME >$PIPELINE_OUTPUT_OUT"))
    for stage, home in (("a", "/one"), ("b", "/other")):
        monkeypatch.setenv("HOME", home)
        stepwise.run(stage)
    assert [bench.read(f"out/{stage}.txt") for stage in "ab"] == [b"/one\n", b"/other\n"]
    stepwise.close()
    assert ledger(bench) == ["opened", "opened", "closed"]


def test_another_launcher_is_another_part_of_the_run(bench, stepwise, lending):
    """What isolates stages is on record for each part, by the numbers of its namespaces."""
    bench.define(shell("a", OK), shell("b", OK))
    stepwise.run("a")
    with contextlib.closing(lending.launchers):  # it lives on meanwhile: the kernel gives numbers again
        lending.launchers = Launchers()
        stepwise.run("b")
    stepwise.close()
    begun = [one["data"]["isolation"] for one in bench.records() if one["ev"] in ("run.start", "run.resumed")]
    assert len(begun) == 2
    assert ended(bench)[-1] == ("run.end", SUCCEEDED)


def test_nothing_that_was_open_is_left_open(bench):
    bench.define(shell("a", OK), shell("b", OK))
    before = sorted(os.listdir("/proc/self/fd"))
    stepwise = StepwiseRun(str(bench.spec), Options())
    for stage in "ab":
        stepwise.run(stage)
    stepwise.close()
    stepwise.close()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert bench.leftovers() == []
