"""Which stages a failure really keeps from starting, and which it only came before."""

from __future__ import annotations

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.executor.schedule import blocking, reasons_unstarted
from runner.results import FAILED, SUCCEEDED, StageResult

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


ENDED = {"good": StageResult("good", SUCCEEDED), "bad": StageResult("bad", FAILED)}


def test_what_needs_the_failure_is_blocked_and_the_rest_only_not_started(graph):
    assert blocking(graph, "near", ENDED) == ["bad"] and blocking(graph, "alone", ENDED) == []
    assert reasons_unstarted(graph, NAMES, ENDED, interrupted=False) == {
        "near": "blocked by bad",
        "far": "blocked by near",
        "alone": "not started after the failure of bad",
        "behind": "not started after the failure of bad",
    }


def test_after_an_interrupt_nothing_else_is_to_blame(graph):
    assert set(reasons_unstarted(graph, NAMES, ENDED, interrupted=True).values()) == {"not started after the interrupt"}
