"""The checks copy the files of a list, and no orphan that a glob would match; a directory with an orphan is refused."""

from __future__ import annotations

import pytest
from forked_runs import offpipe
from spec_project import COPY, SpecProject


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "run,outputs,offline,skip,audit"
    return made


def passes(project, *stages):
    project.spec(*stages)
    project.pytest("--offpipe-spec", "it.json").assert_outcomes(passed=2 * len(stages) + 3)


def joined(project, *entries, wanted, name="work"):
    script = f"""
        cat $i >$o
        test "$(cat $o | tr '\\n' ' ')" = "{wanted} "
    """
    return project.shell(script, name=name, inputs={"text": list(entries)})


def run_pipeline(project):
    assert offpipe("it.json", "-q", cwd=project.path).returncode == 0


@pytest.mark.full
def test_a_list_of_outputs_and_sources_is_copied_in_its_order(project):
    project.write("many/y.txt", "y\n")
    project.write("many/x.txt", "x\n")
    work = joined(project, "many/y.txt", "out/copy.txt", "many/*.txt", wanted="y b a x")
    passes(project, COPY, work)
    project.pytest("it.json::work[repeat]", checks=False).assert_outcomes(passed=1)


def test_a_missing_path_of_a_list_is_named_at_its_place(project):
    project.spec(joined(project, "in.txt", "none.txt", wanted="b a"))
    result = project.pytest("it.json::work[run]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*#/stages/0/inputs/text/1: "none.txt": no such file*'])


def with_an_orphan(project, *stages):
    gone = {**COPY, "name": "gone", "outputs": {"text": "out/gone.txt"}}
    project.spec(COPY, gone)
    run_pipeline(project)
    project.spec(COPY, *stages)


def test_an_orphan_is_not_copied_for_a_glob(project):
    with_an_orphan(project)
    project.write("out/mine.txt", "mine\n")
    passes(project, COPY, joined(project, "out/*.txt", wanted="b a mine", name="work") | {"outputs": {"text": "all"}})
    assert (project.path / "out/gone.txt").read_text() == "b\na\n"


@pytest.mark.parametrize("now", [{}, {"name": "renamed"}])
def test_former_path_of_an_output_is_not_copied_for_a_glob(project, now):
    project.spec(COPY)
    run_pipeline(project)
    renamed = {**COPY, "outputs": {"text": "out/renamed.txt"}, **now}
    passes(project, renamed, joined(project, "out/*.txt", wanted="b a") | {"outputs": {"text": "all"}})


@pytest.mark.full
def test_an_orphan_that_was_changed_since_is_copied_for_a_glob(project):
    with_an_orphan(project)
    project.write("out/gone.txt", "changed\n")
    passes(project, COPY, joined(project, "out/*.txt", wanted="b a changed") | {"outputs": {"text": "all"}})


def test_the_fixture_copies_no_orphan_for_a_glob(project):
    with_an_orphan(project, joined(project, "out/*.txt", wanted="b a") | {"outputs": {"text": "all"}})
    project.pytester.makepyfile("""
        def test_it(offpipe):
            report = offpipe.run("it.json")
            assert report.exit_code == 0, report.error
            assert report.stages["work"].outputs["text"] == b"b\\na\\n"
    """)
    project.pytest(checks=False).assert_outcomes(passed=1)


def test_an_orphan_that_a_stage_names_is_copied(project):
    with_an_orphan(project)
    passes(project, joined(project, "out/gone.txt", wanted="b a") | {"outputs": {"text": "all"}})


def test_a_directory_that_contains_an_orphan_is_refused(project):
    with_an_orphan(project)
    project.spec(project.shell("ls out >$o", inputs={"text": "out/"}, outputs={"text": "all"}))
    result = project.pytest("it.json::work[run]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*#/stages/0/inputs/text: "out/" contains "out/copy.txt", which is an orphan*'])


def test_a_stage_alone_takes_a_value_for_each_path_of_a_list(project):
    project.write("many/x.txt", "x\n")
    project.spec({**COPY, "command": ["cat", "{inputs.text}"], "stdout": "text",
                  "inputs": {"text": ["in.txt", "many/*.txt"]}})  # fmt: skip
    project.pytester.makepyfile("""
        import pytest
        from runner.errors import UsageError

        def test_given(offpipe):
            given = {"in.txt": b"1\\n", "many/*.txt": {"b.txt": "3\\n", "a.txt": "2\\n"}}
            assert offpipe.stage("it.json", "copy", inputs={"text": given}).outputs["text"] == b"1\\n2\\n3\\n"

        def test_taken_from_the_source(offpipe):
            assert offpipe.stage("it.json", "copy").outputs["text"] == b"b\\na\\nx\\n"

        @pytest.mark.parametrize("given", [b"x", {"in.txt": b"x"}, {"in.txt": b"x", "many/*.txt": b"", "none": b""}])
        def test_anything_else_is_refused(offpipe, given):
            with pytest.raises(UsageError) as refused:
                offpipe.stage("it.json", "copy", inputs={"text": given})
            assert 'the input is a list, and takes {"in.txt": ..., "many/*.txt": ...}' in str(refused.value)
    """)
    project.pytest(checks=False).assert_outcomes(passed=5)
