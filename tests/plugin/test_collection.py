"""A spec is collected as tests: which ones, in what order, only once, and with pytest's usual options."""

from __future__ import annotations

import importlib.util
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import offline_deny
import pytest
from spec_project import COPY, LEFT_OUT, SORT, SpecProject, ids

from pytest_offpipe.settings import PIPELINE_CHECKS, STAGE_CHECKS

TEST = "def test_a(): pass\n"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def project(pytester):
    return SpecProject(pytester)


def test_items_are_flat_and_in_the_order_of_the_spec(project):
    project.spec(SORT, COPY)
    items = project.collected("--offpipe-spec", "it.json", checks=False)
    checks = ("run", "outputs", "repeat", "reads", "retry", "resume", "stop", "full")
    whole = [f"it.json::pipeline[{name}]" for name in ("offline", "skip", "audit")]
    assert items == [whole[0], *ids(stages=("sort", "copy"), checks=checks), *whole[1:]]


def test_every_check_is_explained():
    plain, others = ((DOCS / name).read_text() for name in ("pytest-specs.md", "checks.md"))
    assert [name for name in STAGE_CHECKS if f"- `{name}`: " not in plain and f"\n## {name}\n" not in others] == []
    assert [name for name in PIPELINE_CHECKS if f"- `pipeline[{name}]`: " not in plain] == []


def test_items_are_functions_below_a_file(project):
    project.spec()
    project.pytester.makeconftest("""
        import pytest

        def pytest_collection_modifyitems(items):
            assert all(isinstance(one, pytest.Function) and isinstance(one.parent, pytest.File) for one in items)
            assert all(one.get_closest_marker("offpipe") for one in items)
    """)
    project.pytest("--offpipe-spec", "it.json").assert_outcomes(passed=4)


def test_fixtures_of_conftest_files_apply_as_for_any_test(project):
    project.spec(to="below/it.json", root="..")
    project.write("conftest.py", """
        import pytest

        @pytest.fixture(autouse=True)
        def seen(request, tmp_path, level):
            yield
            print("seen", request.node.name, request.module.__name__, tmp_path.exists(), level)

        @pytest.fixture
        def level():
            return "above"

        @pytest.fixture(autouse=True, scope="module")
        def once():
            print("once a spec")
    """)  # fmt: skip
    project.write("below/conftest.py", """
        import pytest

        @pytest.fixture
        def level():
            return "below"
    """)  # fmt: skip
    result = project.pytest("--offpipe-spec", "below/it.json", "-s", "--setup-show")
    result.assert_outcomes(passed=4)
    assert sum("once a spec" in line for line in result.outlines) == 1
    result.stdout.fnmatch_lines(["*seen copy[[]run] it True below*", "*seen sort[[]outputs] it True below*"])


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("-k", "copy"), ids(stages=["copy"])),
        (("-k", "sort and outputs"), ["it.json::sort[outputs]"]),
        (("-m", "offpipe"), ids()),
        (("-m", "not offpipe"), []),
        (("--deselect", "it.json::copy[run]"), ids()[1:]),
        (("--offpipe-checks", "outputs"), ids(checks=["outputs"])),
    ],
)  # fmt: skip
def test_items_are_selected_like_any_test(project, arguments, found):
    project.spec()
    assert project.collected("--offpipe-spec", "it.json", *arguments) == found


@pytest.mark.parametrize(
    "arguments",
    ["it.json", "it.json it.json", "./it.json --offpipe-spec it.json", "it.json::copy[run] it.json"],
)
def test_spec_named_as_a_path_is_collected_once(project, arguments):
    project.spec()
    assert project.collected(*arguments.split()) == ids()


def test_node_ids_name_checks_with_and_without_the_option(project):
    project.spec()
    project.pytest("it.json::sort[run]").assert_outcomes(passed=1)
    assert project.collected("it.json::sort[run]", "it.json::copy[outputs]") == [ids()[2], ids()[1]]
    assert project.pytest("it.json::nothing[run]").ret == pytest.ExitCode.USAGE_ERROR


