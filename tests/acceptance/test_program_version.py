"""`programVersion` puts a program's version on record. It is asked once a run, in the guard, and fails nothing."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from pipeline_bench import kill_and_await, shell, wait_for

WRITE = "cat in.txt > $PIPELINE_OUTPUT_OUT"
SAYS = "echo asked >> asked; echo tool 1.2"


def stage(name, version, script=WRITE, **fields):
    return shell(name, script, inputs={"in": "in.txt"}, programVersion=version, **fields)


def asks(script):
    return ["sh", "-c", script]


def until(condition):
    return f"until {condition}; do sleep 0.01; done"


def define(bench, *stages, **top):
    bench.write("in.txt", "1\n")
    bench.define(*stages, **top)


def version(bench, name):
    marker = json.loads(bench.read(f"state/stage_{name}.json"))
    commit = [record["data"] for record in bench.records("stage.commit") if record["data"]["stage"] == name][-1]
    assert marker.get("programVersion") == commit.get("programVersion")
    return marker.get("programVersion")


def warnings(bench):
    return [record["data"]["where"] + ": " + record["data"]["what"] for record in bench.records("run.warning")]


def at_work(bench):
    """The processes whose working directory is root."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found += [process.name] if os.readlink(process / "cwd") == str(bench.root) else []
    return found


def asked(bench):
    return bench.read("asked").count(b"asked")


