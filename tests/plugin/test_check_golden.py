"""`golden`, its update, and the filters of `normalise`."""

from __future__ import annotations

import pytest
from spec_project import COPY, SpecProject

GOLDEN = {"x-offpipe": {"golden": "golden/"}}
STAMP = 'cat "$i" > "$o"; echo "# $(date +%N)" >> "$o"'


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "golden"
    return made


def test_update_keeps_the_output_and_later_runs_compare_with_it(project):
    project.spec(COPY, **GOLDEN)
    project.pytest("it.json", "--offpipe-update-golden").assert_outcomes(passed=1)
    assert (project.path / "golden/out/copy.txt").read_text() == "b\na\n"
    project.pytest("it.json").assert_outcomes(passed=1)


def test_other_text_fails_with_a_unified_diff(project):
    project.spec(COPY, **GOLDEN)
    project.write("golden/out/copy.txt", "b\nc\n")
    result = project.pytest("it.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["golden/out/copy.txt differs", "*-c", "*+a"])


DIFFERENCES = {
    "a table by cell": ("out/t.csv", "a,b\n1,3\n", "a,b\n1,2\n", ["*row 2, column 2: '3' golden, and '2' made"]),
    "a table of other rows by line": ("out/t.csv", "a,b\n3,4\n", "a,b\n1,2\n3,4\n", ["* a,b", "*+1,2", "* 3,4"]),
    "rows end with newlines only": ("out/t.csv", "a,x\u2028z\n", "a,x\u2028y\n", ["*row 1, column 2: *"]),
    "line ends": ("out/t.txt", "b\na\n", "b\r\na\r\n", ["*-b", "*+b\\r"]),
    "a part of long lines": ("out/t.txt", f"{'x' * 500}2\n", f"{'x' * 500}1\n", ["*golden: *2*", "*made: *1*"]),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_is_shown_as(project, name):
    output, golden, made, lines = DIFFERENCES[name]
    project.write("in.txt", made)
    project.spec({**COPY, "outputs": {"text": output}}, **GOLDEN)
    project.write(f"golden/{output}", golden)
    project.pytest("it.json").stdout.fnmatch_lines(lines)


def test_diff_has_a_bounded_length(project):
    project.write("in.txt", "x\n" * 3000)
    project.spec(COPY, **GOLDEN)
    project.write("golden/out/copy.txt", "y\n" * 3000)
    result = project.pytest("it.json")
    result.stdout.fnmatch_lines(["*... and more"])
    assert len(result.outlines) < 120


def test_binaries_differ_by_size_and_first_offset(project):
    (project.path / "in.txt").write_bytes(b"ab\0c")
    project.spec(COPY, **GOLDEN)
    project.write("golden/out/copy.txt", "abc")
    result = project.pytest("it.json")
    result.stdout.fnmatch_lines(["*differs first at offset 2: 3 bytes golden, and 4 bytes made"])


def test_missing_golden_file_is_skipped_and_strict_fails(project):
    project.spec(COPY, **GOLDEN)
    project.pytest("it.json").assert_outcomes(skipped=1)
    project.pytest("it.json", "--offpipe-strict").assert_outcomes(failed=1)


def test_update_with_several_workers_is_a_usage_error(project):
    project.spec(COPY, **GOLDEN)
    result = project.pytest_process("it.json", "--offpipe-update-golden", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--offpipe-update-golden: golden files are written by one process*"])


def test_update_writes_only_those_of_selected_items(project):
    project.spec(**GOLDEN)
    project.pytest("it.json", "--offpipe-update-golden", "-k", "sort").assert_outcomes(passed=1, deselected=1)
    assert [path.name for path in (project.path / "golden/out").iterdir()] == ["sorted.txt"]


def test_update_of_a_directory_removes_what_is_no_longer_made_and_nothing_beside_it(project):
    project.spec(project.shell('mkdir "$o"; cp "$i" "$o/new"', outputs={"text": "out/d/"}), **GOLDEN)
    for name in ("golden/out/d/old", "golden/out/beside", "golden/README"):
        project.write(name, "x\n")
    project.pytest("it.json").stdout.fnmatch_lines(
        ["golden/out/d/new is missing among golden files, and a file as made"]
    )
    project.pytest("it.json", "--offpipe-update-golden").assert_outcomes(passed=1)
    files = [path for path in (project.path / "golden").rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["README", "beside", "new"]


def test_update_leaves_golden_files_that_are_the_same_after_filters(project):
    extension = {"golden": "golden/", "normalise": {"txt": ["sed", "/^# /d"]}}
    project.spec(project.shell(STAMP, **{"x-offpipe": extension}))
    project.pytest("it.json", "--offpipe-update-golden").assert_outcomes(passed=1)
    first = (project.path / "golden/out/work.txt").read_text()
    project.pytest("it.json", "--offpipe-update-golden").assert_outcomes(passed=1)
    assert (project.path / "golden/out/work.txt").read_text() == first
    project.write("in.txt", "other\n")
    project.pytest("it.json", "--offpipe-update-golden").assert_outcomes(passed=1)
    assert "other" in (project.path / "golden/out/work.txt").read_text()


@pytest.mark.parametrize(("golden", "fields", "place"), [
    ("raw", {"inputs": {"text": "raw/out/*.txt"}, "outputs": {"text": "out/"}}, "raw/out/[*].txt"),
    ("raw", {"inputs": {"text": "raw/out/d.txt"}, "outputs": {"text": "out/"}}, "raw/out/d.txt"),
    ("out", {"inputs": {"text": "in.txt"}, "outputs": {"text": "out/"}}, "out/"),
    ("state", {"inputs": {"text": "in.txt"}, "outputs": {"text": "out/"}}, "state"),
])  # fmt: skip
def test_golden_files_have_places_of_their_own(project, golden, fields, place):
    project.write("raw/out/d.txt", "mine\n")
    project.spec(project.shell('mkdir -p "$o"', **fields, **{"x-offpipe": {"golden": golden}}), stateDir="state")
    result = project.pytest("it.json", "--offpipe-update-golden")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f'{golden}/out* is in the place of "{place}"*', "*hint: name another directory*"])
    assert (project.path / "raw/out/d.txt").read_text() == "mine\n"


@pytest.mark.parametrize("link", ["golden", "golden/out", "golden/out/copy.txt"])
def test_update_writes_nothing_through_a_link(project, link, tmp_path):
    project.spec(COPY, **GOLDEN)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (project.path / link).parent.mkdir(parents=True, exist_ok=True)
    (project.path / link).symlink_to(elsewhere)
    result = project.pytest("it.json", "--offpipe-update-golden")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"{link} is a symbolic link*"])
    assert list(elsewhere.iterdir()) == []


