"""What a stage gets at its start, what it may leave behind, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pipeline_bench import shell, wait_for

SHOW = """
import json, os, sys
fds = {}
for name in os.listdir("/proc/self/fd"):
    try:
        fds[name] = os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        pass
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
json.dump({"env": dict(os.environ), "fds": fds, "cwd": os.getcwd(), "ignored": int(status["SigIgn"], 16),
           "blocked": int(status["SigBlk"], 16), "session": os.getsid(0), "pid": os.getpid(),
           "scratch": os.listdir(os.environ["TMPDIR"]), "stage": json.load(open(os.environ["PIPELINE_STAGE_FILE"]))},
          open(os.environ["PIPELINE_OUTPUT_OUT"], "w"))
open(os.environ["TMPDIR"] + "/left", "w").close()
"""
CONTRACT = {
    "PIPELINE_STAGE_FILE", "PIPELINE_NAME", "PIPELINE_RUN_ID", "PIPELINE_STAGE", "PIPELINE_ATTEMPT", "PIPELINE_KEY",
    "PIPELINE_PARAMS", "PIPELINE_INPUTS", "PIPELINE_OUTPUTS", "PIPELINE_INPUT_A_B", "PIPELINE_OUTPUT_OUT",
    "PIPELINE_PROGRESS", "PIPELINE_OFFLINE", "PIPELINE_CPUS", "PIPELINE_MEMORY_MIB", "PIPELINE_IO_CONCURRENCY",
}  # fmt: skip
THREADS = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"}


def shown(bench, spec_env=None, **popen):
    bench.write("show.py", SHOW)
    bench.write("in/1.txt", "1")
    bench.write("in/2.txt", "2")
    bench.define({
        "name": "show", "processor": "show.py", "inputs": {"a-b": "in/*.txt"}, "outputs": {"out": "out.json"},
        "resources": {"cpus": 2, "memoryMiB": 64, "ioConcurrency": 3}, "params": {"x": [1, "é"]}, "env": spec_env or {},
    })  # fmt: skip
    bench.succeed("-j", "8", **popen)
    return json.loads(bench.read("out.json"))


def test_the_environment_is_exactly_the_contract(bench):
    outer = {
        "SECRET": "s",
        "LC_ALL": "C",
        "PYTHONSTARTUP": "x",
        "TZ": "Asia/Tokyo",
        "HOME": "/some/home",
        "LD_DEBUG_": "1",
    }
    env = shown(bench, {"MINE": "m"}, env=outer)["env"]
    env.pop("LC_CTYPE", None)  # an interpreter sets it for itself (PEP 538)
    assert set(env) - {"PYTHONPATH"} == CONTRACT | THREADS | {"PATH", "LANG", "TZ", "HOME", "TMPDIR", "MINE"}
    assert env["PATH"].endswith(":/usr/local/bin:/usr/bin:/bin")
    assert (env["LANG"], env["TZ"], env["HOME"], env["MINE"]) == ("C.UTF-8", "UTC", "/some/home", "m")
    assert {env[name] for name in THREADS} == {"2"} == {env["PIPELINE_CPUS"]}
    assert env["PIPELINE_INPUT_A_B"].splitlines() == [str(bench.root / "in/1.txt"), str(bench.root / "in/2.txt")]
    assert json.loads(env["PIPELINE_PARAMS"]) == {"x": [1, "é"]}


def test_a_stage_inherits_no_descriptor_signal_or_session_of_the_runner(bench):
    number = os.open(os.devnull, os.O_RDONLY)
    try:
        report = shown(bench, pass_fds=(number,), command=("nohup",), stdin=subprocess.PIPE)
    finally:
        os.close(number)
    assert set(report["fds"]) - {"0", "1", "2"} <= {str(max(map(int, report["fds"])))}  # the descriptor that lists them
    assert report["fds"]["0"] == "/dev/null"
    assert report["fds"]["1"] == report["fds"]["2"] == str(next((bench.root / "state/logs").rglob("show.1.log")))
    assert report["cwd"] == str(bench.root)
    assert report["session"] == report["pid"]
    assert report["blocked"] == 0
    assert report["ignored"] & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1) == 0  # an interpreter ignores these
    assert report["scratch"] == []
    assert not any((bench.root / "state/tmp").iterdir())


def test_the_stage_file_holds_what_the_variables_hold(bench):
    report = shown(bench)
    stage, env = report["stage"], report["env"]
    assert stage["v"] == 1
    assert [stage["name"], stage["runId"], str(stage["attempt"]), stage["key"]] == [
        env["PIPELINE_STAGE"], env["PIPELINE_RUN_ID"], env["PIPELINE_ATTEMPT"], env["PIPELINE_KEY"],
    ]  # fmt: skip
    assert stage["inputs"] == json.loads(env["PIPELINE_INPUTS"])
    assert stage["outputs"] == json.loads(env["PIPELINE_OUTPUTS"]) == {"out": env["PIPELINE_OUTPUT_OUT"]}


@pytest.mark.full_after(1)
@pytest.mark.parametrize("closed", ["0<&- 1>&- 2>&-", "0<&-", "1>&-", "2>&-"])
def test_a_runner_with_closed_stdio_runs_stages_as_ever(bench, closed):
    bench.write("in.txt", "text\n")
    bench.define({"name": "cat", "command": ["cat"], "stdin": "in", "stdout": "out",
                  "inputs": {"in": "in.txt"}, "outputs": {"out": "out.txt"}})  # fmt: skip
    bench.succeed(command=("sh", "-c", f'exec "$@" {closed}', "sh"))
    assert bench.read("out.txt") == b"text\n"


def test_declared_stdin_and_stdout_are_the_files_and_stderr_the_log(bench):
    bench.write("in.txt", "b\na\n")
    bench.define({"name": "s", "command": ["sh", "-c", "sort; echo told >&2"], "stdin": "in", "stdout": "out",
                  "inputs": {"in": "in.txt"}, "outputs": {"out": "out.txt"}})  # fmt: skip
    bench.succeed()
    assert bench.read("out.txt") == b"a\nb\n"
    assert bench.succeed("log", "s").stdout.rstrip().endswith("told")


@pytest.mark.full
def test_a_time_limit_is_term_and_after_the_grace_kill(bench):
    polite = "trap 'echo heard > heard; exit 0' TERM; while :; do sleep 60 & wait $!; done"
    bench.define(shell("polite", polite, timeoutSeconds=1), shell("deaf", "trap '' TERM; sleep 60", timeoutSeconds=1))
    began = time.monotonic()
    done = bench.run("-k", "-j", "2")
    assert done.returncode == 1
    assert "time limit of 1 s" in done.stderr
    assert bench.exists("heard")
    (polite,), (deaf,) = bench.attempts("polite"), bench.attempts("deaf")
    assert polite["timedOut"] and deaf["timedOut"] and deaf["signal"] == "SIGKILL"
    assert polite["seconds"] < 3 and 5.9 < deaf["seconds"] < 7.5 and time.monotonic() - began < 9


def test_what_a_stage_left_behind_is_ended_before_its_outputs_are_hashed(bench):
    """One writer stays in the stage's session, one leaves it. Neither may change the published output."""
    writer = 'echo $$ >> pids; while :; do echo more >> "$PIPELINE_OUTPUT_OUT"; done'
    bench.write("writer.sh", f"#!/bin/sh\n{writer}\n", 0o755)
    script = "./writer.sh & setsid ./writer.sh & until test $(cat pids | wc -l) = 2; do sleep 0.01; done"
    bench.define(shell("a", script))
    warnings = bench.succeed().stderr
    size = (bench.root / "out/a.txt").stat().st_size
    assert not bench.program_processes()
    assert bench.records("stage.commit")[0]["data"]["outputs"]["out"]["size"] == size
    left = bench.attempts("a")[0]["leftBehind"]
    assert left >= 2
    assert f"warning: a: {left} processes still ran when it ended, and had to be killed\n" in warnings
    assert bench.skips_everything()


def test_a_program_only_on_the_callers_path_is_an_error_with_the_line_to_add(bench):
    bench.write("bin/only-here", "#!/bin/sh\n", 0o755)
    bench.define({"name": "a", "command": ["only-here"], "outputs": {"out": "x"}})
    done = bench.run(env={"PATH": f"{bench.root}/bin:{os.environ['PATH']}"})
    assert done.returncode == 2
    assert f'"env": {{"PATH": "{bench.root}/bin:' in done.stderr


def test_home_is_the_scratch_directory_when_there_is_none(bench):
    bench.define(shell("a", 'test "$HOME" = "$TMPDIR" && touch $PIPELINE_OUTPUT_OUT'))
    bench.succeed(command=("env", "-u", "HOME"))


def test_scratch_of_a_killed_run_is_removed_by_the_next(bench):
    bench.define(shell("a", "touch $TMPDIR/left ready; test -e go || sleep 60; touch $PIPELINE_OUTPUT_OUT"))
    process = bench.start()
    wait_for((bench.root / "ready").exists)
    process.kill()
    assert any(Path(bench.root / "state/tmp").rglob("left"))
    bench.write("go", "")
    bench.succeed()
    assert bench.leftovers() == []
