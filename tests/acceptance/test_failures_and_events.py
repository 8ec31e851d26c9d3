"""Unattended runs: a program starts after every failure, its text can be mailed, and events are read as they happen."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import jsonschema
import pytest
from pipeline_bench import ROOT, STAMP, is_running, kill, shell, wait_for

from runner.canonical import KEY_VARIABLE
from runner.record.seal import SIGNING_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline_bench import PipelineBench

COPY = shell("copy", "cp in.txt $PIPELINE_OUTPUT_OUT", inputs={"text": "in.txt"})
FAILS = shell("fails", "echo no such column >&2; exit 3")
NOTIFIER = "#!/bin/sh\ncat > told\n"
SCHEMA = json.loads((ROOT / "docs/summary-v1.schema.json").read_text())


def prepared(bench: PipelineBench, *stages: dict[str, object], program: str = NOTIFIER) -> PipelineBench:
    """Lay out a pipeline, by default of two stages that succeed, and the operator's program `tell`."""
    bench.write("in.txt", "x\n")
    bench.write("tell", program, 0o755)
    bench.define(*(stages or (COPY, shell("other", "echo > $PIPELINE_OUTPUT_OUT"))))
    return bench


def run(bench: PipelineBench, *words: str, **more: object):
    """Run in the directory of the pipeline, which is also where `./tell` is."""
    more = {"cwd": bench.root, "env": {"PYTHONPATH": str(ROOT), **more.pop("env", {})}, **more}
    return bench.run(*words, **more)


def received(bench: PipelineBench) -> str:
    return bench.read("told").decode()


# ---- --on-failure ----------------------------------------------------------------------------------------------------


class Failure(NamedTuple):
    """The words of a command that fails, its exit code, and what to prepare."""

    words: str
    code: int
    prepare: Callable[[PipelineBench], object] = lambda bench: None


def damage(bench: PipelineBench) -> None:
    run(bench)
    ledger = bench.root / "state/audit_ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"ev":"opened"', '"ev":"openeD"'))


def leave_open(bench: PipelineBench) -> None:
    bench.define(FAILS)
    run(bench)


def banned(bench: PipelineBench) -> None:
    bench.write("net.py", "import socket\n")
    bench.define({**COPY, "command": ["{python}", "net.py"]})


def hold(bench: PipelineBench) -> None:
    """Start another run, which holds the lock."""
    os.mkfifo(bench.root / "started")
    bench.define(shell("copy", "echo > started; exec sleep 1000"))
    bench.start()
    bench.read("started")


FAILURES = {
    "a failed stage": Failure("run -k", 1, lambda bench: bench.define(COPY, FAILS)),
    "a stage that may be retried": Failure("run", 75, lambda bench: bench.define(shell("later", "exit 75"))),
    "a missing input": Failure("run", 5, lambda bench: (bench.root / "in.txt").unlink()),
    "an invalid spec": Failure("run", 2, lambda bench: bench.spec.write_text("{}")),
    "a banned import": Failure("run", 4, banned),
    "another run": Failure("run", 9, hold),
    "an unknown option": Failure("run --jbos=3", 2),
    "damage": Failure("verify", 6, damage),
    "outputs that were changed": Failure(
        "verify --outputs", 6, lambda bench: (run(bench), bench.write("out/copy.txt", "edited\n")),
    ),
    "a run that did not end": Failure("verify", 3, leave_open),
    "a missing program": Failure("run", 2, lambda bench: bench.define({**COPY, "command": ["nowhere"]})),
    "no spec": Failure("run", 2, lambda bench: bench.spec.unlink()),
    "a state directory that cannot be made": Failure("run", 2, lambda bench: bench.write("state", "")),
    "a run that is not there": Failure("verify --run nope", 2),
    "an unknown option of verify": Failure("verify --nonsense", 2),
    "an option without its value": Failure("run -j", 2),
    "a value that stands apart": Failure("run --wait 3", 2),
}  # fmt: skip