def test_node_ids_narrow_down_a_spec_that_an_option_names(project):
    project.spec()
    project.spec(to="other.json")
    option = ("--offpipe-spec", "it.json")
    assert project.collected("it.json::sort[run]", *option) == ids()[2:3]
    assert project.collected("./it.json::sort[run]", *option, "it.json") == ids()
    project.ini("addopts = --offpipe-spec it.json --offpipe-spec other.json\n")
    assert project.collected("it.json::sort[run]") == [ids()[2], *ids("other.json")]


def test_spec_named_by_the_option_may_be_called_anything(project):
    project.spec(to="pipeline.txt")
    assert project.collected("--offpipe-spec", "pipeline.txt") == ids("pipeline.txt")
    assert project.pytest("pipeline.txt", checks=False).ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_json_files_that_were_not_named_are_no_specs(project):
    project.spec()
    project.write("test_a.py", TEST)
    assert project.collected() == project.collected(".") == ["test_a.py::test_a"]


def test_json_file_without_spec_version_is_left_to_other_plugins(project):
    project.spec()
    project.write("cases.json", '{"name": "other"}')
    project.write("conftest.py", """
        import pytest

        class Other(pytest.File):
            def collect(self):
                return [OtherItem.from_parent(self, name="other")]

        class OtherItem(pytest.Item):
            def runtest(self):
                pass

        def pytest_collect_file(file_path, parent):
            if file_path.name == "cases.json":
                return Other.from_parent(parent, path=file_path)
    """)  # fmt: skip
    assert project.collected("cases.json") == ["cases.json::other"]
    assert project.collected("cases.json", "it.json") == ["cases.json::other", *ids()]


@pytest.mark.parametrize("arguments", [(), ("--offpipe-spec", "cases.json")])
def test_file_named_by_option_or_ini_must_have_a_spec_version(project, arguments):
    project.write("cases.json", '{"name": "other"}')
    project.ini("" if arguments else "offpipe_specs = cases.json\n")
    result = project.pytest(*arguments)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*specVersion*"])


def test_specs_alone_are_all_that_is_collected(project):
    project.spec()
    project.write("test_a.py", TEST)
    project.ini("testpaths = .\n")
    assert project.collected("--offpipe-spec", "it.json") == ids()


@pytest.mark.parametrize("top", [".", "below", "test_a.py"])
@pytest.mark.parametrize("as_path", [False, True])
def test_specs_and_paths_are_both_collected(project, top, as_path):
    """pytest 9 leaves out what lies below another argument, pytest 8 what is beside it."""
    project.spec(to="below/it.json", root="..")
    project.write("test_a.py", TEST)
    spec = ["below/it.json"] if as_path else ["--offpipe-spec", "below/it.json"]
    beside = [] if top == "below" else ["test_a.py::test_a"]
    items = project.collected(top, *spec)
    assert sorted(items) == sorted([*ids("below/it.json"), *beside])


def test_spec_is_collected_in_a_directory_that_pytest_skips(project):
    project.spec(to="build/deep/specs/it.json", root="../../..")
    for place in ("test_a.py", "build/test_b.py", "build/deep/test_c.py", "build/other/test_d.py"):
        project.write(place, TEST)
    spec = "build/deep/specs/it.json"
    expected = ["test_a.py::test_a", *ids(spec)]
    assert sorted(project.collected(".", "--offpipe-spec", spec)) == sorted(expected)


