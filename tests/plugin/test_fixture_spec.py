"""`offpipe_spec`: a copy that a test may change, of each given spec or of the one that a marker names."""

from __future__ import annotations

import json

import pytest
from fixture_project import make_project
from spec_project import LEFT_OUT

pytestmark = pytest.mark.full

USES = r"""
    from pathlib import Path
    import pytest

    def test_given(offpipe, offpipe_spec):
        assert offpipe_spec.path.suffix == ".json" and offpipe_spec["stages"]
        offpipe_spec.stage("clean")["params"] = {"mode": "upper"}
        offpipe_spec["stages"] = [offpipe_spec.stage("clean")]
        report = offpipe.run(offpipe_spec)
        assert (report.exit_code, list(report.stages)) == (0, ["clean"])
        assert report.stages["clean"].outputs["text"].lines[0] == b"LINE 0"

    @pytest.mark.offpipe_spec("specs/small.json", params={"clean": {"mode": "upper"}}, inputs="fewer")
    def test_marked(offpipe, offpipe_spec):
        assert offpipe_spec.path == Path("specs/small.json").resolve()
        assert offpipe.run(offpipe_spec).stages["clean"].outputs["text"] == b"FEWER\n"
        assert offpipe.stage(offpipe_spec, "clean").outputs["text"] == b"FEWER\n"
        spec = offpipe.copy(offpipe_spec)
        assert offpipe.cli("status", offpipe_spec).exit_code == 0 and spec.exists()

    @pytest.mark.offpipe_spec("specs/small.json")
    def test_unknown_stage(offpipe_spec):
        offpipe_spec.stage("claen")

    @pytest.mark.offpipe_spec("specs/small.json", params={"srot": {}})
    def test_unknown_stage_in_marker(offpipe_spec): ...

    @pytest.mark.offpipe_spec("specs/nix.json")
    def test_missing(offpipe_spec): ...

    @pytest.mark.offpipe_spec("specs/broken.json")
    def test_broken(offpipe_spec): ...
"""

OVERRIDES = """
    import pytest

    @pytest.fixture
    def offpipe_spec(offpipe_spec):
        offpipe_spec.stage("clean")["params"] = {"mode": "upper"}
        return offpipe_spec

    @pytest.fixture
    def clean(offpipe, offpipe_spec):
        return lambda text: offpipe.stage(offpipe_spec, "clean", inputs={"text": text}).outputs["text"]
"""
OVERRIDDEN = """
    def test_clean(clean):
        assert clean("a") == b"A"

    def test_run(offpipe_run):
        assert offpipe_run.stages["clean"].outputs["text"].lines[0] == b"LINE 0"
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch) -> pytest.Pytester:
    monkeypatch.setenv("COLUMNS", "200")
    first = make_project(pytester.path)
    second = json.loads(first.read_text())
    second["name"] = "other"
    (first.parent / "other.json").write_text(json.dumps(second))
    (first.parent / "broken.json").write_text(json.dumps(second | {"stages": 1}))
    (pytester.path / "fewer/data").mkdir(parents=True)
    (pytester.path / "fewer/data/in.txt").write_text("Fewer\n")
    pytester.makepyfile(test_uses=USES)
    return pytester


def test_a_test_runs_for_each_spec_that_is_given(project: pytest.Pytester) -> None:
    args = ("--offpipe-spec", "specs/small.json", "--offpipe-spec", "specs/other.json", "test_uses.py", "-k", "given")
    result = project.runpytest_subprocess("-W", "error", *LEFT_OUT, "-n2", "-v", *args)
    result.stdout.fnmatch_lines_random(
        [
            "*PASSED*test_uses.py::test_given[[]specs/small.json]*",
            "*PASSED*test_uses.py::test_given[[]specs/other.json]*",
        ]
    )
    result.assert_outcomes(passed=2)


def test_the_specs_of_the_ini_count_also_when_paths_are_given(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\noffpipe_specs = specs/small.json")
    result = project.runpytest_subprocess(*LEFT_OUT, "-v", "test_uses.py::test_given")
    result.stdout.fnmatch_lines(["test_uses.py::test_given[[]specs/small.json] PASSED*"])
    result.assert_outcomes(passed=1)


def test_without_a_spec_tests_are_skipped_with_the_reason_and_markers_count(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-W", "error", *LEFT_OUT, "-rs", "test_uses.py")
    result.assert_outcomes(passed=1, skipped=1, failed=1, errors=3)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED [[]1] test_uses.py:*: no spec is given: --offpipe-spec SPEC, the ini offpipe_specs, *",
            'E*UsageError: error: *specs/small.json: no stage named "claen"',
            'E*hint: did you mean "clean"[?]',
            'error: *specs/small.json: no stage named "srot"',
            "error: specs/nix.json: no such file in *",
            "error: specs/broken.json#/stages: must be an array*",
        ]
    )


def test_an_ini_that_matches_nothing_fails_only_tests_that_use_a_spec(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\noffpipe_specs = none/*.json")
    project.makepyfile(test_other="def test_one(): ...")
    result = project.runpytest_subprocess("-W", "error", *LEFT_OUT, "test_other.py")
    result.assert_outcomes(passed=1)
    result = project.runpytest_subprocess("-W", "error", *LEFT_OUT, "test_uses.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*UsageError: offpipe_specs: none/*.json: no such file"])


def test_a_conftest_may_override_the_fixtures(project: pytest.Pytester) -> None:
    project.makeconftest(OVERRIDES)
    project.makepyfile(test_overridden=OVERRIDDEN)
    args = ("--offpipe-spec", "specs/small.json", "test_overridden.py", "-k", "clean or test_run")
    result = project.runpytest_subprocess("-W", "error", *LEFT_OUT, "--offpipe-checks", "audit", *args)
    result.assert_outcomes(passed=2, deselected=1)