@pytest.mark.full_after(4)
@pytest.mark.parametrize("name", FAILURES)
def test_after_every_failure_the_program_reads_what_json_prints(bench, name) -> None:
    words, code, prepare = FAILURES[name]
    prepare(prepared(bench))
    done = run(bench, *words.split(), "--json", "--on-failure", "./tell")
    assert done.returncode == code, done.stderr
    assert received(bench) == done.stdout != ""
    summary = json.loads(received(bench))
    assert summary["exitCode"] == code
    jsonschema.validate(summary, SCHEMA)
    assert every_field_is_described(summary)


def state_in_the_way(bench: PipelineBench) -> None:
    bench.write("state/logs", "no directory")


NAMED = {
    "a banned import": Failure("run", 4, banned),
    "a missing input": Failure("run", 5, lambda bench: (bench.root / "in.txt").unlink()),
    "another run": Failure("run", 9, hold),
    "a stage that is not there": Failure("run nope", 2),
    "a directory that cannot be made": Failure("run", 74, state_in_the_way),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_refused_run_and_one_that_an_error_ends_are_named(bench, name) -> None:
    """The names are those in the list of runs."""
    words, code, prepare = NAMED[name]
    prepare(prepared(bench))
    done = run(bench, *words.split(), "--on-failure", "./tell")
    assert done.returncode == code, done.stderr
    summary, (listed, *_) = json.loads(received(bench)), bench.json("runs", "--failed")["runs"]  # type: ignore[misc]
    assert (summary["pipeline"], summary["run"]) == ("bench", listed["run"])
    jsonschema.validate(summary, SCHEMA)
    assert every_field_is_described(summary)


ENDS = {
    "1 / 0": (70, "internal error: ZeroDivisionError: division by zero"),
    "raise MemoryError": (74, "out of memory"),
    'raise RuntimeError("can\'t start new thread")': (
        74,
        "cannot start a thread: EAGAIN (Resource temporarily unavailable)",
    ),
}


@pytest.mark.parametrize("raises", ENDS)
def test_a_run_that_any_error_ends_is_named_and_listed_with_its_exit_code(bench, raises) -> None:
    code, fault = ENDS[raises]
    prepared(bench)
    hook = f"    @it.hookimpl\n    def offpipe_run_started(self): {raises}\n"
    plugin = f"import runner.hookspecs as it\nclass Bad:\n{hook}bad = Bad()\n"
    bench.write("site/bad_plugin.py", plugin)
    bench.write("site/bad-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: bad\nVersion: 1\n")
    bench.write("site/bad-1.dist-info/entry_points.txt", "[offpipe]\nbad = bad_plugin:bad\n")
    done = run(bench, "--on-failure", "./tell", env={"PYTHONPATH": f"{ROOT}:{bench.root}/site"})
    assert done.returncode == code, done.stderr
    summary, (listed, *_) = json.loads(received(bench)), bench.json("runs")["runs"]  # type: ignore[misc]
    assert (summary["pipeline"], summary["run"]) == ("bench", listed["run"])
    assert (listed["exitCode"], listed["fault"]) == (code, fault)


def test_a_run_whose_ledger_cannot_be_written_has_no_name(bench) -> None:
    prepared(bench)
    bench.write("state/audit_ledger.jsonl/file", "")
    done = run(bench, "--on-failure", "./tell")
    assert done.returncode == 74, done.stderr
    summary = json.loads(received(bench))
    assert summary["pipeline"] == "bench" and "run" not in summary


def test_a_run_with_nothing_to_do_that_fails_is_named_after_its_pipeline(bench) -> None:
    prepared(bench)
    noted = bench.root / ".offpipe/noop-spec.json"
    wait_for(lambda: run(bench, "-q", command=("env",)).returncode == 0 and noted.exists())
    done = run(bench, "--on-failure", "./tell", command=("prlimit", "--fsize=600"))  # bytes: less than the ledger has
    assert done.returncode == 74, done.stderr
    assert json.loads(received(bench))["pipeline"] == "bench"


def every_field_is_described(summary: object) -> bool:
    closed = json.loads(json.dumps(SCHEMA), object_hook=lambda node: _closed(node) if "properties" in node else node)
    return jsonschema.Draft202012Validator(closed).is_valid(summary)


def _closed(schema: dict[str, object]) -> dict[str, object]:
    return {**schema, "additionalProperties": False}


def test_the_schema_is_one_of_draft_2020_12_and_refuses_what_lacks_a_field(bench) -> None:
    validator = jsonschema.Draft202012Validator
    validator.check_schema(SCHEMA)
    prepared(bench, COPY, FAILS)
    for words in (("-k",), ("verify",), ("run", "--nonsense")):
        summary = json.loads(run(bench, *words, "--json").stdout)
        assert validator(SCHEMA).is_valid(summary)
        for field in summary:
            assert not validator(SCHEMA).is_valid({name: value for name, value in summary.items() if name != field})


def test_the_variable_names_the_program_and_is_not_passed_on(bench) -> None:
    prepared(bench, FAILS, program="#!/bin/sh\ncat > told; env > variables\n")
    done = run(bench, "-q", env={"OFFPIPE_ON_FAILURE": "./tell", "MINE": "1"})
    assert done.returncode == 1 and json.loads(received(bench))["status"] == "failed" and done.stdout == ""
    variables = bench.read("variables").decode().splitlines()
    assert "MINE=1" in variables and not any(line.startswith("OFFPIPE_ON_FAILURE") for line in variables)


def test_the_option_counts_before_the_variable(bench) -> None:
    prepared(bench, FAILS)
    assert run(bench, "--on-failure=./tell", env={"OFFPIPE_ON_FAILURE": "./nowhere"}).returncode == 1
    assert bench.exists("told")


def test_no_program_starts_after_success_or_for_another_verb(bench) -> None:
    prepared(bench)
    named = {"OFFPIPE_ON_FAILURE": "./tell"}
    for words in (["run"], ["run"], ["run", "-v"], ["verify"], ["verify", "--outputs"], ["run", "--help"]):
        assert run(bench, *words, "--on-failure", "./tell").returncode == 0
        assert run(bench, *words, env=named).returncode == 0
    (bench.root / "in.txt").unlink()
    for words in (["plan"], ["run", "-n"], ["validate"]):
        assert run(bench, *words, env=named).returncode == 5
    assert not bench.exists("told")


@pytest.mark.full
def test_a_run_with_nothing_to_do_loads_nothing_for_failures(bench) -> None:
    """It loads neither the verbs nor the code that would start the program."""
    prepared(bench)
    noted = bench.root / ".offpipe/noop-spec.json"  # by a real start: a forked run differs from the one below
    wait_for(lambda: run(bench, "-q", command=("env",)).returncode == 0 and noted.exists())
    program = "import sys; from runner.__main__ import main; main(); print(*sys.modules)"
    for words, variable in ((["--on-failure", "./tell"], ""), ([], "./tell")):
        done = subprocess.run(
            [sys.executable, "-c", program, "spec.json", "-q", *words], cwd=bench.root, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OFFPIPE_ON_FAILURE": variable}, check=False,
        )  # fmt: skip
        loaded = done.stdout.split()
        assert "runner.noop" in loaded and not {"runner.cli.main", "runner.sandbox", "json"} & set(loaded)


def test_an_empty_name_is_refused_and_an_empty_variable_is_none(bench) -> None:
    prepared(bench, FAILS)
    done = run(bench, "--on-failure=")
    assert done.returncode == 2 and "--on-failure" in done.stderr and "shell variable" in done.stderr
    done = run(bench, env={"OFFPIPE_ON_FAILURE": ""})
    assert done.returncode == 1 and "--on-failure" not in done.stderr


def test_the_lock_is_free_and_the_record_closed_when_the_program_starts(bench) -> None:
    again = f"#!/bin/sh\ntouch mended\n'{sys.executable}' -m runner spec.json --json > again\n"
    prepared(bench, shell("a", "test -e mended && touch $PIPELINE_OUTPUT_OUT"), program=again)
    done = run(bench, "--json", "--on-failure", "./tell")
    first, second = json.loads(done.stdout), json.loads(bench.read("again"))
    assert (done.returncode, first["exitCode"], second["status"]) == (1, 1, "succeeded"), done.stderr
    assert second["run"] == first["run"] and [record["ev"] for record in bench.records()][-1] == "run.end"


def test_the_program_runs_outside_the_sandbox_and_a_stage_cannot_name_it(bench) -> None:
    tries = "import os, socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM); open('reached', 'w').close()"
    sees = shell(
        "a", 'echo "$OFFPIPE_ON_FAILURE" > seen; OFFPIPE_ON_FAILURE=./stage; export OFFPIPE_ON_FAILURE; exit 3'
    )
    prepared(bench, sees, program=f"#!/bin/sh\nexec '{sys.executable}' -c \"{tries}\"\n")
    bench.write("stage", "#!/bin/sh\ntouch from-stage\n", 0o755)
    done = run(bench, env={"OFFPIPE_ON_FAILURE": "./tell"})
    assert done.returncode == 1 and bench.exists("reached"), done.stderr
    assert bench.read("seen") == b"\n" and not bench.exists("from-stage")


@pytest.mark.parametrize("field", ["onFailure", "on_failure"])
def test_a_spec_cannot_name_a_program_for_failures(bench, field) -> None:
    prepared(bench)
    bench.define(COPY, **{field: "./tell"})
    assert run(bench).returncode == 2
    bench.define({**COPY, field: "./tell"})
    assert run(bench).returncode == 2
    assert not bench.exists("told")


@pytest.mark.full_after(1)
@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("#!/bin/sh\necho out; echo err >&2; exit 5\n", "warning: --on-failure ./tell: exit 5"),
        ("#!/bin/sh\nkill -KILL $$\n", "warning: --on-failure ./tell: SIGKILL"),
        ("no program", "warning: --on-failure ./tell: cannot start it: ENOEXEC (Exec format error)"),
    ],
)
def test_a_program_that_fails_is_reported_and_changes_no_exit_code(bench, program, says) -> None:
    prepared(bench, FAILS, program=program)
    for quiet in ([], ["-q"]):
        done = run(bench, *quiet, "--json", "--on-failure", "./tell")
        assert done.returncode == 1 and says in done.stderr.splitlines(), done.stderr
        assert json.loads(done.stdout)["exitCode"] == 1, "what the program prints is no part of the result"
    assert ("out" in done.stderr.splitlines()) == ("echo out" in program)