def test_stage_without_the_field_has_no_item(project):
    project.spec({**COPY, **GOLDEN}, {**COPY, "name": "other", "outputs": {"text": "out/o.txt"}})
    assert project.collected("it.json") == ["it.json::copy[golden]"]


def test_golden_file_is_kept_as_made_and_compared_after_filters(project):
    extension = {"golden": "golden/", "normalise": {"txt": ["sed", "/^# /d"]}}
    project.spec(project.shell(STAMP, **{"x-offpipe": extension}))
    project.pytest("it.json", "--offpipe-update-golden").assert_outcomes(passed=1)
    assert "# " in (project.path / "golden/out/work.txt").read_text()
    project.pytest("it.json").assert_outcomes(passed=1)


@pytest.mark.parametrize("check", ["repeat", "reads", "retry", "resume", "stop", "full"])
def test_every_comparison_is_made_after_filters(project, check):
    stage = project.shell(f"sleep 0.2; {STAMP}")
    project.spec(stage, **{"x-offpipe": {"normalise": {"txt": ["sed", "/^# /d"]}}})
    result = project.pytest("it.json", "--offpipe-checks", check, checks=False)
    found = result.parseoutcomes()
    assert "failed" not in found, result.stdout.str()
    assert "passed" in found or check in ("resume", "stop"), "chance decides whether a kill lands"


@pytest.mark.parametrize("key", ["txt", ".txt", "copy.txt", "out/copy.txt"])
def test_key_of_a_filter_is_the_end_of_the_name(project, key):
    project.spec(COPY, **{"x-offpipe": {"golden": "golden/", "normalise": {"tx": ["cat"], key: ["true"]}}})
    project.write("golden/out/copy.txt", "x\n")
    project.pytest("it.json").assert_outcomes(passed=1)


def test_filter_may_import_what_the_spec_allows(project):
    project.write("norm.py", "import urllib.request\n")
    extension = {"golden": "golden/", "normalise": {"txt": ["python3", "norm.py"]}}
    project.spec(COPY, offline={"allowImports": ["urllib.request"]}, **{"x-offpipe": extension})
    project.write("golden/out/copy.txt", "x\n")
    project.pytest("it.json").assert_outcomes(passed=1)


def test_filter_that_fails_fails_the_check_with_its_stderr(project):
    project.spec(
        COPY, **{"x-offpipe": {"golden": "golden/", "normalise": {"txt": ["sh", "-c", "echo no >&2; exit 3"]}}}
    )
    project.write("golden/out/copy.txt", "x\n")
    result = project.pytest("it.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no"])


def test_filter_reaches_no_network(project):
    words = ["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"]
    project.spec(COPY, **{"x-offpipe": {"golden": "golden/", "normalise": {"txt": words}}})
    project.write("golden/out/copy.txt", "x\n")
    result = project.pytest("it.json")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*asked for a network, which was refused: bash (AF_INET)*"])


@pytest.mark.parametrize("place", ["/golden", "../golden", ".", "a/../../b"])
def test_golden_directory_is_below_root(project, place):
    project.spec(**{"x-offpipe": {"golden": place}})
    result = project.pytest("it.json")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["error: it.json#/x-offpipe/golden: *", "hint: a directory below root*"])


def test_filter_need_not_read_to_the_end(project):
    project.write("in.txt", "a\n" + "b\n" * 200_000)
    project.spec(COPY, **{"x-offpipe": {"golden": "golden/", "normalise": {"txt": ["head", "-n", "1"]}}})
    project.write("golden/out/copy.txt", "a\nc\n")
    project.pytest("it.json").assert_outcomes(passed=1)


def test_words_of_a_filter_have_no_placeholders(project):
    words = ["sh", "-c", "test \"$1\" = '{inputs.given}' && head -n 1", "sh", "{inputs.given}"]
    project.spec(COPY, **{"x-offpipe": {"golden": "golden/", "normalise": {"txt": words}}})
    project.write("golden/out/copy.txt", "b\nc\n")
    project.pytest("it.json").assert_outcomes(passed=1)


def test_filter_that_does_not_end_is_ended(project):
    project.ini("offpipe_timeout = 1\n")
    project.spec(COPY, **{"x-offpipe": {"golden": "golden/", "normalise": {"txt": ["sleep", "60"]}}})
    project.write("golden/out/copy.txt", "x\n")
    project.pytest("it.json").stdout.fnmatch_lines(["*time limit of 1 s*"])
