"""Checks of a spec with `each`: one instance of a template, two where a stage gathers them, or those one chooses."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter

import pytest
from forked_runs import ROOT, offpipe
from spec_project import SpecProject

LETTERS = "abc"
COPY = {
    "name": "copy", "each": {"letter": "in/*.txt"}, "command": ["cp", "{inputs.text}", "{outputs.text}"],
    "inputs": {"text": "in/{each.letter}.txt"}, "outputs": {"text": "work/{each.letter}.txt"},
}  # fmt: skip
UPPER = {
    "name": "upper", "each": "copy", "command": ["tr", "a-z", "A-Z"], "stdin": "text", "stdout": "text",
    "inputs": {"text": "work/{each.letter}.txt"}, "outputs": {"text": "upper/{each.letter}.txt"},
}  # fmt: skip
ALL = {
    "name": "all", "command": ["cat", "{inputs.texts}"], "stdout": "all",
    "inputs": {"texts": "upper/*.txt"}, "outputs": {"all": "all.txt"},
}  # fmt: skip
CHECKS = ("run", "outputs")
PIPELINE = {"pipeline[offline]", "pipeline[skip]", "pipeline[audit]"}


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "run,outputs,offline,skip,audit"
    for letter in LETTERS:
        made.write(f"in/{letter}.txt", f"{letter}\n")
    made.spec(COPY, UPPER, ALL)
    return made


def passed(project, *arguments):
    """Run pytest and return the checks that it makes, all of which must pass."""
    result = project.pytest(*arguments, "-rA")
    lines = [line.partition("it.json::")[2] for line in result.outlines if line.startswith("PASSED")]
    result.assert_outcomes(passed=len(lines))
    return Counter(lines)


def checks(*stages):
    return Counter({*(f"{stage}[{check}]" for stage in stages for check in CHECKS), *PIPELINE})


def gathers(text):
    """Return the gathering stage, changed so that it fails unless it reads this text."""
    return {
        **ALL,
        "command": ["sh", "-ec", f'cat "$@"; test "$(cat "$@" | tr -d "\\n")" = {text}', "sh", "{inputs.texts}"],
    }


# ---- which instances ----


def test_stages_without_instances_have_no_checks(project):
    for letter in LETTERS:
        (project.path / f"in/{letter}.txt").unlink()
    project.write("in/readme", "")
    alone = {"name": "alone", "command": ["touch", "{outputs.o}"], "outputs": {"o": "o"}, "needs": ["copy", "off"]}
    off = {"name": "off", "command": ["false"], "outputs": {"o": "off"}, "if": "{vars.on}"}
    project.spec({**COPY, "mayBeEmpty": True}, UPPER, off, alone, vars={"on": False})
    assert passed(project, "it.json") == checks("alone")


def test_of_what_nothing_gathers_the_first_instance_is_checked(project):
    project.spec(COPY, UPPER)
    assert passed(project, "it.json") == checks("copy@a", "upper@a")


def test_of_a_chain_that_is_gathered_the_same_two_instances_are_checked(project):
    project.spec(COPY, UPPER, gathers("AB"))
    assert passed(project, "it.json") == checks("copy@a", "copy@b", "upper@a", "upper@b", "all")


def test_the_two_are_the_first_of_the_spec_not_of_the_paths(project):
    copy = {**COPY, "each": {"letter": ["c", "b", "a"]}}
    project.spec(copy, UPPER, gathers("BC"))
    assert passed(project, "it.json") == checks("copy@c", "copy@b", "upper@c", "upper@b", "all")


def test_golden_finds_a_gathering_stage_that_keeps_only_the_last_part(project):
    golden = {**ALL, "x-offpipe": {"golden": "golden"}}
    project.spec(COPY, UPPER, golden)
    project.pytest("it.json::all[golden]", "--offpipe-update-golden", checks=False).assert_outcomes(passed=1)
    script = 'for text; do cat "$text" >"$PIPELINE_OUTPUT_ALL"; done'
    keeps = {**golden, "command": ["sh", "-ec", script, "sh", "{inputs.texts}"]}
    del keeps["stdout"]
    project.spec(COPY, UPPER, keeps)
    result = project.pytest("it.json::all[golden]", checks=False)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*golden/all.txt differs*"])


def test_a_node_id_that_names_an_instance_adds_no_second(project):
    project.spec(COPY, UPPER, gathers("B"))
    assert passed(project, "it.json::upper@b[run]", "it.json::all[run]") == Counter(["upper@b[run]", "all[run]"])


def test_a_stage_that_reads_the_directory_above_them_gathers_two(project):
    all_ = gathers("AB")
    all_["command"] = ["sh", "-ec", 'test "$(ls "$1")" = "a.txt\nb.txt"; touch "$2"', "sh", "{inputs.texts}",
                       "{outputs.all}"]  # fmt: skip
    del all_["stdout"]
    project.spec(COPY, UPPER, {**all_, "inputs": {"texts": "upper/"}})
    assert passed(project, "it.json") == checks("copy@a", "copy@b", "upper@a", "upper@b", "all")


def test_offpipe_each_all_checks_every_instance(project):
    project.spec(COPY, UPPER, gathers("ABC"))
    wanted = checks(*(f"{stage}@{letter}" for stage in ("copy", "upper") for letter in LETTERS), "all")
    assert passed(project, "it.json", "--offpipe-each", "all") == wanted


@pytest.mark.full
def test_the_ini_file_may_choose_every_instance(project):
    project.ini("offpipe_each = all")
    assert len(passed(project, "it.json")) == 2 * 7 + 3


@pytest.mark.full_after(1)
@pytest.mark.parametrize(
    ("each", "stages", "text"),
    [
        ("*@[bc]", ("copy@b", "copy@c", "upper@b", "upper@c", "all"), "BC"),
        ("upper@b", ("copy@a", "copy@b", "upper@b", "all"), "B"),  # with what it needs
        ("copy", ("copy@a", "copy@b", "copy@c", "upper@a", "upper@b", "all"), "AB"),
    ],
)
def test_a_pattern_chooses_instances_with_what_they_need(project, each, stages, text):
    project.spec(COPY, UPPER, gathers(text))
    assert passed(project, "it.json", "--offpipe-each", each) == checks(*stages)


def test_an_option_that_names_no_instance_is_an_error(project):
    result = project.pytest("it.json", "--offpipe-each", "upper@bb")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ['*--offpipe-each: it.json has no instance "upper@bb"*', '*hint: did you mean "upper@b"?*']
    )


@pytest.mark.full
def test_a_node_id_chooses_an_instance(project):
    assert passed(project, "it.json::upper@b[run]") == Counter(["upper@b[run]"])
    assert passed(project, "it.json::upper@b[run]", "it.json::copy@c[outputs]") == Counter(
        ["upper@b[run]", "copy@c[outputs]"]
    )


def test_a_rerun_by_hand_names_the_instance(project):
    project.spec({**COPY, "command": ["sh", "-c", "exit 3", "{outputs.text}"]})
    result = project.pytest("it.json", "--offpipe-each", "copy@b")
    result.stdout.fnmatch_lines(["*by hand:*it.json::copy@b[[]run[]]' --offpipe-seed * --offpipe-each copy@b"])


@pytest.mark.full
def test_needs_may_name_a_template_an_instance_or_a_pattern(project):
    for needs in (["copy"], ["copy@b"], ["copy@[bc]"]):
        project.spec(COPY, {**ALL, "inputs": {"texts": "in/a.txt"}, "needs": needs})
        wanted = checks("copy@a", "all") if needs == ["copy"] else checks("copy@a", "copy@b", "all")
        assert passed(project, "it.json") == wanted


@pytest.mark.full
def test_a_glob_of_a_chosen_instance_still_matches_the_outputs_of_others(project):
    lanes = {
        "name": "lane",
        "each": {"sample": ["s", "t"], "lane": [1, 2]},
        "command": ["echo", "{each.sample}{each.lane}"],
    }
    lanes |= {"stdout": "x", "outputs": {"x": "lanes/{each.sample}/{each.lane}.txt"}}
    merge = {"name": "merge", "each": {"sample": ["s", "t"]}, "command": ["cat", "{inputs.lanes}"], "stdout": "x"}
    merge |= {"inputs": {"lanes": "lanes/{each.sample}/*.txt"}, "outputs": {"x": "{each.sample}.txt"}}
    project.spec(lanes, merge)
    assert passed(project, "it.json") == checks("lane@s,1", "lane@s,2", "merge@s")
    assert passed(project, "it.json", "--offpipe-each", "merge@t") == checks(
        "lane@s,1", "lane@t,1", "lane@t,2", "merge@t"
    )


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_two_workers_run_each_instance_once(project):
    witness = project.path / "witness"
    script = f'echo "$PIPELINE_STAGE" >>{witness}; cat "$1" >"$2"'
    copy = {**COPY, "command": ["sh", "-ec", script, "sh", "{inputs.text}", "{outputs.text}"]}
    project.spec(copy, UPPER, ALL)
    project.pytest_process("it.json", "--offpipe-each", "all", "-n", "2").assert_outcomes(passed=2 * 7 + 3)
    assert sorted(witness.read_text().split()) == ["copy@a", "copy@b", "copy@c"]
    witness.unlink()
    result = project.pytest_process("it.json::copy@b[run]", "it.json::upper@b[outputs]", "-n", "2")
    result.assert_outcomes(passed=2)
    assert witness.read_text().split() == ["copy@b"]


# ---- how they are checked ----


@pytest.mark.full
def test_checks_that_kill_or_fill_the_disk_work_on_an_instance(project):
    project.spec({**COPY, "params": {"n": "{vars.n}"}}, vars={"n": 3})
    result = project.pytest("it.json", "--offpipe-checks", "repeat,retry,full", checks=False)
    result.assert_outcomes(passed=3)


@pytest.mark.full
def test_outputs_of_instances_that_are_not_checked_are_no_sources(project):
    """Without state, nothing says that a stage made them, but still no glob takes them."""
    for letter in LETTERS:
        project.write(f"upper/{letter}.txt", f"old {letter}\n")
    project.spec(COPY, UPPER, gathers("AB"))
    passed(project, "it.json")


@pytest.mark.full
def test_a_pattern_matches_no_orphan(project):
    grown = {**UPPER, "each": {"letter": "work/*.txt"}}
    project.spec(COPY, grown, ALL)
    assert offpipe("it.json", "-q", cwd=project.path).returncode == 0
    (project.path / "in/a.txt").unlink()
    assert passed(project, "it.json") == checks("copy@b", "copy@c", "upper@b", "upper@c", "all")


def test_a_failure_points_to_the_line_of_its_template(project):
    project.spec({**COPY, "x-offpipe": {"skipChecks": {"outputs": "why"}}}, {**UPPER, "command": ["false"]})
    result = project.pytest("it.json", "-rs")
    line = (project.path / "it.json").read_text()[: (project.path / "it.json").read_text().index('"upper"')].count("\n")
    result.stdout.fnmatch_lines([f"*it.json:{line}: CheckFailedError*"])
    result.stdout.fnmatch_lines(["SKIPPED*the spec skips it: why*"])


def test_a_pattern_without_a_match_fails_its_checks_with_the_place(project):
    project.spec({**COPY, "each": {"letter": "none/*.txt"}}, {**ALL, "inputs": {"texts": "in/*.txt"}})
    result = project.pytest("it.json")
    result.stdout.fnmatch_lines(['*it.json#/stages/0/each/letter: no file matches "none/[*].txt"*'])


# ---- smaller inputs ----


def test_smaller_inputs_decide_which_instances_there_are(project):
    project.write("small/in/z.txt", "z\n")
    project.spec(COPY, UPPER, gathers("Z"))
    assert passed(project, "it.json", "--offpipe-inputs", "small") == checks("copy@z", "upper@z", "all")


@pytest.mark.full
def test_a_table_among_smaller_inputs_is_used_instead(project):
    project.write("sheet.csv", "letter,text\na,in/a.txt\n")
    project.write("small/sheet.csv", "letter,text\nq,in/b.txt\n")
    copy = {**COPY, "each": {"rows": "sheet.csv"}, "inputs": {"text": "{each.text}"}}
    project.spec(copy, UPPER, gathers("B"))
    assert passed(project, "it.json", "--offpipe-inputs", "small") == checks("copy@q", "upper@q", "all")
    assert passed(project, "it.json::copy@a[run]") == Counter(["copy@a[run]"])


# ---- fixtures ----


def test_fixtures_take_instances_templates_and_patterns_by_name(project):
    project.write(
        "test_it.py",
        """
        def test_one_instance(offpipe):
            report = offpipe.stage("it.json", "upper@b", inputs={"text": "hello"})
            assert (report.name, report.outputs["text"].text) == ("upper@b", "HELLO")

        def test_the_first_instance_of_a_template(offpipe):
            report = offpipe.stage("it.json", "upper", inputs={"text": "hello"})
            assert (report.name, report.outputs["text"].path.name) == ("upper@a", "a.txt")

        def test_all(offpipe):
            assert offpipe.run("it.json").stages["all"].outputs["all"] == b"A\\nB\\nC\\n"

        def test_some(offpipe):
            report = offpipe.run("it.json", stages=["upper@b", "copy@[bc]"])
            assert list(report.stages) == ["copy@b", "copy@c", "upper@b"]
            assert list(offpipe.run("it.json", stages="copy").stages) == ["copy@a", "copy@b", "copy@c"]

        def test_an_unknown_one(offpipe):
            offpipe.run("it.json", stages="copy@bb")

        def test_given_inputs_say_which_instances_there_are(offpipe):
            report = offpipe.run("it.json", inputs={"in/y.txt": "y\\n", "in/x.txt": "x\\n"})
            assert report.stages["all"].outputs["all"] == b"X\\nY\\n"
            assert offpipe.run("it.json").stages["copy@x"].status == "skipped"

        def test_a_fault_of_one_instance(offpipe, offpipe_faults):
            offpipe_faults.exit_code("copy@b", 3)
            stages = offpipe.run("it.json", keep_going=True).stages
            assert [name for name, stage in stages.items() if stage.status == "failed"] == ["copy@b"]

        def test_params_of_a_template_and_of_an_instance(offpipe, offpipe_spec):
            report = offpipe.run(offpipe_spec, params={"copy": {"n": 1}, "copy@b": {"n": 2}})
            assert report.exit_code == 0

        def test_the_shared_run_has_the_instances_of_the_checks(offpipe_run):
            assert list(offpipe_run.stages) == ["copy@a", "copy@b", "upper@a", "upper@b", "all"]
        """,
    )
    project.ini("offpipe_specs = it.json")
    result = project.pytest("test_it.py", checks=False)
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(['*no stage named "copy@bb"*', '*did you mean "copy@b"?*'])


@pytest.mark.full
def test_the_example_passes_its_checks(pytester):
    """Check two instances of each stage of examples/samples that is gathered, with the vars of its spec."""
    project = SpecProject(pytester)
    project.checks = "run,outputs,skip"
    example = ROOT / "examples/samples"
    for path in ("samples.json", *(f"tools/{name}.py" for name in ("trim", "align", "call", "report"))):
        project.write(path, (example / path).read_text())
    project.write("samples.csv", "".join((example / "samples.csv").read_text().splitlines(keepends=True)[:5]))
    project.write("make_reads.py", (example / "make_reads.py").read_text())
    pytester.runpython("make_reads.py")
    result = project.pytest("samples.json", "-v")
    result.assert_outcomes(passed=2 * 14 + 1)
    result.stdout.fnmatch_lines(["*samples.json::trim@s001,L1[[]run[]] PASSED*", "*sort@s001[[]run[]] PASSED*"])
    assert json.loads((project.path / "samples.json").read_text())["vars"]["title"] == "Samples"


# ---- references and optional inputs ----


def test_of_the_instances_that_a_reference_means_two_are_enough(project):
    upper = {**UPPER, "inputs": {"text": "{outputs.copy.text}"}}
    project.spec(COPY, upper, {**gathers("AB"), "inputs": {"texts": "{outputs.upper.text}"}})
    assert passed(project, "it.json") == checks("copy@a", "copy@b", "upper@a", "upper@b", "all")
    project.spec(COPY, upper, {**gathers("C"), "inputs": {"texts": "{outputs.upper.text}"}})
    assert passed(project, "it.json::upper@c[run]", "it.json::all[run]") == Counter(["upper@c[run]", "all[run]"])


def test_an_empty_optional_input_is_empty_in_every_copy(project):
    project.spec(COPY, {**ALL, "inputs": {"texts": "in/*.txt", "more": "{vars.none}", "glob": "none/*"},
                        "optional": ["more", "glob"]}, vars={"none": []})  # fmt: skip
    assert passed(project, "it.json") == checks("copy@a", "all")


def test_a_path_that_only_a_template_without_instances_would_make_is_not_in_copies(project):
    none = {**COPY, "name": "none", "each": {"letter": "in/*.none"}, "mayBeEmpty": True,
            "outputs": {"text": "none/{each.letter}.txt"}}  # fmt: skip
    texts = ["in/a.txt", "none/x.txt", "none/*.txt", "{outputs.none.text}"]
    project.spec(none, {**ALL, "inputs": {"texts": texts, "one": "none/y.txt"}, "optional": ["one"]})
    assert passed(project, "it.json") == checks("all")


def test_a_reference_that_nothing_agrees_with_fails_the_check_of_its_stage(project):
    project.spec(COPY, {**UPPER, "each": {"letter": ["a", "z"]}, "inputs": {"text": "{outputs.copy.text}"}})
    result = project.pytest("-rf", "--offpipe-each", "upper@z", "it.json")
    assert 'no instance of "copy" has letter "z"' in result.stdout.str()


def test_a_test_may_give_an_optional_input_no_file(project):
    project.spec({**ALL, "inputs": {"texts": "in/a.txt", "more": "in/*.txt"}, "optional": ["more"],
                  "command": ["cat", "{inputs.texts}", "{inputs.more}"]})  # fmt: skip
    project.write(
        "test_it.py",
        """
        def test_it(offpipe):
            assert offpipe.stage("it.json", "all").outputs["all"].text == "a\\na\\nb\\nc\\n"
            assert offpipe.stage("it.json", "all", inputs={"more": {}}).outputs["all"].text == "a\\n"
        """,
    )
    project.pytest("test_it.py", checks=False).assert_outcomes(passed=1)
