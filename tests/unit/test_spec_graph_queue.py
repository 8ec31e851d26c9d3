"""A stage is ready when all that it needs has passed. Of several, the first in the spec comes first."""

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


def take_all(queue):
    taken = []
    while (stage := queue.take()) is not None:
        taken.append(stage.name)
    return taken


def test_stages_that_need_nothing_come_in_the_order_of_the_spec(graph):
    assert take_all(ReadyQueue(graph, graph.order)) == ["top", "alone"]


def test_a_stage_is_ready_when_the_last_that_it_needs_has_passed(graph):
    queue = ReadyQueue(graph, graph.order)
    take_all(queue)
    queue.passed("top")
    assert take_all(queue) == ["left", "right"]
    queue.passed("right")
    assert queue.take() is None
    queue.passed("left")
    assert take_all(queue) == ["last"]


def test_a_stage_that_was_put_back_comes_again_in_its_place(graph):
    queue = ReadyQueue(graph, graph.order)
    queue.take()
    queue.again("top")
    assert take_all(queue) == ["top", "alone"]
    queue.again("top")
    queue.passed("top")
    assert take_all(queue) == ["left", "right", "top"]


def test_a_stage_that_has_passed_comes_again_and_what_waits_waits_for_it_too(graph):
    queue = ReadyQueue(graph, graph.order)
    take_all(queue)
    queue.passed("top")
    take_all(queue)
    queue.passed("left")
    queue.again("left")
    queue.passed("right")
    assert take_all(queue) == ["left"]
    queue.passed("left")
    assert take_all(queue) == ["last"]
    queue.again("top")
    queue.again("left")
    assert take_all(queue) == ["top"]
    queue.passed("top")
    assert take_all(queue) == ["left"]


def test_a_stage_that_was_not_selected_is_not_waited_for_and_never_comes(graph):
    queue = ReadyQueue(graph, select(graph, ("left",)))
    assert take_all(queue) == ["top"]
    queue.passed("top")
    assert take_all(queue) == ["left"]
    queue.passed("left")
    assert queue.take() is None
