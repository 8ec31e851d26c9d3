"""Checks of templates whose values a stage makes: the undisturbed run gives the values, once for all workers."""

from __future__ import annotations

import importlib.util

import pytest
from forked_runs import offpipe
from spec_project import RERUNS, SpecProject

PIPELINE = ["pipeline[offline]", "pipeline[skip]", "pipeline[audit]"]


def listing(text="contig\\nb\\na\\n"):
    """Return a stage that makes a table."""
    return {
        "name": "list",
        "command": ["sh", "-c", f"printf '{text}' >\"$PIPELINE_OUTPUT_TABLE\""],
        "outputs": {"table": "work/contigs.tsv"},
    }


CALL = {
    "name": "call",
    "each": {"rows": "{outputs.list.table}"},
    "stdin": "text",
    "stdout": "text",
    "command": ["tr", "a-z", "A-Z"],
    "inputs": {"text": "in/{each.contig}.txt"},
    "outputs": {"text": "calls/{each.contig}.txt"},
}
GATHER = {
    "name": "gather",
    "command": ["cat", "{inputs.texts}"],
    "stdout": "all",
    "inputs": {"texts": "{outputs.call.text}"},
    "outputs": {"all": "all.txt"},
}


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "run,outputs,offline,skip,audit"
    for letter in "abc":
        made.write(f"in/{letter}.txt", f"{letter}\n")
    made.spec(listing(), CALL, gathers("AB"))
    return made


def gathers(text):
    """Return the gathering stage, changed so that it fails unless it reads this text."""
    script = f'cat "$@"; test "$(cat "$@" | tr -d "\\n")" = {text}'
    return {**GATHER, "command": ["sh", "-ec", script, "sh", "{inputs.texts}"]}


def ids(*stages):
    return [
        f"it.json::{name}"
        for name in [
            PIPELINE[0],
            *(f"{stage}[{check}]" for stage in stages for check in ("run", "outputs")),
            *PIPELINE[1:],
        ]
    ]


def passes(project, stages, *arguments):
    """Assert that these checks are made, and pass."""
    result = project.pytest("it.json", *arguments, "-rA")
    lines = [line.removeprefix("PASSED ") for line in result.outlines if line.startswith("PASSED")]
    assert sorted(lines) == sorted(ids(*stages))
    result.assert_outcomes(passed=len(lines))


def test_node_ids_are_the_name_of_the_template_with_and_without_state(project):
    assert project.collected("it.json") == ids("list", "call", "gather")
    assert offpipe("it.json", "-q", cwd=project.path).returncode == 0
    assert project.collected("it.json") == ids("list", "call", "gather")


@pytest.mark.parametrize("has_state", [False, True])
def test_the_first_instance_stands_for_the_template(project, has_state):
    if has_state:  # with another first value
        project.spec(listing("contig\\nc\\n"), CALL, GATHER)
        assert offpipe("it.json", "-q", cwd=project.path).returncode == 0
        project.spec(listing(), CALL, gathers("AB"))
    passes(project, ["list", "call", "gather"])


def test_disturbing_checks_work_on_it(project):
    result = project.pytest("it.json::call[repeat]", "it.json::call[retry]", "it.json::gather[retry]", checks=False)
    result.assert_outcomes(passed=3)


def test_offpipe_each_chooses_the_instance(project):
    project.spec(listing(), CALL, gathers("A"))
    passes(project, ["list", "call", "gather"], "--offpipe-each", "call@a")


def test_offpipe_each_all_gathers_every_instance(project):
    project.spec(listing(), CALL, gathers("AB"))
    passes(project, ["list", "call", "gather"], "--offpipe-each", "all")


def test_an_unknown_instance_is_found_out_after_the_source_has_run(project):
    result = project.pytest("it.json", "--offpipe-each", "call@z", "-rA")
    result.assert_outcomes(passed=2, failed=1, skipped=6)
    result.stdout.fnmatch_lines(['*it.json has no instance "call@z"*', '*did you mean "call@*'])
    assert "Traceback" not in result.stdout.str()


def test_a_source_without_a_value_fails_its_template(project):
    project.spec(listing("contig\\n"), CALL, GATHER)
    result = project.pytest("it.json", "-rA")
    result.assert_outcomes(passed=2, failed=1, skipped=6)
    result.stdout.fnmatch_lines(["*it.json#/stages/1/each/rows: work/contigs.tsv: has no rows*"])


def test_a_fault_of_a_value_fails_its_template_with_the_place(project):
    project.spec(listing("contig\\nb\\na\\tx\\n"), CALL, GATHER)
    result = project.pytest("it.json", "-rA")
    result.assert_outcomes(passed=2, failed=1, skipped=6)
    result.stdout.fnmatch_lines(["*it.json#/stages/1*work/contigs.tsv:3*"])


