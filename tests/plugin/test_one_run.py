"""Each stage is run once for all checks of a spec, as a run on record, with and without workers."""

from __future__ import annotations

import json

import pytest
from spec_project import RERUNS, SpecProject

from runner.audit.verify import verify
from runner.engine import Options
from runner.errors import EXIT_PENDING

LEDGER = """
    import pytest
    from runner.record.log import read_records

    @pytest.mark.offpipe_spec("it.json")
    def test_ledger(offpipe_run):
        ledger = read_records(f"{offpipe_run.state_dir}/audit_ledger.jsonl")
        assert [record["ev"] for record in ledger] == {expected}
        commits = [record["data"]["stage"] for record in offpipe_run.audit if record["ev"] == "stage.commit"]
        assert commits == ["copy", "sort"]
"""


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = "run"
    return made


@pytest.mark.parametrize("workers", [(), ("-n", 1)], ids=["alone", "a worker"])
def test_each_stage_is_one_run_with_and_without_workers(project, workers):
    project.spec()
    project.write("test_it.py", LEDGER.replace("{expected}", str(["opened", "closed"] * 2 + ["noop"])))
    project.pytest("it.json", "test_it.py", *workers).assert_outcomes(passed=3)


def test_each_check_runs_its_own_stage_and_has_it_on_record(project):
    project.spec()
    project.write(
        "conftest.py",
        """
    import json, pathlib, pytest

    def pytest_runtest_logreport(report):
        if report.when == "call":
            base = pathlib.Path("base/offpipe").glob("*/run/files/state/audit_2*.jsonl")
            events = [json.loads(line)["ev"] for log in base for line in log.read_text().splitlines()]
            print("SEEN", report.nodeid, events.count("stage.commit"), events.count("run.end"))
    """,
    )
    result = project.pytest("it.json", "-s", "--basetemp", "base")
    result.stdout.fnmatch_lines(["*SEEN it.json::copy[[]run] 1 1*", "*SEEN it.json::sort[[]run] 2 2*"])


def test_state_that_a_failed_session_keeps_can_be_continued(project):
    project.spec(project.shell("cp $i $o", name="a"), project.shell("exit 3", name="b"))
    project.pytest("it.json", "--basetemp", "base").assert_outcomes(passed=1, failed=1)
    [kept] = project.path.glob("base/offpipe/*/run/files")
    records = map(json.loads, (kept / "state/audit_ledger.jsonl").read_text().splitlines())
    assert [record["ev"] for record in records] == ["opened", "closed", "opened", "ended"]
    assert verify(str(kept / "it.json"), Options()).exit_code == EXIT_PENDING


@pytest.mark.parametrize(
    ("script", "checks"),
    [
        ("test -e $flag || { touch $flag; exit 3; }; cp $i $o", "run"),
        ("test -e $flag || { touch $flag; echo x >junk; }; cp $i $o", "outputs"),
    ],
)
def test_a_check_that_is_rerun_really_runs_its_stage_again(project, script, checks):
    flag, witness = project.path / "flag", project.path / "witness"
    first = project.shell(f"flag={flag}; echo ran >>{witness}; {script}", name="first")
    project.spec(first, project.shell("cp $i $o", name="next", inputs={"text": "out/first.txt"}))
    project.write("conftest.py", RERUNS)
    project.checks = checks
    project.pytest("it.json").assert_outcomes(passed=2)
    assert witness.read_text() == "ran\nran\n"


def test_a_test_that_is_rerun_runs_stages_that_failed_again(project):
    flag, witness = project.path / "flag", project.path / "witness"
    script = f"echo ran >>{witness}; test -e {flag} || {{ touch {flag}; exit 3; }}; cp $i $o"
    project.spec(project.shell("cp $i $o; echo ran >>$HOME/none", name="first"), project.shell(script, name="flaky"))
    project.write("conftest.py", RERUNS)
    project.write("test_it.py", """
        import pytest

        @pytest.mark.offpipe_spec("it.json")
        def test_it(offpipe_run):
            assert offpipe_run.exit_code == 0
    """)  # fmt: skip
    project.pytest("test_it.py").assert_outcomes(passed=1)
    assert witness.read_text() == "ran\nran\n"
