"""A copy of a pipeline holds what the spec declares, wherever it is, and nothing that leads back to its source."""

from __future__ import annotations

import os
import sys

import pytest
from spec_project import COPY, SpecProject

PART = """
    import os, shutil

    def main():
        shutil.copyfile(os.environ["PIPELINE_INPUT_TEXT"], os.environ["PIPELINE_OUTPUT_TEXT"])
"""


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "run,outputs,offline,skip,audit"
    return made


def passes(project, *stages, spec="it.json", **fields):
    project.spec(*stages, to=spec, **fields)
    result = project.pytest("--offpipe-spec", spec)
    result.assert_outcomes(passed=2 * len(stages) + 3)


def test_inputs_above_root_and_elsewhere_by_an_absolute_path(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("else where")
    (elsewhere / "far.txt").write_text("far\n")
    project.write("shared/near.txt", "near\n")
    stage = project.shell('cat $i "$PIPELINE_INPUT_FAR" >$o; test $(wc -l <$o) = 2', name="pipe/work",
                          inputs={"text": "../shared/near.txt", "far": str(elsewhere / "far.txt")})  # fmt: skip
    passes(project, {**stage, "name": "work", "command": ["sh", "-e", "work.sh"]}, spec="pipe/it.json")
    assert (elsewhere / "far.txt").read_text() == "far\n"


def test_change_to_an_input_above_root_is_found(project):
    project.write("shared/near.txt", "near\n")
    stage = project.shell("cp $i $o; touch ../shared/near.txt", name="pipe/work", inputs={"text": "../shared/near.txt"})
    project.spec({**stage, "name": "work", "command": ["sh", "-e", "work.sh"]}, to="pipe/it.json")
    result = project.pytest("pipe/it.json::work[outputs]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*changed: ../shared/near.txt"])


def test_globs_directories_and_links(project):
    project.write("many/a.txt", "a\n")
    project.write("many/b.txt", "b\n")
    project.write("many/.hidden.txt", "x\n")
    project.write("tree/deep/c.txt", "c\n")
    project.write("real.txt", "real\n")
    (project.path / "link.txt").symlink_to("real.txt")
    (project.path / "linked").symlink_to("tree")
    stage = project.shell(
        """
        test "$(ls -A many)" = "$(printf 'a.txt\\nb.txt')"
        test "$(cat tree/deep/c.txt linked/deep/c.txt link.txt)" = "$(printf 'c\\nc\\nreal')"
        test ! -e real.txt
        echo fine >$o
        """,
        inputs={"text": "many/*.txt", "tree": "tree/", "link": "link.txt", "linked": "linked/", "far": "tree/**/*.txt"},
    )
    passes(project, stage)


def test_links_in_a_directory_lead_to_nothing_of_the_user(project):
    secret = project.write("secret/s.txt", "secret\n")
    project.write("tree/a.txt", "a\n")
    project.write("in.txt", "input\n")
    for name, to in {
        "in": "a.txt", "absolute": project.path / "tree" / "a.txt", "out": "../secret/s.txt", "far": secret,
        "declared": "../in.txt", "declared-far": project.path / "in.txt", "none": "/no/such/file",
    }.items():  # fmt: skip
        (project.path / "tree" / name).symlink_to(to)
    stage = project.shell(
        """
        cd tree
        for one in in absolute; do test "$(cat $one)" = a; done
        for one in declared declared-far; do test "$(cat $one)" = input; done
        for one in out far none; do test -L $one; test ! -e $one; done
        echo more >>absolute || true
        git init -q . 2>/dev/null || true
        """,
        inputs={"text": "in.txt", "tree": "tree/"},
    )
    project.spec({**stage, "command": ["sh", "-e", "work.sh"]})
    project.pytest("it.json::work[run]")
    assert (project.path / "tree" / "a.txt").read_text() == "a\n"
    assert secret.read_text() == "secret\n"
    project.write("work.sh", (project.path / "work.sh").read_text().partition("echo more")[0] + "echo x >$o\n")
    passes(project, {**stage, "command": ["sh", "-e", "work.sh"]})


def test_glob_that_stages_fill_in_part(project):
    project.write("parts/1.txt", "1\n")
    project.write("parts/3.txt", "an older run made it\n")
    make = {**COPY, "outputs": {"text": "parts/3.txt"}}
    join = project.shell("cat $i >$o; test $(wc -l <$o) = 3", name="join", inputs={"text": "parts/*.txt"})
    project.write("join.sh", (project.path / "join.sh").read_text().replace("cat $i", 'echo "$i" | xargs cat'))
    project.write("in.txt", "2\n3\n")
    passes(project, make, join)
    (project.path / "parts" / "1.txt").unlink()
    project.write("in.txt", "1\n2\n3\n")
    passes(project, make, join)


