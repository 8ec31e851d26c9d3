"""What the checks of a spec run is one run on record, going on from check to check; workers make one of each stage."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from spec_project import SpecProject

from runner.api import Options
from runner.api.verifying import verify
from runner.errors import EXIT_PENDING

LEDGER = """
    import pytest
    from runner.record.audit import read_records

    @pytest.mark.offpipe_spec("it.json")
    def test_ledger(offpipe_run):
        ledger = read_records(f"{offpipe_run.state_dir}/audit_ledger.jsonl")
        assert [record["ev"] for record in ledger] == {expected}
        commits = [record["data"]["stage"] for record in offpipe_run.audit if record["ev"] == "stage.commit"]
        assert commits == ["copy", "sort"]
"""
SAME = """
    import os
    from pytest_offpipe import launchers

    launchers.circumstances = os.getpid  # on this machine others may mount what they like meanwhile
"""
FORKED = """
import os
from types import SimpleNamespace
from pytest_offpipe.checks.case import is_alone

assert is_alone(SimpleNamespace())
child = os.fork()
if not child:
    os._exit(is_alone(SimpleNamespace()))
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "run"
    made.write("conftest.py", SAME)
    return made


@pytest.mark.parametrize(
    ("workers", "expected"),
    [((), ["opened", "closed", "noop"]), (("-n", 1), ["opened", "closed"] * 2 + ["noop"])],
    ids=["alone", "a worker"],
)
def test_all_checks_are_one_run_where_there_are_no_workers(project, workers, expected):
    project.spec()
    project.write("test_it.py", LEDGER.replace("{expected}", str(expected)))
    project.pytest("it.json", "test_it.py", *workers).assert_outcomes(passed=3)


def test_each_check_takes_its_time_and_has_its_stage_made_durable(project):
    """A commit is on record when its check has passed, though the run is not at its end."""
    project.spec()
    project.write(
        "conftest.py",
        f"""{SAME}
    import json, pathlib, pytest

    def pytest_runtest_logreport(report):
        if report.when == "call":
            base = pathlib.Path("base/offpipe").glob("*/run/files/state/audit_2*.jsonl")
            events = [json.loads(line)["ev"] for log in base for line in log.read_text().splitlines()]
            print("SEEN", report.nodeid, events.count("stage.commit"), "run.end" in events)
    """,
    )
    result = project.pytest("it.json", "-s", "--basetemp", "base")
    result.stdout.fnmatch_lines(["*SEEN it.json::copy[[]run] 1 False*", "*SEEN it.json::sort[[]run] 2 False*"])


def test_what_a_failed_session_keeps_can_be_gone_on_with(project):
    project.spec(project.shell("cp $i $o", name="a"), project.shell("exit 3", name="b"))
    project.pytest("it.json", "--basetemp", "base").assert_outcomes(passed=1, failed=1)
    [kept] = project.path.glob("base/offpipe/*/run/files")
    records = map(json.loads, (kept / "state/audit_ledger.jsonl").read_text().splitlines())
    assert [record["ev"] for record in records] == ["opened"]
    assert verify(str(kept / "it.json"), Options()).exit_code == EXIT_PENDING


def test_a_process_that_is_forked_for_a_test_shares_with_others_as_a_worker_does():
    subprocess.run([sys.executable, "-c", FORKED], check=True)
