"""Which stage's turn it is: all that it needs has passed, and the first in the spec goes first."""

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.spec.graph import ReadyQueue, select


@pytest.fixture
def graph(tmp_path):
    bench = PlanBench(tmp_path)
    bench.define(
        shell("last", "true", needs=["left", "right"]), shell("left", "true", needs=["top"]),
        shell("right", "true", needs=["top"]), shell("top", "true"), shell("alone", "true"),
    )  # fmt: skip
    return bench.session().graph


def take_all(frontier):
    taken = []
    while (stage := frontier.take()) is not None:
        taken.append(stage.name)
    return taken


def test_what_waits_for_nothing_comes_in_the_order_of_the_spec(graph):
    assert take_all(ReadyQueue(graph, graph.order)) == ["top", "alone"]


def test_a_stage_is_ready_when_the_last_that_it_needs_has_passed(graph):
    frontier = ReadyQueue(graph, graph.order)
    take_all(frontier)
    frontier.passed("top")
    assert take_all(frontier) == ["left", "right"]
    frontier.passed("right")
    assert frontier.take() is None
    frontier.passed("left")
    assert take_all(frontier) == ["last"]


def test_what_was_not_selected_is_not_waited_for_and_never_comes(graph):
    frontier = ReadyQueue(graph, select(graph, ("left",)))
    assert take_all(frontier) == ["top"]
    frontier.passed("top")
    assert take_all(frontier) == ["left"]
    frontier.passed("left")
    assert frontier.take() is None