def test_a_template_that_may_be_empty_has_nothing_to_check(project):
    project.spec(listing("contig\\n"), {**CALL, "mayBeEmpty": True}, {**GATHER, "optional": ["texts"]})
    result = project.pytest("it.json", "-rs")
    result.assert_outcomes(passed=7, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*call is without instances: work/contigs.tsv: has no rows"])


def test_a_failed_source_blocks_its_template(project):
    project.spec({**listing(), "command": ["false"]}, CALL, GATHER)
    result = project.pytest("it.json", "-rs")
    result.assert_outcomes(failed=1, skipped=8)
    result.stdout.fnmatch_lines(["SKIPPED*list[[]run[]] fails"])


def test_a_second_instance_that_fails_is_found_where_it_is_gathered(project):
    project.spec(listing(), {**CALL, "command": ["sh", "-c", "test $PIPELINE_STAGE = call@b && cat"]}, GATHER)
    result = project.pytest("it.json")
    result.stdout.fnmatch_lines(["*call@a failed*", "FAILED it.json::gather[[]run[]]*"])


@pytest.mark.parametrize("each", ["", "call@a"])
def test_a_failed_instance_skips_the_checks_that_need_it(project, each):
    project.spec(listing(), {**CALL, "command": ["false"]}, GATHER)
    result = project.pytest("it.json", "-rs", *(["--offpipe-each", each] if each else []))
    result.assert_outcomes(passed=2, failed=1, skipped=6)
    result.stdout.fnmatch_lines(["SKIPPED*call[[]run[]] fails"])


def test_a_check_that_is_rerun_runs_a_failed_source_again(project):
    source, flag = listing(), project.path / "flag"
    source["command"] = ["sh", "-ec", f"test -e {flag} || {{ touch {flag}; exit 3; }}; {source['command'][2]}"]
    project.spec(source, CALL, GATHER)
    project.write("conftest.py", RERUNS)
    project.pytest("it.json::call[run]", "it.json::gather[run]").assert_outcomes(passed=2)


def test_smaller_inputs_are_those_of_instances_too(project):
    project.write("small/in/b.txt", "z\n")
    project.write("small/in/a.txt", "y\n")
    project.spec(listing(), CALL, gathers("YZ"))
    passes(project, ["list", "call", "gather"], "--offpipe-inputs", "small")


def test_inputs_above_root_that_only_instances_have_are_in_the_copy(project):
    call = {**CALL, "inputs": {"text": "../in/{each.contig}.txt"}}
    project.write("sub/here", "")
    project.spec(listing(), call, gathers("AB"), root="sub")
    passes(project, ["list", "call", "gather"])


def directory_stage(name, *files, **fields):
    """Return a stage that makes a directory with these files, which are empty."""
    script = f'mkdir -p "$PIPELINE_OUTPUT_DIR"; cd "$PIPELINE_OUTPUT_DIR"; touch {" ".join(files)}'
    return {"name": name, "command": ["sh", "-c", script], **fields}


def test_a_scatter_in_a_scatter(project):
    split = directory_stage("split", "c_1", "c_2", each={"sample": "in/*.txt"}, outputs={"dir": "work/{each.sample}/"})
    upper = directory_stage(
        "upper",
        *("x", "y"),
        each=["split", {"chunk": "{outputs.split.dir}c_*"}],
        inputs={"chunk": "{outputs.split.dir}c_{each.chunk}"},
        outputs={"dir": "upper/{each.sample}/{each.chunk}/"},
    )
    deep = {
        "name": "deep",
        "each": ["upper", {"leaf": "{outputs.upper.dir}*"}],
        "command": ["cp", "{inputs.text}", "{outputs.text}"],
        "inputs": {"text": "{outputs.upper.dir}{each.leaf}"},
        "outputs": {"text": "deep/{each.sample}/{each.chunk}/{each.leaf}"},
    }
    project.spec(split, upper, deep)
    passes(project, ["split@a", "upper", "deep"])


def test_the_shared_run_has_the_two_instances_that_are_gathered(project):
    project.write(
        "test_it.py",
        """
        import pytest

        @pytest.fixture(autouse=True)
        def elsewhere(monkeypatch, tmp_path):
            monkeypatch.chdir(tmp_path)

        def test_it(offpipe_run):
            assert list(offpipe_run.stages) == ["list", "call@b", "call@a", "gather"]
            assert offpipe_run.stages["call@b"].outputs["text"] == b"B\\n"
        """,
    )
    project.ini("offpipe_specs = it.json")
    project.pytest("test_it.py", checks=False).assert_outcomes(passed=1)


def test_a_run_of_a_test_says_that_the_values_are_not_known(project):
    project.write(
        "test_it.py",
        """
        def test_it(offpipe):
            report = offpipe.run("it.json")
            assert report.exit_code == 5
            assert "it.json#/stages/1/each: its values are what list will make" in report.error
        """,
    )
    project.pytest("test_it.py", checks=False).assert_outcomes(passed=1)


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_two_workers_run_each_source_and_instance_once(project):
    witness = project.path / "witness"
    script = f'echo "$PIPELINE_STAGE" >>{witness}; '
    source, call, gather = listing(), {**CALL}, {**GATHER}
    source["command"] = ["sh", "-ec", script + source["command"][2]]
    call["command"] = ["sh", "-ec", script + "cat"]
    gather["command"] = ["sh", "-ec", script + 'cat "$@"', "sh", "{inputs.texts}"]
    project.spec(source, call, gather)
    result = project.pytest_process("it.json", "-n", "2", "-v")
    result.assert_outcomes(passed=9)
    assert sorted(witness.read_text().split()) == ["call@a", "call@b", "gather", "list"]