def test_modules_beside_a_processor_outside_root_and_ready_made_stages(project):
    project.write("code/process.py", "import part\npart.main()\n")
    project.write("code/part.py", PART)
    project.write("code/unused.py", "raise SystemExit(1)\n")
    project.write("pipe/in.txt", "x\n")
    own = {
        "name": "own",
        "processor": "../code/process.py",
        "inputs": {"text": "in.txt"},
        "outputs": {"text": "o/1.txt"},
    }
    ready = {
        "name": "ready",
        "processor": "offpipe:stage_copy.py",
        "inputs": {"text": "o/1.txt"},
        "outputs": {"t": "o/2.txt"},
    }
    passes(project, own, ready, spec="pipe/it.json")


def test_spec_with_state_and_locks_elsewhere_and_a_root_above(project):
    project.write("sub/in.txt", "x\n")
    stage = {**COPY, "inputs": {"text": "sub/in.txt"}}
    passes(project, stage, spec="specs/deep/it.json", root="../..", stateDir="var/state", locksDir="var/locks")


def test_executable_and_its_arguments_that_name_files(project):
    project.write("tool", "#!/bin/sh -e\ncat $2 $PIPELINE_INPUT_TEXT >$PIPELINE_OUTPUT_TEXT\n", mode=0o755)
    project.write("rules.txt", "rule\n")
    passes(project, {
        "name": "work", "processor": "tool", "args": ["--rules", "rules.txt"], "inputs": {"text": "in.txt"},
        "outputs": {"text": "out.txt"},
    })  # fmt: skip


@pytest.mark.parametrize("identity", ["name", "content"])
def test_a_program_below_root_that_a_relative_path_finds_and_its_modules(project, identity):
    project.write("tools/part.py", PART)
    project.write("tools/sort", f"#!{sys.executable}\nimport part\npart.main()\n", mode=0o755)
    passes(project, {
        "name": "work", "command": ["sort", "--no-option-of-the-system's"], "env": {"PATH": "tools:/usr/bin:/bin"},
        "programIdentity": identity, "inputs": {"text": "in.txt"}, "outputs": {"text": "out.txt"},
    })  # fmt: skip


def test_a_program_that_a_shell_finds_along_a_relative_path_is_not_there(project):
    project.write("tools/hi", "#!/bin/sh\necho hi\n", mode=0o755)
    stage = project.shell("hi >$o", env={"PATH": "tools:/usr/bin:/bin"})
    project.spec(stage)
    project.pytest("it.json::work[run]").assert_outcomes(failed=1)


def test_names_with_blanks_and_letters(project):
    project.write("größe/ein text.txt", "x\n")
    stage = {**COPY, "inputs": {"text": "größe/*.txt"}, "outputs": {"text": "aus gabe/ä.txt"}}
    passes(project, stage, spec="meine specs/ä b.json", root="..")


def test_times_and_modes_are_those_of_the_originals(project):
    path = project.write("in.txt", "x\n", mode=0o640)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    passes(project, project.shell("stat -c '%a %Y' $i >$o; test \"$(cat $o)\" = '640 1000000000'"))


def test_more_than_64_mib_of_input_is_refused_before_anything_is_copied(project):
    with open(project.path / "in.txt", "wb") as file:
        file.truncate((64 << 20) + 1)
    project.spec(COPY)
    result = project.pytest("it.json", "-k", "run", "--basetemp", "base")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "it.json: 64 MiB of source input, and a test copies at most 64",
        "*hint: lay smaller inputs out in a directory, as below root, and give it: --offpipe-inputs DIR",
    ])  # fmt: skip
    assert not [path for path in (project.path / "base").rglob("*") if path.name == "in.txt"]
    with open(project.path / "in.txt", "wb") as file:
        file.truncate(1 << 20)
    project.pytest("it.json").assert_outcomes(passed=5)


def test_smaller_inputs_take_the_place_of_those_that_are_there(project):
    project.write("small/in.txt", "small\n")
    project.write("small/many/only.txt", "only\n")
    project.write("many/a.txt", "a\n")
    project.write("other.txt", "other\n")
    stage = project.shell(
        'test "$(cat $i)" = small; test "$(ls many)" = only.txt; cp other.txt $o',
        inputs={"text": "in.txt", "many": "many/*.txt", "other": "other.txt"},
    )
    project.spec(stage)
    project.pytest("it.json", "--offpipe-inputs", "small").assert_outcomes(passed=5)


def test_input_that_cannot_be_copied_is_reported(project):
    project.write("tree/a.txt", "a\n")
    os.mkfifo(project.path / "tree" / "pipe")
    project.spec({**COPY, "inputs": {"text": "in.txt", "tree": "tree/"}})
    result = project.pytest("it.json::copy[run]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*tree/pipe: is not a regular file, directory or link"])
    result.stdout.no_fnmatch_line("*Traceback*")
