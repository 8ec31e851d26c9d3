import pytest

from runner.engine import Options
from runner.engine.open_runs import run_to_go_on
from runner.paths import StatePaths
from runner.record.recovery import OpenRun


def open_run(run, *selected):
    made = OpenRun(run)
    made.selected = selected
    return made


WHOLE, SOME, ONE = open_run("whole"), open_run("some", "a", "b"), open_run("one", "a")
PATHS = StatePaths("/nonexistent", "/nonexistent")


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ((), ONE),
        (("a", "b", "c"), ONE),
        (("a",), ONE),
    ],
)
def test_the_newest_run_goes_on_that_is_of_no_other_stages(stages, expected):
    assert run_to_go_on(PATHS, [WHOLE, SOME, ONE], Options(stages=stages)) is expected


@pytest.mark.parametrize("named", ["a", "b"])
def test_a_run_of_named_stages_does_not_go_on_with_one_of_more(named):
    assert run_to_go_on(PATHS, [WHOLE, SOME], Options(stages=(named,))) not in (WHOLE, SOME)
    assert run_to_go_on(PATHS, [WHOLE, SOME], Options(stages=("a", "b"))) is SOME


def test_the_one_that_is_asked_for_goes_on():
    assert run_to_go_on(PATHS, [WHOLE, SOME, ONE], Options(run_id="some")) is SOME


def test_a_new_run_knows_the_partials_of_those_that_stay_open():
    tags = {"a": {"abcdef": "key"}}
    old = OpenRun("old", tags)
    made = run_to_go_on(PATHS, [old], Options(stages=("a",)))
    assert (made.tags, made.last, made.attempts) == (tags, None, {})
    assert made.run != "old" and run_to_go_on(PATHS, [], Options()).tags == {}
