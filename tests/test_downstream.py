"""examples/downstream is a project of its own: copied elsewhere, with our wheel installed, its tests pass."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
from installing import MISSING, ROOT, copy_checkout, install, run

STAGES = ("clean", "sort", "averages", "report")
CHECKS = ("run", "outputs", "repeat", "reads", "retry", "resume", "stop", "full")
PIPELINE = {f"pipeline[{check}]" for check in ("offline", "skip", "audit")}
OWN = 11  # tests of the project itself
ALONE = ("-p", "no:hypothesispytest", "-p", "no:randomly", "-p", "no:cov")  # plugins that our own environment has

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}"),
    pytest.mark.full,
]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of an environment that the wheel was installed into."""
    top = tmp_path_factory.mktemp("downstream-wheel")
    checkout = copy_checkout(top / "checkout")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", top, cwd=checkout)
    [wheel] = top.glob("*.whl")
    return install(wheel, top / "venv") / "python"


@pytest.fixture
def project(tmp_path) -> Path:
    left = shutil.ignore_patterns("__pycache__", ".*_cache", "work", "state", "locks", ".offpipe")
    return Path(shutil.copytree(ROOT / "examples/downstream", tmp_path / "project", ignore=left))


def outcomes(output: str) -> dict[str, str]:
    """Return how each test ended, from the lines that `-rA` shows."""
    return {
        test.removeprefix("specs/readings.json::"): how
        for how, test in re.findall(r"^(PASSED|FAILED|ERROR) (\S+)", output, re.MULTILINE)
    }


def files(top: Path) -> set[str]:
    return {path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file()}


def test_tests_and_checks_pass_from_the_wheel(python, project) -> None:
    origin = run(python, "-c", "import pytest_offpipe; print(pytest_offpipe.__file__)", cwd=project)
    assert Path(origin).is_relative_to(python.parents[1])
    before = files(project)
    results = outcomes(run(python, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *ALONE, cwd=project))
    checks = {f"{stage}[{check}]" for stage in STAGES for check in CHECKS} - {"sort[resume]", "sort[stop]"}
    checks.add("clean[hostile]")  # it reads a table
    # Chance decides whether a kill hits a stage that takes only a moment. All other checks are always made.
    chancy = {f"{stage}[{check}]" for stage in STAGES for check in ("resume", "stop")}
    own = {test for test in results if test.startswith("tests/")}
    assert (checks - chancy) | PIPELINE <= set(results) <= checks | PIPELINE | own
    assert len(own) == OWN
    assert set(results.values()) == {"PASSED"}
    assert {name for name in files(project) - before if "__pycache__" not in name} == set()


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_two_workers_give_the_same_results(python, project) -> None:
    quick = ("--offpipe-checks", "run,outputs,offline,skip,audit")
    results = outcomes(run(python, "-m", "pytest", "-rA", "-n2", *quick, *ALONE, cwd=project))
    made = {f"{stage}[{check}]" for stage in STAGES for check in ("run", "outputs")} | PIPELINE
    assert {test for test in results if not test.startswith("tests/")} == made
    assert len(results) == len(made) + OWN
    assert set(results.values()) == {"PASSED"}


def test_a_stamp_in_an_output_is_found(python, project) -> None:
    stage = project / "station/averages.py"
    stage.write_text(
        stage.read_text().replace("table = csv", "file.write(f'# {time.time()}\\n')\n            table = csv")
    )
    stage.write_text(stage.read_text().replace("import csv\n", "import csv\nimport time\n"))
    output = failing(python, project, "averages[repeat]", "specs/readings.json", "-k", "averages and (run or repeat)")
    assert "it depends on: the time, or chance" in output


def test_lines_that_a_retry_doubles_are_found(python, project) -> None:
    spec = project / "specs/readings.json"
    spec.write_text(spec.read_text().replace('"sealed": true', '"sealed": false'))  # sealed, it begins with no file
    stage = project / "station/averages.py"
    kept = stage.read_text().replace('stage.outputs["averages"], "w"', '"averages.tmp", "a"')
    copied = '\n        shutil.copyfile("averages.tmp", stage.outputs["averages"])\n\n\nif __name__'
    stage.write_text(kept.replace("\n\n\nif __name__", copied).replace("import csv\n", "import csv\nimport shutil\n"))
    arguments = ("specs/readings.json", "-k", "averages and (run or retry)")
    output = failing(python, project, "averages[retry]", *arguments)
    assert "made an attempt exit with 75 when its work was done" in output
    assert re.search(r"after a retry: *'harbour,", output)


def failing(python: Path, project: Path, check: str, *arguments: str) -> str:
    """Run pytest and expect `check` as its only failure; return the output."""
    output = run(python, "-m", "pytest", "-rA", *ALONE, *arguments, cwd=project, fails=True)
    results = outcomes(output)
    assert [test for test, how in results.items() if how != "PASSED"] == [check], output
    assert results["averages[run]"] == "PASSED"
    return output
