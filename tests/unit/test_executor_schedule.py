"""Which stages a failure blocks, and which are only not started after it."""

from __future__ import annotations

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.executor.schedule import blocking, unstarted
from runner.plan.decisions import Plan, Run, Skip
from runner.results import FAILED, SKIPPED, SUCCEEDED, StageResult

NAMES = ["near", "far", "alone", "behind"]


@pytest.fixture
def graph(tmp_path):
    bench = PlanBench(tmp_path)
    bench.define(
        shell("good", "true"), shell("bad", "false"), shell("near", "true", needs=["good", "bad"]),
        shell("far", "true", needs=["near", "good"]), shell("alone", "true", needs=["good"]),
        shell("behind", "true", needs=["alone"]),
    )  # fmt: skip
    return bench.session().graph


PLAN = Plan(dict.fromkeys(NAMES, Run(())), ())
ENDED = {"good": StageResult("good", SUCCEEDED), "bad": StageResult("bad", FAILED)}


def reasons_unstarted(graph, *, interrupted):
    return {result.name: result.fault.what for result in unstarted(graph, PLAN, ENDED, interrupted=interrupted)}


def test_what_needs_the_failure_is_blocked_and_the_rest_only_not_started(graph):
    assert blocking(graph, "near", ENDED) == ["bad"] and blocking(graph, "alone", ENDED) == []
    assert reasons_unstarted(graph, interrupted=False) == {
        "near": "blocked by bad",
        "far": "blocked by near",
        "alone": "not started after the failure of bad",
        "behind": "not started after the failure of bad",
    }


def test_after_an_interrupt_nothing_else_is_to_blame(graph):
    assert set(reasons_unstarted(graph, interrupted=True).values()) == {"not started after the interrupt"}


def test_an_up_to_date_stage_is_skipped_even_after_a_failure(graph):
    plan = Plan({"alone": Skip("key")}, ())
    (result,) = unstarted(graph, plan, ENDED, interrupted=False)
    assert (result.status, result.key) == (SKIPPED, "key")