def test_specs_of_the_ini_are_collected_without_paths_and_beside_testpaths(project):
    project.spec(to="specs/one.json", root="..", name="one", stateDir="state/one")
    project.spec(to="specs/two.json", root="..", name="two", stateDir="state/two")
    project.write("tests/test_a.py", TEST)
    project.write("other/test_b.py", TEST)
    project.ini("offpipe_specs = specs/*.json\ntestpaths = tests\n")
    both = [*ids("specs/one.json"), *ids("specs/two.json")]
    assert sorted(project.collected()) == sorted([*both, "tests/test_a.py::test_a"])
    assert project.collected("other") == ["other/test_b.py::test_a"]
    assert project.collected("--offpipe-spec", "specs/two.json") == ids("specs/two.json")
    assert sorted(project.collected("--ignore", "specs/one.json")) == sorted(
        [*ids("specs/two.json"), "tests/test_a.py::test_a"]
    )
    project.ini("offpipe_specs = specs/*.json\n")
    assert sorted(project.collected()) == sorted([*both, "tests/test_a.py::test_a", "other/test_b.py::test_a"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.path / "other")
        assert project.collected() == ["other/test_b.py::test_a"]


def test_specs_of_the_ini_below_a_given_directory_are_collected(project):
    project.spec(to="specs/deep/one.json", root="../..", name="one", stateDir="state/one")
    project.spec(to="others/two.json", root="..", name="two", stateDir="state/two")
    project.write("specs/test_a.py", TEST)
    project.ini("offpipe_specs = **/*.json\n")
    below = [*ids("specs/deep/one.json"), "specs/test_a.py::test_a"]
    assert sorted(project.collected("specs")) == sorted(below)
    assert project.collected("specs/deep") == below[:-1]
    assert project.collected("specs/test_a.py") == below[-1:]
    assert project.collected("specs/deep", "--offpipe-spec", "others/two.json") == ids("others/two.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.path / "others")
        assert project.collected() == ids("others/two.json")


def test_specs_of_one_name_and_one_file_name_are_kept_apart(project):
    project.spec(to="one/it.json")
    project.spec(COPY, to="two/it.json")
    project.write("one/in.txt", "one\n")
    project.write("two/in.txt", "two\n")
    result = project.pytest("--offpipe-spec", "one/it.json", "--offpipe-spec", "two/it.json", "-v")
    result.assert_outcomes(passed=6)
    assert project.collected("one/it.json", "two/it.json") == [*ids("one/it.json"), *ids("two/it.json", ["copy"])]


def test_spec_outside_rootdir_with_a_name_of_blanks_and_letters(project):
    inner = project.path / "inner"
    inner.mkdir()
    (inner / "pytest.ini").write_text("[pytest]\n")
    project.spec(to="äußere specs/es ist.json", root="..")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inner)
        result = project.pytest("--offpipe-spec", "../äußere specs/es ist.json", "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*äußere specs/es ist.json::copy[[]run] PASSED*"])


def test_spec_need_not_be_called_json(project):
    project.spec(to="pipeline.spec")
    project.write("test_a.py", TEST)
    assert project.collected(".", "--offpipe-spec", "pipeline.spec") == ["pipeline.spec::copy[run]", *[
        f"pipeline.spec::{rest}" for rest in ("copy[outputs]", "sort[run]", "sort[outputs]")
    ], "test_a.py::test_a"]  # fmt: skip


OTHER_OPTIONS = [
    "--import-mode importlib", "--rootdir ..", "-W error", "-c other.ini", "--import-mode append",
    "-p no:cacheprovider", "--strict-markers --strict-config",
]  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("arguments", OTHER_OPTIONS)
def test_other_options_change_nothing(project, arguments):
    project.spec()
    project.write("other.ini", "[pytest]\n")
    project.pytest("--offpipe-spec", "it.json", *arguments.split()).assert_outcomes(passed=4)


def test_pyargs_and_specs_are_both_collected(project):
    project.spec()
    project.write("package/__init__.py", "")
    project.write("package/test_a.py", TEST)
    project.pytester.syspathinsert()
    items = project.collected("--pyargs", "package.test_a", "it.json")
    assert items == ["package/test_a.py::test_a", *ids()]


