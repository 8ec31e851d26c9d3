"""What every invocation promises, whatever the verb."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


def offpipe(*words, cwd=ROOT, **options):
    command = [sys.executable, "-m", "runner", *map(str, words)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, text=True, timeout=60, check=False, **options)


def python(program, *words):
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "in.txt").write_text("b\na\n")
    stages = [{"name": "sort", "command": ["sort", "-o", "{outputs.o}", "{inputs.i}"], "inputs": {"i": "in.txt"}}]
    stages[0]["outputs"] = {"o": "out.txt"}
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"specVersion": 1, "name": "p", "stages": stages}))
    return path


def test_version_and_help_load_nothing_that_runs_pipelines() -> None:
    program = (
        "import sys; from runner.cli.main import main; main(sys.argv[1:]);"
        "print(*sorted(sys.modules), sep='\\n', file=sys.stderr)"
    )
    for words in (["--version"], ["--help"], ["run", "--help"]):
        loaded = set(python(program, *words).stderr.split())
        assert not {"runner.engine", "runner.spec", "runner.plan", "rich", "pluggy", "filelock"} & loaded


def test_version_loads_no_option_parser() -> None:
    program = (
        "import sys; from runner.__main__ import main; before = set(sys.modules);"
        "code = main(); print(*sorted(set(sys.modules) - before), sep='\\n', file=sys.stderr); sys.exit(code)"
    )
    ours = {f"runner.{name}" for name in ("cli", "cli.help", "cli.main", "display", "display.streams", "errors")}
    shown = python(program, "--version")
    assert shown.returncode == 0 and shown.stdout
    assert set(shown.stderr.split()) - ours <= {"errno"}


def test_version_is_one_line() -> None:
    shown = offpipe("--version")
    assert re.fullmatch(r"offpipe \d+\.\d+\.\d+\n", shown.stdout) and shown.returncode == 0


# ---- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_does_its_work_with_closed_streams(closed, spec) -> None:
    command = f'"$0" -m runner "$1" {closed}'
    shown = subprocess.run(
        ["sh", "-c", command, sys.executable, spec], cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=False
    )
    assert shown.returncode == 0
    assert (spec.parent / "out.txt").read_text() == "a\nb\n"
    recorded = [
        path for path in spec.parent.rglob("*") if path.is_file() and path.suffix in {".jsonl", ".log", ".json"}
    ]
    assert [path for path in recorded if b": started" in path.read_bytes()] == []


def test_a_run_does_its_work_with_full_streams(spec) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        assert offpipe(spec, stdout=full, stderr=full).returncode == 0
    assert (spec.parent / "out.txt").read_text() == "a\nb\n"


@pytest.mark.full_after(3)
@pytest.mark.parametrize(
    "words", [["plan"], ["--help"], ["schema"], ["status"], ["graph"], ["validate"], ["--version"]]
)
def test_results_that_could_not_be_written_are_an_error(words, spec) -> None:
    with open("/dev/full", "w", encoding="ascii") as full:
        shown = offpipe(*words, *([spec] if words[0] in {"plan", "status", "graph", "validate"} else []), stdout=full)
    assert shown.returncode == 74
    assert "standard output: cannot write the results: ENOSPC (No space left on device)" in shown.stderr
    assert "Traceback" not in shown.stderr and "Exception" not in shown.stderr


def test_closed_stdout_of_a_read_verb_is_an_error_that_names_it(spec) -> None:
    command = '"$0" -m runner plan "$1" >&-'
    shown = subprocess.run(
        ["sh", "-c", command, sys.executable, spec], cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=False
    )
    assert shown.returncode == 74 and b"EBADF" in shown.stderr


@pytest.mark.parametrize("words", [["graph"], ["--help"], ["plan", "--json"]])
def test_a_pipe_closed_by_its_reader_ends_the_program_quietly(words, tmp_path) -> None:
    stages = [{"name": f"s{n}", "command": ["true"], "outputs": {"o": f"out/{n}"}} for n in range(1000)]
    spec = tmp_path / "p.json"
    spec.write_text(json.dumps({"specVersion": 1, "name": "p", "stages": stages}))
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        shown = offpipe(*words, *([] if words == ["--help"] else [spec]), stdout=write_end)
    finally:
        os.close(write_end)
    assert (shown.returncode, shown.stderr) == (0, "")


# ---- errors ----------------------------------------------------------------------------------------------------------


RAISING = (
    "import sys; from runner.cli.commands import Commands; from runner.cli.main import main\n"
    "def raising(*_): raise {error}\n"
    "Commands.validate = raising; sys.exit(main(sys.argv[1:]))"
)


def test_a_bug_asks_for_a_report_and_shows_its_traceback_only_with_verbose() -> None:
    program = RAISING.format(error="ValueError('odd')").replace("validate", "plan")
    shown = python(program, "plan", "x.json")
    assert shown.returncode == 70
    assert shown.stderr.startswith("error: internal error: ValueError: odd\nhint: this is a bug: please report it")
    assert "Traceback" not in shown.stderr
    assert "Traceback" in python(program, "plan", "x.json", "-v").stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ("KeyboardInterrupt", 130, "error: interrupted\n"),
        ("OSError(28, 'full', 'some/file')", 74, "error: some/file: cannot go on: ENOSPC (full)\n"),
        ("MemoryError", 74, "error: out of memory\n"),
        (
            'RuntimeError("can\'t start new thread")',
            74,
            "error: cannot start a thread: EAGAIN (Resource temporarily unavailable)\n",
        ),
        ("RecursionError('deep')", 70, "error: internal error: RecursionError: deep\n"),
    ],
)
def test_every_exception_becomes_a_message(error, code, message) -> None:
    shown = python(RAISING.format(error=error), "validate", "x.json")
    assert shown.returncode == code and shown.stderr.startswith(message) and "Traceback" not in shown.stderr


def test_errors_are_json_with_the_option_json(tmp_path) -> None:
    for words in (["run", tmp_path / "no.json", "--json"], ["run", "x", "--json", "--nonsense"]):
        shown = offpipe(*words)
        result = json.loads(shown.stdout)
        assert (shown.returncode, result["status"], result["exitCode"]) == (2, "error", 2)
        assert set(result["errors"][0]) == {"where", "what", "hint"} and "error: " in shown.stderr


def test_names_in_errors_cannot_play_with_the_terminal(tmp_path) -> None:
    shown = offpipe("run", tmp_path / "a\x1b[31mb.json")
    assert shown.returncode == 2 and "\x1b" not in shown.stderr and "a\\x1b[31mb.json" in shown.stderr