def test_a_program_that_is_not_there_is_reported_with_a_hint(bench) -> None:
    prepared(bench, FAILS)
    done = run(bench, "--on-failure", "mail ops")
    assert done.returncode == 1
    assert "--on-failure mail ops: cannot start it: ENOENT" in done.stderr and "without arguments" in done.stderr


def test_a_run_that_a_signal_ends_reports_it_and_keeps_its_exit_code(bench) -> None:
    ends = "#!/bin/sh\ncat > told\nkill -TERM $$\ntouch survived\n"
    prepared(bench, shell("a", "echo > started; exec sleep 1000"), program=ends)
    os.mkfifo(bench.root / "started")
    process = bench.start("--on-failure", "./tell", cwd=bench.root, env={"PYTHONPATH": str(ROOT)})
    bench.read("started")
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    summary = json.loads(received(bench))
    assert (summary["status"], summary["exitCode"]) == ("interrupted", 143)
    assert not bench.exists("survived"), "in the program, TERM must have its default"


@pytest.mark.full_after(1)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_with_all_it_started_and_keeps_the_exit_code(bench, number) -> None:
    waits = "#!/bin/sh\nsleep 1000 &\necho $! > started\nwait\n"
    prepared(bench, FAILS, program=waits)
    os.mkfifo(bench.root / "started")
    process = bench.start("--on-failure", "./tell", cwd=bench.root, env={"PYTHONPATH": str(ROOT)})
    below = int(bench.read("started"))
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert f"warning: --on-failure ./tell: killed after {number.name}" in stderr
    try:
        wait_for(lambda: not is_running(below))
    finally:
        kill(below)


