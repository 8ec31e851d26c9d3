"""The plugin on other releases of pytest and Python. Left out by `-m "not matrix"`; .ci/run runs it all.

A test is skipped, with the installer's message, if it cannot get the packages of its environment.
"""

from __future__ import annotations

import sys

import pytest
from environments import UnavailableError, environment, pythons
from spec_project import COPY, SORT, SpecProject

OLDER = {"pytest 8.4": "pytest==8.4.*", "pytest 9.0": "pytest==9.0.*"}
NEWEST = "pytest>=9.2"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
FOUND = pythons()
WANTED = {
    **{f"Python {HERE}, {name}": (sys.executable, requirement) for name, requirement in OLDER.items()},
    **{f"Python {version}, {NEWEST}": (path, NEWEST) for version, path in FOUND.items()},
}
RELEASES = {name: wanted for name, wanted in WANTED.items() if name.startswith(f"Python {HERE},")}

pytestmark = [pytest.mark.matrix, pytest.mark.full]


@pytest.fixture(params=WANTED.values(), ids=WANTED)
def run(request, pytester):
    """Return a function that runs pytest in the project, in another environment."""
    try:
        python = environment(*request.param)
    except UnavailableError as error:
        pytest.skip(str(error))

    def run_there(*arguments):
        return pytester.run(python, "-m", "pytest", "--offpipe-checks", "run,outputs,skip", *arguments, timeout=120)

    return run_there


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.write("test_plain.py", "def test_plain(): pass\n")
    return made


def order(result):
    return [line.split(" ")[0] for line in result.outlines if line.startswith(("it.json::", "test_plain.py::"))]


@pytest.mark.parametrize("run", RELEASES.values(), ids=RELEASES, indirect=True)
def test_failed_checks_are_found_again(project, run):
    """What pytest keeps between two sessions depends on its release, not on Python's."""
    project.spec(COPY, project.shell("exit 3"), {**SORT, "inputs": {"text": "in.txt"}})
    run("it.json", "test_plain.py").assert_outcomes(passed=5, failed=1, skipped=2)
    result = run("it.json", "test_plain.py", "--lf", "-v")
    result.assert_outcomes(failed=1, deselected=6)
    result.stdout.fnmatch_lines(["failed with exit 3"])
    assert order(run("it.json", "test_plain.py", "--ff", "-v"))[0] == "it.json::work[run]"
    first = run("it.json", "test_plain.py", "--sw", "-v")
    first.assert_outcomes(passed=2, failed=1)
    project.write("work.sh", "cp $PIPELINE_INPUT_TEXT $PIPELINE_OUTPUT_TEXT\n")
    again = run("it.json", "test_plain.py", "--sw", "-v")
    again.assert_outcomes(passed=6, deselected=2)
    assert order(again)[0] == "it.json::work[run]"
    assert len(order(run("it.json", "test_plain.py", "--nf", "-v"))) == 8


def test_specs_and_paths_are_collected_once_even_if_one_contains_another(project, run):
    project.spec()
    expected = ["it.json::copy[run]", "it.json::copy[outputs]", "it.json::sort[run]", "it.json::sort[outputs]"]
    expected += ["it.json::pipeline[skip]"]
    assert order(run("--collect-only", "-q", "it.json", "it.json")) == expected
    narrowed = run("--collect-only", "-q", "it.json::copy[run]", "--offpipe-spec", "it.json")
    assert order(narrowed) == ["it.json::copy[run]"]
    assert sorted(order(run("--collect-only", "-q", ".", "it.json"))) == sorted(
        [*expected, "test_plain.py::test_plain"]
    )


def test_strict_settings_workers_and_warnings_as_errors(project, run):
    project.spec()
    project.ini("addopts = --strict-markers --strict-config --import-mode=importlib -p no:cacheprovider\n")
    run("it.json", "test_plain.py", "-n", "2", "-W", "error").assert_outcomes(passed=6)
