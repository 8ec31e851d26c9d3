"""Each check takes the time that is its own, whichever of them came to make the run that all of them share."""

import xml.etree.ElementTree as ET

import pytest
from checked_stage import CheckedStage

pytestmark = pytest.mark.full


def test_the_time_of_the_shared_run_is_that_of_the_check_run(pytester):
    stage = CheckedStage(pytester).shell('sleep 1; cat "$i" > "$o"')
    assert stage.check("outputs,run", "--junit-xml=report.xml", "-p", "no:randomly").ret == 0
    seconds = durations(pytester)
    assert seconds["work[run]"] >= 1
    assert seconds["work[outputs]"] < seconds["work[run]"] / 2


def test_the_time_of_the_shared_run_is_that_of_the_check_run_whoever_came_first(pytester):
    stage = CheckedStage(pytester).shell('sleep 1; cat "$i" > "$o"')
    names = [f"spec.json::work[{name}]" for name in ("outputs", "run")]
    stage.check("outputs,run", "--collect-only")
    result = pytester.runpytest_inprocess("-p", "no:randomly", "--junit-xml=report.xml", *names)
    result.assert_outcomes(passed=2)
    assert list(durations(pytester)) == ["work[outputs]", "work[run]"]
    assert durations(pytester)["work[run]"] >= 1
    assert durations(pytester)["work[outputs]"] < durations(pytester)["work[run]"] / 2


def test_a_check_without_the_check_run_keeps_its_time(pytester):
    stage = CheckedStage(pytester).shell('sleep 1; cat "$i" > "$o"')
    assert stage.check("outputs", "--junit-xml=report.xml").ret == 0
    assert durations(pytester)["work[outputs]"] >= 1


def durations(pytester):
    tree = ET.parse(pytester.path / "report.xml")
    return {case.get("name"): float(case.get("time")) for case in tree.iter("testcase")}
