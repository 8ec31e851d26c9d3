"""Odd command lines, specs and workspaces get the right exit code, and a message with the place and a hint."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
from pipeline_bench import ROOT, shell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pipeline_bench import PipelineBench

COPY = {
    "name": "a",
    "command": ["cp", "{inputs.x}", "{outputs.y}"],
    "inputs": {"x": "in.txt"},
    "outputs": {"y": "out/y"},
}
TRIM = {**COPY, "name": "trim-ast", "params": {"n": 3}}


class Use(NamedTuple):
    """The command line without the spec, the exit code, and parts of the message."""

    words: str
    code: int
    says: tuple[str, ...]
    stage: Mapping[str, object] = {}
    top: Mapping[str, object] = {}
    prepare: Callable[[PipelineBench], object] = lambda bench: None


def reads(path: str) -> dict[str, object]:
    return {"command": ["true", "{outputs.y}"], "inputs": {"x": path}}


def refused(path: str, *says: str) -> Use:
    return Use("validate", 2, ("spec.json#/stages/0/inputs/x: ", *says, "hint: "), reads(path))


def two_files(bench: PipelineBench) -> None:
    bench.write("in2.txt", "")


def carriage_return(bench: PipelineBench) -> None:
    bench.write("tool", "#!/bin/sh\r\nexit 0\r\n", 0o755)


JOINED = {"command": ["sort", "-t={inputs.x}"], "inputs": {"x": "in*.txt"}, "stdout": "y"}
AT_JOINED = ("spec.json#/stages/0/command/1: ", "needs one file", "hint: make {inputs.x} a word of its own")
LONG = "a-directory-with-a-name-that-is-longer-than-what-messages-show-of-a-value-at-most/end-of-it"
USES = {
    "an input that is root": refused("./", "is root itself"),
    "an input that contains root": refused("../", "contains root"),
    "an input that is the machine": refused("/", "contains root"),
    "an input that contains the state directory": refused("kept/", "contains the state directory")._replace(
        top={"stateDir": "kept/state"}
    ),
    "an input in the state directory": refused("state/audit_ledger.jsonl", "in the state directory"),
    "an input glob in the state directory": refused("state/*.json", "in the state directory"),
    "the state directory as an input": refused("state/", "is the state directory"),
    "the locks as an input": refused("locks/", "is the locks directory"),
    "offpipe's own directory as an input": refused(".offpipe/", "is offpipe's own directory"),
    "an empty workspace": Use("run --workspace=", 2, ("--workspace: ", "hint: ")),
    "a run that is not there, without state": Use("verify --run NOPE", 2, ('--run: no run "NOPE"',)),
    "a word of one file, planned": Use("plan", 5, AT_JOINED, JOINED, prepare=two_files),
    "a word of one file, validated": Use("validate", 5, AT_JOINED, JOINED, prepare=two_files),
    "a word of one file, run": Use("run", 5, AT_JOINED, JOINED, prepare=two_files),
    "a root with a long name": Use("validate", 2, ("spec.json#/root: ", "end-of-it"), top={"root": LONG}),
    "a program with Windows line ends": Use(
        "validate", 2, ("spec.json#/stages/0/command/0: ", "hint: ", "Windows line ends"),
        {"command": ["./tool"]}, prepare=carriage_return,
    ),
    "a state directory that is a file": Use(
        "run", 2, ("spec.json#/stateDir: ", "is not a directory", "hint: "),
        prepare=lambda bench: bench.write("state", ""),
    ),
    "a state directory that is a dangling link": Use(
        "run", 2, ("spec.json#/stateDir: ", "hint: "), prepare=lambda bench: (bench.root / "state").symlink_to("gone"),
    ),
    "a state directory behind a link out of the workspace": Use(
        "run", 2, ("spec.json#/stateDir: ", "outside the workspace", "hint: "),
        prepare=lambda bench: (bench.root / "state").symlink_to("/tmp"),
    ),
    "a workspace that is a file": Use(
        "run --workspace in.txt", 2, ("--workspace: ", "in.txt", "hint: "),
    ),
    "a workspace below a file": Use("run --workspace in.txt/w", 2, ("--workspace: ", "in.txt", "hint: ")),
    "a workspace that is a dangling link": Use(
        "run --workspace gone", 2, ("--workspace: ", "gone", "hint: "),
        prepare=lambda bench: (bench.root / "gone").symlink_to("nowhere"),
    ),
    "two specs": Use(
        "run other.json", 2, ('"other.json"', "hint: ", "one spec"),
        prepare=lambda bench: bench.write("other.json", ""),
    ),
    "a command of one string": Use(
        "validate", 2, ("spec.json#/stages/0/command: must be an array", "hint: ", '["sh", "-c", "sort x > y"]'),
        {"command": "sort x > y"},
    ),
    "a number with an underscore": Use("run -j 1_0", 2, ("-j", '"1_0" is not a whole number')),
    "a number in other digits": Use("run -j ٣", 2, ("-j", '"٣" is not a whole number')),
    "dependencies by their usual name": Use(
        "validate", 2, ("spec.json#/stages/0/deps: ", 'hint: did you mean "inputs"?'), {"deps": {"x": "in.txt"}},
    ),
    "a mistyped parameter of a command": Use(
        "run --param trim-ast.nn=4", 2, ("--param: ", '"nn"', 'hint: did you mean "n"?'), TRIM,
    ),
}  # fmt: skip


def test_an_input_that_a_stage_makes_is_below_the_workspace(bench) -> None:
    make = shell("mk", "mkdir $PIPELINE_OUTPUT_OUT", outputs={"out": "out/"})
    use = {
        "name": "use",
        "command": ["ls", "{inputs.d}"],
        "inputs": {"d": "out/"},
        "stdout": "t",
        "outputs": {"t": "l"},
    }
    bench.define(make, use)
    bench.succeed("--workspace", str(bench.root / "out"))
    bench.succeed("validate")


def test_a_glob_never_finds_the_state_directory(bench) -> None:
    precious = bench.write("in/state/stage_u.json", "precious\n")
    bench.define({**COPY, "inputs": {"x": "*/state/stage_*.json"}}, stateDir="in/state")
    assert bench.run().returncode == 5
    assert precious.read_text() == "precious\n"


def test_python_found_by_env_with_odd_blanks_has_its_imports_watched(bench) -> None:
    code = "import helper,os\nopen(os.environ['PIPELINE_OUTPUT_T'], 'w').write(helper.X)\n"
    bench.write("s", f"#!/usr/bin/env -S python3\f-B\n{code}", 0o755)
    bench.write("helper.py", "X = '1'\n")
    bench.define({"name": "u", "processor": "s", "outputs": {"t": "o.txt"}})
    bench.succeed()
    bench.write("helper.py", "X = '2'\n")
    assert bench.run("status", "--exit-code").returncode == 3


@pytest.mark.parametrize("use", USES)
def test_an_odd_use_gets_the_right_answer(bench, use) -> None:
    words, code, says, stage, top, prepare = USES[use]
    bench.write("in.txt", "x\n")
    bench.define({**COPY, **stage}, **top)
    prepare(bench)
    before = {path.name for path in bench.root.iterdir()}
    done = bench.run(*words.split(), cwd=bench.root, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == code, done.stdout + done.stderr
    assert [part for part in says if part not in done.stderr] == [], done.stderr
    assert "state" in before or bench.has_only_refused(), "a refused run wrote something"
    assert {path.name for path in bench.root.iterdir()} - {"state"} == before - {"state"}


def test_arguments_too_long_for_the_system_fail_the_stage_with_a_hint(bench) -> None:
    bench.define({**COPY, "command": ["echo", "{params.text}"], "stdout": "y", "params": {"text": "x" * 200_000}})
    bench.write("in.txt", "x\n")
    done = bench.run()
    assert done.returncode == 1
    assert "E2BIG (Argument list too long)\nhint: pass the names in a file: {list.NAME}" in done.stderr


@pytest.mark.parametrize(("word", "hint"), [("--nope", None), ("--until", None), ("--force-all", "--force")])
def test_a_hint_names_a_similar_option_or_none(bench, word, hint) -> None:
    bench.define(COPY)
    done = bench.run("run", word)
    assert done.returncode == 2
    assert ("did you mean" in done.stderr) == (hint is not None), done.stderr
    assert hint is None or f'did you mean "{hint}"?' in done.stderr


def test_results_that_cannot_be_written_fail_a_dry_run(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(COPY)
    with open("/dev/full", "w") as full:
        assert bench.run("run", "-n", stdout=full).returncode == 74


def test_a_first_plan_reads_no_input(bench) -> None:
    """The input has 64 MiB. The process reads less than half of that: its own program."""
    bench.write("in.txt", "")
    os.truncate(bench.root / "in.txt", 64 << 20)
    bench.define(COPY)
    for verb in ("validate", "plan"):
        process = bench.start(verb)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with open(f"/proc/{process.pid}/io") as counters:
            read = int(counters.readline().removeprefix("rchar:"))
        stdout, stderr = process.communicate()
        assert process.returncode == 0, stdout + stderr
        assert read < 32 << 20


def test_many_faults_are_cut_after_a_hundred(bench) -> None:
    bench.define(*({"name": f"s{number}"} for number in range(2_000)))
    done = bench.run("validate")
    assert done.returncode == 2
    *shown, last = [line for line in done.stderr.splitlines() if not line.startswith("hint: ")]
    assert len(shown) == 100 and last.startswith("and ") and last.endswith(" more"), last


def test_a_working_directory_that_is_gone_is_named(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(COPY)
    bench.succeed()
    gone = bench.root / "gone"
    gone.mkdir()
    words = [sys.executable, "-P", "-m", "runner", "verify", str(bench.spec)]
    program = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); os.execv({words[0]!r}, {words!r})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 74
    assert "working directory" in done.stderr and "hint: " in done.stderr


def test_what_a_failed_stage_printed_into_its_output_is_shown_as_its_log(bench) -> None:
    bench.define(
        {"name": "a", "command": ["sh", "-c", "echo no such column; exit 1"], "outputs": {"y": "y"}, "stdout": "y"}
    )
    done = bench.run()
    assert done.returncode == 1
    assert "    no such column" in done.stderr
    assert "no such column" in bench.run("log", "a").stdout


def test_clean_warns_of_a_file_that_no_stage_is_known_to_have_made(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.write("out/y", "precious\n")
    bench.define(COPY)
    done = bench.run("clean")
    assert done.returncode == 0
    assert "warning: " in done.stderr and "out/y" in done.stderr
