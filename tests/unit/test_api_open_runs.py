import pytest

from runner.api.open_runs import new_run, run_to_go_on
from runner.api.options import Options
from runner.paths import StatePaths
from runner.record.ledger import OpenRun


def open_run(run, *selected):
    return OpenRun(run, None, {}, 0, selected=selected)


WHOLE, SOME, ONE = open_run("whole"), open_run("some", "a", "b"), open_run("one", "a")


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ((), ONE),
        (("a", "b", "c"), ONE),
        (("a",), ONE),
        (("b",), None),
    ],
)
def test_the_newest_run_goes_on_that_is_of_no_other_stages(stages, expected):
    assert run_to_go_on([WHOLE, SOME, ONE], Options(stages=stages)) is expected


def test_a_run_of_named_stages_does_not_go_on_with_one_of_more():
    assert run_to_go_on([WHOLE, SOME], Options(stages=("a",))) is None
    assert run_to_go_on([WHOLE, SOME], Options(stages=("a", "b"))) is SOME


def test_the_one_that_is_asked_for_goes_on():
    assert run_to_go_on([WHOLE, SOME, ONE], Options(run_id="some")) is SOME
    assert run_to_go_on([], Options()) is None


def test_a_new_run_knows_the_partials_of_those_that_stay_open(tmp_path):
    paths = StatePaths(str(tmp_path), str(tmp_path))
    tags = {"a": {"abcdef": "key"}}
    made = new_run(paths, [OpenRun("old", None, {}, 0, tags=tags)])
    assert (made.tags, made.last, made.attempts) == (tags, None, {})
    assert made.run != "old" and new_run(paths, []).tags == {}
