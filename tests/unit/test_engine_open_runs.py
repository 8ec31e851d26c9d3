import pytest

from runner.engine import Options
from runner.engine.open_runs import run_to_resume
from runner.paths import StatePaths
from runner.record.recovery import OpenLogs, OpenRun


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
def test_resumes_the_newest_run_without_other_stages(stages, expected):
    assert run_to_resume(PATHS, [WHOLE, SOME, ONE], Options(stages=stages)) is expected


@pytest.mark.parametrize("named", ["a", "b"])
def test_a_run_of_named_stages_resumes_no_run_of_more_stages(named):
    assert run_to_resume(PATHS, [WHOLE, SOME], Options(stages=(named,))) not in (WHOLE, SOME)
    assert run_to_resume(PATHS, [WHOLE, SOME], Options(stages=("a", "b"))) is SOME


def test_resumes_the_run_of_the_given_id():
    assert run_to_resume(PATHS, [WHOLE, SOME, ONE], Options(run_id="some")) is SOME


def test_a_new_run_knows_the_partials_and_positions_of_open_runs():
    logs = OpenLogs({"a": {"abcdef": "key"}}, {("a", None): 1}, {}, set(), [])
    made = run_to_resume(PATHS, [OpenRun("old", logs)], Options(stages=("a",)))
    assert (made.logs, made.last, made.attempts) == (logs, None, {})
    assert made.run != "old" and run_to_resume(PATHS, [], Options()).logs.tags == {}