def test_the_program_starts_if_a_run_with_nothing_to_do_fails(bench) -> None:
    prepared(bench)
    refuses = "def refuse(_): raise StateError(Fault('state', 'full'))"
    program = f"import sys, runner.__main__ as own; from runner.errors import *\n{refuses}\nown.quick_answer = refuse\n"
    command = [sys.executable, "-c", f"{program}sys.exit(own.main())", "spec.json", "--on-failure", "./tell"]
    done = subprocess.run(
        command,
        cwd=bench.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 74 and "error: state: full\n" in done.stderr
    assert json.loads(received(bench))["errors"] == [{"where": "state", "what": "full", "hint": ""}]


# ---- the text ----

CONTINUES = ("error: ", "hint: ", "log: ", "more: ", "next: ", "    ")


def test_every_message_of_a_run_begins_with_the_time_unless_it_goes_to_a_terminal(bench) -> None:
    missing = shell("later", "true", needs=["fails"])
    prepared(bench, COPY, FAILS, missing)
    bench.write("out/copy.txt", "what no stage made gives a warning\n")
    began = now()
    done = run(bench, "-k", "-v")
    ended = now()
    lines = [line for line in done.stderr.splitlines() if not line.startswith(CONTINUES)]
    times = [line[: len(began)] for line in lines]
    assert all(map(STAMP.match, lines)) and times == sorted(times) and began <= times[0] <= times[-1] <= ended, lines
    assert any(" warning: " in line for line in lines) and any(" copy: succeeded in " in line for line in lines)
    (bench.root / "in.txt").unlink()
    first, second, *_ = run(bench).stderr.splitlines()
    assert STAMP.sub("", first) == f"{bench.spec}: exit 5 on {os.uname().nodename}" and second.startswith("error: ")


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def test_on_a_terminal_messages_have_no_time(bench) -> None:
    prepared(bench, COPY, FAILS)
    reads, terminal = os.openpty()
    try:
        for prepare in (lambda: None, (bench.root / "in.txt").unlink):
            prepare()
            assert run(bench, "-f", stderr=terminal, env={"TERM": "dumb"}).returncode in {1, 5}
            shown = os.read(reads, 1 << 16).decode()
            assert "error: " in shown and not STAMP.search(shown.replace("\r\n", "\n")), shown
    finally:
        os.close(reads)
        os.close(terminal)


def test_the_text_of_a_quiet_run_that_failed_can_be_mailed(bench) -> None:
    prepared(bench, COPY, FAILS, shell("later", "true", needs=["fails"]))
    done = run(bench, "-q")
    assert (done.returncode, done.stdout) == (1, "")
    run_id = bench.records("run.start")[0]["run"]
    time_ = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.fullmatch(
        rf"{time_} fails: failed in [\d.]+ s\nerror: stage fails: failed with exit 3\n"
        rf"log: state/logs/{run_id}/fails\.1\.log\n    no such column\nmore: offpipe log {bench.spec} fails\n"
        rf"{time_} bench: 1 succeeded, 1 failed, 1 blocked in [\d.]+ s \(run {run_id}\): "
        rf"exit 1 on {os.uname().nodename}\n"
        rf"next: cd {bench.root} && offpipe run {bench.spec} -q\n",
        done.stderr,
    )


@pytest.mark.full_after(3)
@pytest.mark.parametrize("name", [name for name, failure in FAILURES.items() if failure.words in {"run", "run -k"}])
def test_a_quiet_failure_names_pipeline_exit_code_host_time_and_what_to_type(bench, name) -> None:
    words, code, prepare = FAILURES[name]
    prepare(prepared(bench))
    done = run(bench, *words.split(), "-q")
    lines = done.stderr.splitlines()
    (line,) = [line for line in lines if line.endswith(f": exit {code} on {os.uname().nodename}")]
    assert STAMP.match(line) and ("bench" in line or str(bench.spec) in line)
    assert lines[-1].startswith(f"next: cd {bench.root} && offpipe run {bench.spec}") and "error: " in done.stderr


def test_a_run_that_the_disk_ended_names_itself_in_the_quiet_text(bench) -> None:
    prepared(bench, shell("a", "rm state/audit_*Z-*.jsonl; touch $PIPELINE_OUTPUT_OUT"))
    done = run(bench, "-q", "--run-id", "20261124T024000Z-beef")
    assert done.returncode == 74
    assert f" bench (run 20261124T024000Z-beef): exit 74 on {os.uname().nodename}\nerror: " in done.stderr


def test_the_command_in_the_quiet_text_goes_on_from_any_directory(bench) -> None:
    prepared(bench, shell("a", "test -e 'mended now' && touch $PIPELINE_OUTPUT_OUT"))
    bench.write("bin/offpipe", f"#!/bin/sh\nexec '{sys.executable}' -m runner \"$@\"\n", 0o755)
    command = run(bench, "-q", "--run-id", "night").stderr.splitlines()[-1].removeprefix("next: ")
    bench.write("mended now", "")
    env = {**os.environ, "PATH": f"{bench.root}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], cwd="/", env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {record["run"] for record in bench.records()} == {"night"}


# ---- --events ----


def events(bench: PipelineBench) -> list[dict[str, object]]:
    return [json.loads(line) for line in bench.read("events").splitlines()]


def place(record: dict[str, object]) -> tuple[object, object]:
    return record["run"], record["seq"]


def test_events_are_the_records_of_the_log_of_every_run(bench) -> None:
    prepared(bench, COPY, FAILS)
    for words, code in ((["-k"], 1), (["copy"], 0), (["copy", "-q"], 0)):
        assert run(bench, *words, "--events", "events").returncode == code
    assert sorted(events(bench), key=place) == sorted(bench.records(), key=place)
    assert [record["ev"] for record in events(bench)][-2:] == ["run.start", "run.end"], "a run with nothing to do"
    run(bench, "-f")
    assert len(events(bench)) < len(bench.records())


def test_events_can_be_read_as_they_happen(bench) -> None:
    prepared(bench, shell("a", "read line < go; echo > $PIPELINE_OUTPUT_OUT"))
    os.mkfifo(bench.root / "go")
    process = bench.start("--events", "events", cwd=bench.root, env={"PYTHONPATH": str(ROOT)})
    wait_for(lambda: bench.exists("events") and b'"ev":"attempt.started"' in bench.read("events"))
    assert events(bench)[-1]["data"]["stage"] == "a" and process.poll() is None
    bench.write("go", "\n")
    process.communicate(timeout=60)
    assert [record["ev"] for record in events(bench)][-2:] == ["stage.commit", "run.end"]


@pytest.mark.parametrize("path", [".", "nowhere/events", "pipe"])
def test_events_that_cannot_be_written_end_a_run_before_it_starts(bench, path) -> None:
    """A pipe without a reader cannot be written, either."""
    os.mkfifo(bench.root / "pipe")
    prepared(bench)
    done = run(bench, "--events", path)
    assert done.returncode == 74 and f"error: {path}: cannot open: " in done.stderr
    assert bench.has_only_refused() and not bench.exists("out")


def test_a_full_disk_for_events_stops_no_run(bench) -> None:
    prepared(bench)
    done = run(bench, "--events", "/dev/full")
    assert done.returncode == 0 and bench.read("out/copy.txt") == b"x\n"
    (warning,) = [line for line in done.stderr.splitlines() if " warning: " in line]
    assert "/dev/full: cannot append to: ENOSPC" in warning and warning.endswith("it gets no more events")
    assert [record["ev"] for record in bench.records()][-1] == "run.end"
    bench.succeed("verify")


@pytest.mark.parametrize("leaves", [False, True], ids=["slow", "gone"])
def test_a_reader_of_events_that_is_slow_or_gone_stops_no_run(bench, leaves) -> None:
    stages = [shell(f"s{number}", "echo > $PIPELINE_OUTPUT_OUT") for number in range(20)]
    prepared(bench, shell("first", "read line < go; echo > $PIPELINE_OUTPUT_OUT"), *stages)
    for name in ("pipe", "go"):
        os.mkfifo(bench.root / name)
    reads = os.open(bench.root / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not leaves:
            fcntl.fcntl(reads, fcntl.F_SETPIPE_SZ, 4096)
        process = bench.start("-j1", "--events", "pipe", cwd=bench.root, env={"PYTHONPATH": str(ROOT)})
        if leaves:
            wait_for(lambda: select.select([reads], [], [], 0)[0])
            os.close(reads)
            reads = os.open(os.devnull, os.O_RDONLY)
        bench.write("go", "\n")
        _, stderr = process.communicate(timeout=60)
    finally:
        os.close(reads)
    assert process.returncode == 0, stderr
    assert f"pipe: cannot append to: {'EPIPE' if leaves else 'EAGAIN'} (" in stderr
    assert len(bench.records("stage.commit")) == 21


@pytest.mark.full_after(3)
@pytest.mark.parametrize("path", ["in/b.csv", "linked", "out/a.txt", "spec.json", "in.txt", "state/audit_ledger.jsonl"])
def test_events_never_go_to_a_file_of_the_pipeline(bench, path) -> None:
    bench.write("in.txt", "")
    bench.write("in/a.csv", "")
    (bench.root / "linked").symlink_to("state/new.jsonl")
    prepared(bench, shell("a", "echo > $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt", "y": "in/*.csv"}))
    bench.succeed()
    before = {path: path.read_bytes() for path in bench.root.rglob("*") if path.is_file() and "locks" not in path.parts}
    done = run(bench, "--events", path)
    assert done.returncode == 2 and f"--events {path}: belongs to the pipeline" in done.stderr
    before.pop(bench.root / "state/audit_ledger.jsonl")  # it has one more line
    assert all(path.read_bytes() == content for path, content in before.items())
    assert not bench.exists("in/b.csv") and not bench.exists("state/new.jsonl")


def linked_pipeline(bench: PipelineBench) -> list[dict[str, object]]:
    """Lay out inputs of all kinds, with links to some; return a stage that reads them, and one with `each`."""
    for path in ("in.txt", "in/a.csv", "d/x/f", "elsewhere/y/f", "store/s.csv", "tree/f", "s/one", "names.csv"):
        bench.write(path, "n\n1\n")
    bench.write("code.py", "import lib\n")
    bench.write("lib.py", "")
    for link, target in {"d/y": "../elsewhere/y", "in/s.csv": "../store/s.csv", "far": "store", "hop": "."}.items():
        (bench.root / link).symlink_to(target)
    inputs = {"x": "in.txt", "y": "in/*.csv", "z": "d/*/", "t": "tree/", "v": "far/s.csv"}
    reads = {**shell("a", "echo > $PIPELINE_OUTPUT_OUT", inputs=inputs), "outputs": {"out": "out/a.txt"}}
    code = {"name": "b", "command": ["{python}", "code.py"], "outputs": {"out": "out/b/"}}
    each = {"name": "e", "each": {"i": "s/*"}, "command": ["true"], "outputs": {"o": "e/{each.i}"}}
    rows = {"name": "r", "each": {"rows": "names.csv"}, "command": ["true"], "outputs": {"o": "r/{each.n}"}}
    return [reads, code, each, rows]


@pytest.mark.full_after(6)
@pytest.mark.parametrize(
    "path",
    [
        *("hop/in.txt", "d/x/new", "elsewhere/y/new", "store/s.csv", "hard.csv", ".offpipe/noop-spec.json", "s/new"),
        *("hard.txt", "tree.hard", "state.hard", "in/new.csv", "hop/out/a.txt", "out/b/new", "code.py", "lib.py"),
        *("names.csv", "link.csv"),
    ],
)
def test_events_never_go_to_a_file_of_the_pipeline_that_has_another_name(bench, path) -> None:
    """Neither to one that an input's pattern would match, nor to code."""
    bench.define(*linked_pipeline(bench))
    bench.write("state/old", "")
    hard = {"hard.csv": "in/a.csv", "hard.txt": "in.txt", "tree.hard": "tree/f", "state.hard": "state/old"}
    if path in hard:
        (bench.root / path).hardlink_to(bench.root / hard[path])
    (bench.root / "link.csv").symlink_to("in/new.csv")
    before = contents(bench)
    done = run(bench, "--events", path)
    assert done.returncode == 2 and f"--events {path}: belongs to the pipeline" in done.stderr
    assert contents(bench) == before


@pytest.mark.full_after(2)
@pytest.mark.parametrize("link", ["link/spec.json", "link.json"])
@pytest.mark.parametrize("path", ["spec.json", "in.txt", "out/a.txt", "in/new.csv"])
def test_events_never_go_to_a_file_of_a_pipeline_whose_spec_is_named_through_a_link(bench, path, link) -> None:
    bench.define(*linked_pipeline(bench))
    real = bench.root / path
    (bench.root / "link").symlink_to(".")
    (bench.root / "link.json").symlink_to("spec.json")
    before = contents(bench)
    bench.spec = bench.root / link
    done = run(bench, "--events", str(real))
    assert done.returncode == 2 and "belongs to the pipeline" in done.stderr
    assert contents(bench) == before


def contents(bench: PipelineBench) -> dict[Path, bytes]:
    """Return the content of each file but the ledger and the locks."""
    files = (path for path in bench.root.rglob("*") if path.is_file() and not path.is_symlink())
    return {path: path.read_bytes() for path in files if path.suffix not in {".lock", ".jsonl"}}


def test_events_can_go_to_a_file_beside_those_of_the_pipeline(bench) -> None:
    """Also to one with several names, or behind a link, and more than once."""
    bench.define(*linked_pipeline(bench)[:1])
    (bench.root / "link").symlink_to("in/.hidden")
    bench.write("one", "")
    (bench.root / "two").hardlink_to(bench.root / "one")
    for path in ("in/events", "in/.events.csv", "d/events", "store/events.csv", "two", "link", "events", "events"):
        done = run(bench, "--events", path)
        assert done.returncode == 0 and b'"ev":"run.end"' in bench.read(path), done.stderr


@pytest.mark.parametrize("name", ["audit.key", "sign.key", "vars.json", "tell"])
def test_events_never_go_to_a_file_that_the_run_reads(bench, name) -> None:
    bench.define(shell("a", "date +%N >$PIPELINE_OUTPUT_OUT"), vars={"x": "1"})
    for each in ("audit.key", "sign.key", "vars.json", "tell"):
        bench.write(f"outside/{each}", '{"x": "2"}', mode=0o600)
    os.link(bench.root / "outside" / name, bench.root / "other")
    variables = {"audit.key": KEY_VARIABLE, "sign.key": SIGNING_VARIABLE}
    options = {"vars.json": ["--vars", "outside/vars.json"], "tell": ["--on-failure", "outside/tell"]}
    for path in (f"outside/{name}", "other"):
        env = {variables[name]: f"outside/{name}"} if name in variables else {}
        done = run(bench, "--events", path, *options.get(name, ()), env=env)
        assert done.returncode == 2 and f"--events {path}: is a file that this run reads" in done.stderr, done.stderr
    assert bench.read(f"outside/{name}") == b'{"x": "2"}'


def test_a_dash_is_no_file_for_events(bench) -> None:
    prepared(bench)
    done = run(bench, "--events", "-")
    assert done.returncode == 2 and "hint: standard output is /dev/stdout" in done.stderr
    assert not bench.exists("-") and not bench.exists("state")
    assert '"ev":"run.end"' in run(bench, "-q", "--events", "/dev/stdout").stdout
