"""Stages with environments of tools: copies use these where they are."""

from __future__ import annotations

import json
import os

import pytest
from checked_stage import CheckedStage
from spec_project import LEFT_OUT
from tool_environments import conda_package, install, other_python, project, venv

from pytest_offpipe.sandbox import LARGEST

STAGE = """
    from runner import sdk
    import pack, subprocess

    with sdk.stage() as stage, stage.lines("text", to="text") as job:
        for line in job:
            job.write(line.upper())
            assert subprocess.check_output("tool") == b"tool 1.0\\n" and pack.VERSION == "1.0"
"""
FIXTURE = r"""
    def test_alone(offpipe):
        assert offpipe.stage("spec.json", "work").outputs["o"] == b"tool 1.0\n"
        assert offpipe.run("spec.json").exit_code == 0
"""


@pytest.fixture
def checked(pytester):
    return CheckedStage(pytester)


@pytest.fixture
def environments(tmp_path_factory):
    """Return a function that makes two environments, larger than what a test copies at most."""

    def make(directory):
        prefix = venv(directory / "envs/py", other_python())
        install(prefix, project(tmp_path_factory.mktemp("project"), "pack", "1.0"))
        files = {"bin/tool": "#!/bin/sh\necho tool 1.0\n", "share/large": ""}
        conda_package(directory / "envs/bio", "tool", "1.0", files)
        os.truncate(directory / "envs/bio/share/large", LARGEST + 1)

    return make


@pytest.mark.parametrize("inside", [True, False])
def test_every_check_passes_and_copies_no_environment(checked, environments, pytester, tmp_path_factory, inside):
    place = pytester.path if inside else tmp_path_factory.mktemp("outside")
    environments(place)
    tools = ["envs/bio", "envs/py"] if inside else [f"{place}/envs/bio", f"{place}/envs/py"]
    checked.text = "a\nb\n"
    checked.python(STAGE, tools=tools, checkpoint={"everyLines": 1})
    result = checked.check("run,outputs,repeat,reads,resume,retry,stop,offline,skip,audit")
    assert result.ret == 0, result.stdout.str()


def test_a_program_of_an_environment_in_root_is_no_code(checked, environments, pytester):
    environments(pytester.path)
    checked.shell("cat $i > $o", tools="envs/bio")
    checked.stage["command"] = ["tool"]
    checked.stage["stdout"] = "text"
    assert checked.check("run").ret == 0


def test_a_filter_has_the_tools_and_env_of_its_stage(checked, environments, pytester):
    environments(pytester.path)
    extension = {"normalise": {"txt": ["sh", "-c", 'echo "$WORDS"; tool']}}
    checked.shell('date +%N > "$o"', tools="envs/bio", env={"WORDS": "a b"}, **{"x-offpipe": extension})
    checked.passes("repeat")


@pytest.mark.parametrize(("directory", "outcomes"), [
    ("envs/bio/bin", {"passed": 1, "skipped": 1}),
    ("scripts", {"passed": 2}),
])  # fmt: skip
def test_reads_needs_the_environment_of_a_program_in_root(checked, pytester, directory, outcomes):
    bin_directory = pytester.path / "envs/bio/bin"
    bin_directory.mkdir(parents=True)
    (bin_directory / "sh").symlink_to("/bin/sh")
    tool = pytester.path / directory / "tool"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f"#!{bin_directory}/sh\necho tool\n")
    tool.chmod(0o755)
    checked.shell("")
    checked.stage.update(command=[f"{directory}/tool"], stdout="text")
    result = checked.check("run,reads")
    result.assert_outcomes(**outcomes)
    if "skipped" in outcomes:
        result.stdout.fnmatch_lines(['*its program is a path: write "tools": "envs/bio", and "tool" in the command'])


def test_the_fixture_runs_a_stage_with_its_environment(pytester, environments):
    environments(pytester.path)
    stage = {"name": "work", "command": ["tool"], "stdout": "o", "outputs": {"o": "o.txt"}, "tools": "envs/bio"}
    (pytester.path / "spec.json").write_text(json.dumps({"specVersion": 1, "name": "n", "stages": [stage]}))
    pytester.makepyfile(FIXTURE)
    pytester.runpytest_inprocess(*LEFT_OUT, "-p", "no:cacheprovider").assert_outcomes(passed=1)
