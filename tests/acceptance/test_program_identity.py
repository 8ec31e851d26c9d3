"""With "programIdentity": "content", a new version of a command's program runs its stages again.

Either way, the record has the digest of each program and the git commit.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import noop_words as quick
import pytest
from pipeline_bench import wait_for

TOOL = '#!/bin/sh\n# version 1\ncat "$1" > "$2"\n'


@pytest.fixture
def tools(tmp_path_factory):
    """Two directories for programs, outside root."""
    base = tmp_path_factory.mktemp("tools")
    (base / "first").mkdir()
    (base / "second").mkdir()
    install(base / "second")
    return base


def install(directory, text=TOOL):
    tool = directory / "tool"
    tool.with_suffix(".new").write_text(text)
    tool.with_suffix(".new").chmod(0o755)
    tool.with_suffix(".new").rename(tool)


def stage(tools, **more):
    path = f"{tools}/first:{tools}/second:/usr/bin:/bin"
    return {
        "name": "a", "command": ["tool", "{inputs.x}", "{outputs.o}"], "inputs": {"x": "in.txt"},
        "outputs": {"o": "out.txt"}, "env": {"PATH": path}, **more,
    }  # fmt: skip


def lay_out(bench, *stages, **top):
    bench.write("in.txt", "one\n")
    bench.define(*stages, **top)
    bench.succeed()


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_new_version_runs_the_stage_again_and_explain_names_the_program(bench, tools):
    lay_out(bench, stage(tools), programIdentity="content")
    assert bench.skips_everything()
    before = digest(tools / "second/tool")
    install(tools / "second", TOOL.replace("1", "2"))
    now = digest(tools / "second/tool")
    assert f"program tool: {before} -> {now}" in bench.run("explain", "a").stdout
    assert not bench.skips_everything()
    assert bench.skips_everything()
    assert f"program\n  tool: {now}" in bench.run("explain", "a").stdout


def test_by_name_the_default_a_new_version_runs_nothing(bench, tools):
    lay_out(bench, stage(tools))
    install(tools / "second", TOOL.replace("1", "2"))
    assert bench.skips_everything()


@pytest.mark.parametrize(("top", "own", "runs"), [("content", "name", False), ("name", "content", True)])
def test_a_stage_overrides_the_spec(bench, tools, top, own, runs):
    lay_out(bench, stage(tools, programIdentity=own), programIdentity=top)
    install(tools / "second", TOOL.replace("1", "2"))
    assert bench.skips_everything() is not runs


def test_a_program_that_comes_earlier_on_the_path_is_noticed_without_a_plan_too(bench, tools, monkeypatch):
    monkeypatch.chdir(bench.root)
    lay_out(bench, stage(tools), programIdentity="content")
    quick.settle(bench)
    install(tools / "first", TOOL.replace("1", "2"))
    assert quick.answer([str(bench.spec), "-q"]) is None
    assert "program tool: " in bench.run("plan").stdout
    shutil.rmtree(tools / "first")
    quick.settle(bench)
    install(tools / "second", TOOL.replace("1", "2"))
    assert quick.answer([str(bench.spec), "-q"]) is None


def test_the_same_program_at_another_place_or_time_runs_nothing(bench, tools):
    lay_out(bench, stage(tools), programIdentity="content")
    os.utime(tools / "second/tool")
    assert bench.skips_everything()
    (tools / "second/tool").rename(tools / "first/tool")
    (tools / "first/tool").chmod(0o700)
    assert bench.skips_everything()


def test_a_program_that_is_replaced_while_it_runs_runs_again(bench, tools):
    waits = TOOL + "test -e started || { touch started; while ! test -e go; do :; done; }\n"
    install(tools / "second", waits)
    bench.write("in.txt", "one\n")
    bench.define(stage(tools), programIdentity="content")
    run = bench.start()
    wait_for(lambda: bench.exists("started"))
    install(tools / "second", waits.replace("1", "2"))
    bench.write("go", "")
    run.communicate(timeout=60)
    assert run.returncode == 0 and len(bench.records("attempt.started")) == 2
    assert bench.skips_everything()


def test_a_program_below_root_is_code_and_the_interpreter_of_a_command_is_a_program(bench):
    bench.write("tool", TOOL, 0o755)
    copy = {"command": ["./tool", "{inputs.x}", "{outputs.o}"], "inputs": {"x": "in.txt"}, "outputs": {"o": "out.txt"}}
    text = "import sys; open(sys.argv[1], 'w').close()"
    python = {"name": "b", "command": ["{python}", "-c", text, "{outputs.o}"], "outputs": {"o": "b.txt"}}
    lay_out(bench, {"name": "a", **copy}, python, programIdentity="content")
    programs = [json.loads(bench.read(f"state/stage_{name}.json"))["components"]["program"] for name in "ab"]
    assert programs == [{}, {"{python}": digest(sys.executable)}]
    assert bench.skips_everything()


@pytest.mark.full
def test_a_program_that_an_earlier_stage_makes_counts_as_an_input_and_only_if_it_is_declared(bench):
    make = "cp in.txt $PIPELINE_OUTPUT_OUT; chmod 755 $PIPELINE_OUTPUT_OUT"
    tool = {"name": "make", "command": ["sh", "-c", make], "inputs": {"x": "in.txt"}, "outputs": {"out": "made/tool"}}
    use = {"name": "use", "command": ["made/tool"], "needs": ["make"], "stdout": "o", "outputs": {"o": "out.txt"}}
    bench.write("in.txt", "#!/bin/sh\necho 1\n")
    bench.define(tool, use, programIdentity="content")
    bench.succeed()
    assert bench.skips_everything()
    bench.write("in.txt", "#!/bin/sh\necho 2\n")
    bench.succeed()
    assert bench.read("out.txt") == b"1\n"
    assert bench.skips_everything()
    bench.define(tool, {**use, "inputs": {"tool": "made/tool"}}, programIdentity="content")
    bench.succeed()
    assert bench.read("out.txt") == b"2\n"
    assert bench.skips_everything()


def test_a_missing_program_is_refused_before_anything_starts(bench, tools):
    (tools / "second/tool").unlink()
    bench.write("in.txt", "one\n")
    bench.define(stage(tools), programIdentity="content")
    done = bench.run()
    assert done.returncode == 2 and 'no program "tool"' in done.stderr and not bench.records()


def test_the_digest_of_a_program_is_kept_in_the_cache_of_digests(bench, tools):
    lay_out(bench, stage(tools), programIdentity="content")
    quick.settle(bench)
    assert str(tools / "second/tool") in json.loads(bench.read("state/files.json"))["files"]


# ---- on record -------------------------------------------------------------------------------------------------------


def test_each_commit_has_the_digest_of_its_program(bench, tools):
    bench.write("b.py", "import sys\nopen(sys.argv[1], 'w').close()\n")
    script = {"name": "b", "processor": "b.py", "args": ["{outputs.o}"], "outputs": {"o": "b.txt"}}
    lay_out(bench, stage(tools), script)
    programs = {each["data"]["stage"]: each["data"]["programSha256"] for each in bench.records("stage.commit")}
    assert programs == {"a": digest(tools / "second/tool"), "b": digest(sys.executable)}


@pytest.mark.full
@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_only_a_run_with_work_records_the_git_commit(bench, tools):
    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        command = ["git", "-C", str(bench.root), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    lay_out(bench, stage(tools))
    git("commit", "-q", "--allow-empty", "-m", "x")
    bench.succeed()
    bench.succeed("-f")
    commits = [each["data"].get("gitCommit") for each in bench.records("run.start")]
    assert commits == [None, None, git("rev-parse", "HEAD")]
    bench.succeed("verify", "--outputs")
