"""The checks of a pipeline as a whole: offline, skip, audit."""

from __future__ import annotations

import pytest
from spec_project import COPY, SORT, SpecProject
from suites import full_but

CALL = """
    import socket, os
    try:
        socket.socket().connect(("192.0.2.1", 80))
    except OSError:
        pass
    open(os.environ["PIPELINE_OUTPUT_TEXT"], "w").write("done")
"""


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "offline,skip,audit"
    return made


def python(project, source, **fields):
    project.write("call.py", source)
    return {"name": "call", "processor": "call.py", "outputs": {"text": "out/call.txt"}, **fields}


def test_good_pipeline_passes(project):
    project.spec()
    project.pytest("it.json").assert_outcomes(passed=3)


def test_key_of_the_users_records_is_left_alone(project, monkeypatch):
    key = project.write("../audit.key", "0" * 64, mode=0o600)
    monkeypatch.setenv("OFFPIPE_AUDIT_KEY_FILE", str(key))
    project.spec()
    project.pytest("it.json").assert_outcomes(passed=3)


def test_banned_import_is_found(project):
    project.spec(COPY, python(project, CALL))
    result = project.pytest("it.json")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines([
        "stage call imports a banned module: call.py:2: import socket, os",
        "  done:     scanned the Python code of all stages",
        "  expected: no code for reaching a network",
        "*hint: *",
        "it.json:1: CheckFailedError",
    ])  # fmt: skip


def test_code_that_cannot_be_parsed_is_found(project):
    project.spec(python(project, "import (\n"))
    result = project.pytest("it.json", "-k", "offline")
    result.stdout.fnmatch_lines(["*call.py*"])


@pytest.mark.parametrize("attempt", ["fail", "record"])
def test_call_home_that_is_swallowed_is_found(project, attempt):
    fields = {"offline": {"onAttempt": attempt}}
    project.spec(python(project, CALL, **fields), offline={"allowImports": ["socket"]})
    result = project.pytest("it.json", "-k", "offline")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "call: python*(AF_INET)",
        "  done:     run every stage in a copy that holds only what the spec declares",
        "  expected: no stage asks for a network",
    ])  # fmt: skip


def test_importing_urllib3_calls_nobody_home(project):
    pytest.importorskip("urllib3")
    writes = 'import os, urllib3; open(os.environ["PIPELINE_OUTPUT_TEXT"], "w").close()'
    project.spec(python(project, writes), offline={"allowImports": ["urllib3"]})
    project.pytest("it.json", "-k", "offline").assert_outcomes(passed=1)


def test_inputs_of_the_user_are_not_read_for_the_scan(project):
    project.write("small/in.txt", "small\n")
    with open(project.path / "in.txt", "wb") as file:
        file.truncate(1 << 40)
    project.spec()
    project.pytest("it.json", "--offpipe-inputs", "small").assert_outcomes(passed=3)


def test_failed_stage_is_reported_by_its_own_check_where_that_is_made(project):
    project.spec(COPY, {**SORT, "command": ["false"]})
    result = project.pytest("it.json")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["sort failed"])
    project.checks += ",run"
    project.pytest("it.json").assert_outcomes(failed=1, passed=1, skipped=3)


def test_stage_that_spoils_an_output_of_another_is_not_up_to_date(project):
    spoiler = project.shell("cp $i $o; echo x >>out/copy.txt", inputs={"text": "in.txt"}, needs=["copy"])
    project.spec(COPY, spoiler)
    result = project.pytest("it.json", "-k", "skip")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "copy ran again: output out/copy.txt: changed on disk, *",
        "  done:     ran it once more",
        "  expected: every stage is up to date",
    ])  # fmt: skip


def test_stage_that_writes_into_the_record_is_found(project):
    project.spec(project.shell("cp $i $o; echo x >>state/audit_ledger.jsonl"), COPY)
    result = project.pytest("it.json", "-k", "audit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  done:     *"])
    result.stdout.no_fnmatch_line("*: : *")


@pytest.mark.parametrize("seed", full_but(range(1, 9), [1, 2]))
def test_every_bit_that_the_seed_may_choose_is_noticed(project, seed):
    project.spec(COPY)
    project.pytest("it.json", "-k", "audit", "--offpipe-seed", seed).assert_outcomes(passed=1)