@pytest.mark.full
def test_last_failed_failed_first_and_exitfirst_work(project):
    project.spec(COPY, {**project.shell("exit 3"), "inputs": {"text": "in.txt"}}, SORT)
    result = project.pytest("--offpipe-spec", "it.json", "-x")
    result.assert_outcomes(passed=2, failed=1)
    project.pytest("--offpipe-spec", "it.json").assert_outcomes(passed=4, failed=1, skipped=1)
    result = project.pytest("--offpipe-spec", "it.json", "--lf", "-v")
    result.assert_outcomes(failed=1, deselected=5)
    result = project.pytest("--offpipe-spec", "it.json", "--ff", "-v")
    lines = [line for line in result.outlines if line.startswith("it.json::")]
    assert lines[0].startswith("it.json::work[run] FAILED")


def test_failure_stands_at_the_line_of_its_stage(project):
    work = project.shell("echo 'no such thing' >&2; exit 3")
    spec = project.spec(COPY, work)
    line = next(
        number for number, text in enumerate(spec.read_text().splitlines(), 1) if '"work"' in text and "name" in text
    )
    result = project.pytest("it.json::work[run]", "--junitxml", "junit.xml", "-o", "junit_family=xunit1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"it.json:{line - 1}: CheckFailedError"])
    case = ET.parse(project.path / "junit.xml").find(".//testcase")
    assert (case.get("file"), int(case.get("line")), case.get("name")) == ("it.json", line - 2, "work[run]")
    assert "no such thing" in case.find("failure").text


def test_tags_of_a_stage_are_marks_of_its_checks(project):
    project.spec(COPY, {**SORT, "x-offpipe": {"tags": ["slow", "Wide_2"]}})
    for arguments in (("-m", "slow"), ("-m", "Wide_2 and offpipe", "--strict-markers"), ("-m", "slow", "-W", "error")):
        assert project.collected("it.json", *arguments) == ids(stages=["sort"])
    assert project.collected("it.json", "-m", "not slow", "--strict-markers") == ids(stages=["copy"])


def test_tags_of_a_spec_are_marks_of_all_its_stages(project):
    project.spec(COPY, {**SORT, "x-offpipe": {"tags": []}}, **{"x-offpipe": {"tags": ["slow"]}})
    assert project.collected("it.json", "-m", "slow", "--strict-markers") == ids(stages=["copy"])


def test_header_names_the_offline_level_that_stages_get(project):
    project.spec(COPY)
    project.pytest("it.json").stdout.fnmatch_lines(["offpipe: offline level kernel"])
    denied = [sys.executable, offline_deny.__file__, sys.executable, "-m", "pytest", *LEFT_OUT, "it.json"]
    result = project.pytester.run(*denied, "--offpipe-checks", "run")
    result.stdout.fnmatch_lines(["offpipe: offline level filter"])
    result.assert_outcomes(passed=1)


# As pytest-repeat does for functions; for items it has only the option.
REPEAT = """
    def pytest_addoption(parser):
        parser.addoption("--count", type=int, default=1)

    def pytest_configure(config):
        if not config.pluginmanager.has_plugin("repeat"):
            config.pluginmanager.register(object(), "repeat")
"""


@pytest.fixture
def repeated(project):
    """A project with pytest-repeat, or with what the plugin heeds of it."""
    if not importlib.util.find_spec("pytest_repeat"):
        project.write("conftest.py", REPEAT)
    return project


def test_each_repetition_of_pytest_repeat_runs_the_stage(repeated):
    count = repeated.path / "count"
    repeated.spec(repeated.shell(f'cp "$i" "$o"; echo x >>{count}'))
    repeated.checks = "run"
    result = repeated.pytest("it.json", "--count", "3", "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"it.json::work[[]run-{turn}-3] PASSED*" for turn in (1, 2, 3)])
    assert count.read_text() == "x\n" * 3
    assert repeated.collected("it.json", "--count", "1") == ["it.json::work[run]"]


def test_each_repetition_of_a_failure_is_reported(repeated):
    repeated.spec(repeated.shell("exit 3"), {**SORT, "inputs": {"text": "out/work.txt"}})
    result = repeated.pytest("it.json", "--count", "2", "--offpipe-checks", "run,retry", checks=False)
    result.assert_outcomes(failed=2, skipped=6)