def test_the_first_line_is_in_the_marker_and_in_the_report(bench):
    define(bench, stage("a", asks("echo tool 1.2; echo more")), shell("b", "touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    assert version(bench, "a") == "tool 1.2"
    assert version(bench, "b") is None
    assert "intact" in bench.succeed("verify", "--outputs").stdout
    assert "tool 1.2" in bench.succeed("report", "-o", "-").stdout


LONG = "x" * 300
LINES = {
    "stderr": ("echo tool 1.2 >&2", "tool 1.2"),
    "both, as they come": ("echo one >&2; echo two", "one"),
    "blank lines": (r"printf '\n  \n tool 1.2 \nmore\n'", "tool 1.2"),
    "no line end": ("printf 'tool 1.2'", "tool 1.2"),
    "a failure": ("echo usage; exit 1", "usage"),
    "cut": (f"echo {LONG}", LONG[:200]),
    "not UTF-8": (r"printf 'a\377b\n'", r"a\xffb"),
    "standard input is empty": ("cat; echo then", "then"),
    "without end": ("yes", "y"),
}


@pytest.mark.full_after(3)
@pytest.mark.parametrize("case", LINES)
def test_any_first_line_counts(bench, case):
    script, line = LINES[case]
    define(bench, stage("a", asks(script)))
    bench.succeed()
    assert version(bench, "a") == line
    assert warnings(bench) == []


NONE = {
    "missing": (["no-such-tool", "-v"], 'no program "no-such-tool" on the stage\'s PATH'),
    "no line": (["true"], "printed no line, so no version is on record"),
    "blank": (["echo", " "], "printed no line, so no version is on record"),
    "not a program": (["./odd"], "could not start: ENOEXEC (Exec format error), so no version is on record"),
}


@pytest.mark.parametrize("case", NONE)
def test_no_version_is_a_warning_and_fails_nothing(bench, case):
    words, what = NONE[case]
    bench.write("odd", b"\x7fELF and no more", 0o755)
    define(bench, stage("a", words))
    bench.succeed()
    assert version(bench, "a") is None
    assert warnings(bench) == [f"stage a, programVersion: {what}"]


def test_a_list_is_asked_once_a_run_and_only_for_stages_that_run(bench):
    define(bench, *(stage(name, asks(SAYS)) for name in "abcdef"))
    bench.succeed("-j", "4")
    assert asked(bench) == 1
    assert {version(bench, name) for name in "abcdef"} == {"tool 1.2"}
    bench.succeed()
    bench.succeed("plan", "-v")
    assert asked(bench) == 1
    bench.succeed("-f", "a", "b")
    assert asked(bench) == 2


def test_a_stage_that_is_up_to_date_after_all_asks_nothing(bench):
    first = shell("first", "echo x > $PIPELINE_OUTPUT_OUT", inputs={"in": "in.txt"})
    script = "cat out/first.txt > $PIPELINE_OUTPUT_OUT"
    define(bench, first, shell("then", script, inputs={"in": "out/first.txt"}, programVersion=asks(SAYS)))
    bench.succeed()
    bench.write("in.txt", "2\n")
    bench.succeed()
    assert asked(bench) == 1


def test_the_same_list_on_another_path_is_another_program(bench):
    for number in "12":
        bench.write(f"tools{number}/tool", f"#!/bin/sh\necho tool {number}\n", 0o755)
    define(bench, *(stage(f"s{number}", ["tool"], env={"PATH": f"{bench.root}/tools{number}:/bin"}) for number in "12"))
    bench.succeed()
    assert [version(bench, f"s{number}") for number in "12"] == ["tool 1", "tool 2"]


def test_defaults_may_have_it_and_vars_and_python_stand_in_it(bench):
    top = {"vars": {"tool": "sort {python}"}, "defaults": {"programVersion": ["{python}", "--version"]}}
    define(bench, shell("a", "touch $PIPELINE_OUTPUT_OUT"), stage("b", ["echo", "{vars.tool}", "{x}"]), **top)
    bench.succeed()
    assert version(bench, "a").startswith("Python 3.")
    assert version(bench, "b") == "sort {python} {x}"
    assert warnings(bench) == []


def test_it_starts_in_root_with_the_environment_of_the_stage_and_a_scratch_directory(bench):
    script = (
        'cd "$TMPDIR" && touch mine && cd "$OLDPWD" && echo "$(pwd) $MINE $TZ ${PIPELINE_STAGE-none} $(ls "$TMPDIR")"'
    )
    define(bench, stage("a", asks(script), env={"MINE": "m"}))
    bench.succeed()
    assert version(bench, "a") == f"{bench.root} m UTC none mine"
    assert bench.leftovers() == []


def test_a_directory_that_env_names_as_tmpdir_stays(bench):
    bench.write("mine/file", "")
    define(bench, stage("a", ["echo", "tool 1.2"], env={"TMPDIR": f"{bench.root}/mine"}))
    bench.succeed()
    assert bench.exists("mine/file")


def test_it_reaches_no_network_and_a_warning_says_that_it_tried(bench):
    call = "p=python3; $p -c \"import socket; socket.create_connection(('127.0.0.1', 9))\" 2>&1 | tail -n 1"
    define(bench, stage("a", asks(f"echo tool 1.2; {call} >&2")))
    bench.succeed()
    assert version(bench, "a") == "tool 1.2"
    (warning,) = warnings(bench)
    assert warning.startswith("stage a, programVersion: asked for a network, which was refused: python3")
    assert bench.records("offline.attempt") == []


def test_while_a_program_is_asked_stages_end_and_no_other_starts(bench):
    busy = shell("busy", f"{until('test -e asking')}; touch $PIPELINE_OUTPUT_OUT")
    asked = stage("asked", asks(f"touch asking; {until('test -e out/busy.txt')}; echo tool 1.2"))
    define(bench, busy, asked, shell("free", "touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed("-j", "3")
    started = [record["data"]["stage"] for record in bench.records("attempt.started")]
    assert started == ["busy", "asked", "free"]
    assert version(bench, "asked") == "tool 1.2"


@pytest.mark.full
def test_a_program_that_takes_longer_than_ten_seconds_is_ended_with_all_that_it_started(bench):
    script = "echo tool 1.2; (setsid sleep 1000 &); trap '' TERM; while :; do sleep 1; done"
    define(bench, stage("a", asks(script)))
    done = bench.succeed()
    assert version(bench, "a") is None
    assert warnings(bench) == ["stage a, programVersion: took longer than 10 s, so no version is on record"]
    assert "warning: stage a, programVersion: took longer than 10 s" in done.stderr
    assert at_work(bench) == [] and bench.leftovers() == []


def asking(bench, end="sleep 1000"):
    """Start a run that asks; return its process, once the program is at work."""
    define(bench, stage("a", asks(f"test -e again || {{ touch at-work; {end}; }}; echo tool 1.2")))
    process = bench.start()
    wait_for(lambda: bench.exists("at-work"))
    bench.write("again", "")
    return process


def test_a_killed_runner_leaves_nothing_of_it_behind(bench):
    process = asking(bench)
    assert at_work(bench)
    kill_and_await(process)
    wait_for(lambda: not at_work(bench))  # on a cluster, the workers end it
    bench.succeed()
    assert version(bench, "a") == "tool 1.2"
    assert bench.leftovers() == [] and os.listdir(bench.root / "state/tmp") == []


def test_an_interrupt_ends_it_without_a_warning(bench):
    process = asking(bench)
    process.terminate()
    assert process.wait() == 143
    assert warnings(bench) == []
    assert [record["data"]["stage"] for record in bench.records("attempt.started")] == []
    bench.succeed()
    assert version(bench, "a") == "tool 1.2"


def test_a_failure_elsewhere_lets_it_end_and_starts_no_stage(bench):
    bad = shell("bad", f"{until('test -e asking')}; exit 1")
    on_record = until("grep -q stage[.]finished state/audit_*.jsonl")
    define(bench, bad, stage("a", asks(f"touch asking; {on_record}; echo tool 1.2")))
    assert bench.run("-j", "2").returncode == 1
    assert [record["data"]["stage"] for record in bench.records("attempt.started")] == ["bad"]
    assert bench.leftovers() == []


def test_an_adopted_output_keeps_the_version_of_what_made_it(bench):
    define(bench, stage("a", ["echo", "tool 1.2"], outputs={"out": "out.txt"}))
    bench.succeed()
    define(bench, stage("b", ["echo", "tool 3"], outputs={"out": "out.txt"}))
    bench.succeed()
    assert json.loads(bench.read("state/stage_b.json"))["programVersion"] == "tool 1.2"


def test_a_lost_marker_gets_it_again_from_the_record(bench):
    define(bench, stage("a", ["echo", "tool 1.2"]), shell("b", "exit 1", inputs={"in": "out/a.txt"}))
    assert bench.run().returncode == 1
    os.unlink(bench.root / "state/stage_a.json")
    assert bench.run().returncode == 1
    assert version(bench, "a") == "tool 1.2"


WRONG = {
    "{inputs.in}": "{inputs.in} has no value when a program is asked for its version",
    "{outputs.map.bam}": "{outputs.map.bam} has no value when a program is asked for its version",
    "{each.x}": "{each.x} has no value when a program is asked for its version",
    "{vars.none}": '{vars.none}: no value named "none"',
    "{vars.words}": "{vars.words} is a list",
}


@pytest.mark.parametrize("place", ["stage", "defaults"])
@pytest.mark.parametrize("word", WRONG)
def test_other_placeholders_are_refused_with_their_place(bench, word, place):
    own = {"programVersion": ["tool", word]}
    each = shell("a", "touch $PIPELINE_OUTPUT_OUT", outputs={"out": "{each.x}.txt"}, inputs={"in": "in.txt"})
    stage = {**each, "each": {"x": [1, 2]}} | (own if place == "stage" else {})
    bench.define(stage, defaults=own if place == "defaults" else {}, vars={"words": ["a"]})
    done = bench.run("validate")
    assert done.returncode == 2
    at = "#/stages/0/programVersion/1: " if place == "stage" else "#/defaults/programVersion/1: "
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].endswith(at + WRONG[word]), done.stderr


def test_the_effective_spec_has_it_with_the_values_of_vars(bench):
    define(bench, stage("a", ["echo", "{vars.v}"]), vars={"v": "x"})
    bench.succeed()
    spec = json.loads(bench.records("run.start")[0]["data"]["spec"])
    assert spec["stages"][0]["programVersion"] == ["echo", "x"]
