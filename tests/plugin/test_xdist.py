"""Under xdist each stage runs once, whichever worker needs it first; the next worker takes over from one that dies.

Each pytest session here is a process. If it hangs, it is killed and its test fails.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter

import pytest
from spec_project import SpecProject
from suites import full_but

pytestmark = pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
SHARED = "run,outputs,offline,skip,audit"  # all checks that use the shared run
PATIENCE = 120


@pytest.fixture
def project(pytester):
    made = SpecProject(pytester)
    made.checks = SHARED
    return made


def diamond(project, *, before=""):
    """Make a spec of four stages that each append a line to a file outside all sandboxes; return that file."""
    witness = project.path / "witness"
    stages = []
    for name, needs in {"top": "in", "left": "top", "right": "top", "last": "left right"}.items():
        inputs = {source: "in.txt" if source == "in" else f"out/{source}.txt" for source in needs.split()}
        script = f"{before}\necho {name} >>{witness}\ncat $PIPELINE_INPUT_{needs.split()[0].upper()} >$o"
        stages.append(project.shell(script, name=name, inputs=inputs))
    project.spec(*stages)
    return witness


@pytest.mark.parametrize("mode", full_but(["load", "worksteal", "loadgroup"], ["load"]))
def test_each_stage_runs_once(project, mode):
    witness = diamond(project)
    result = project.pytest_process("it.json", "-n", "2", "--dist", mode, timeout=PATIENCE)
    result.assert_outcomes(passed=11)
    assert Counter(witness.read_text().split()) == dict.fromkeys(["top", "left", "right", "last"], 1)


@pytest.mark.skipif(importlib.util.find_spec("pytest_randomly") is None, reason="pytest-randomly is not installed")
@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_each_stage_runs_once_in_any_order(project, arguments):
    witness = diamond(project)
    result = project.pytester.runpytest_subprocess(
        "-p", "no:hypothesispytest", "-p", "randomly", "-p", "no:cacheprovider", "it.json", "--offpipe-checks", SHARED,
        *arguments, timeout=PATIENCE,
    )  # fmt: skip
    result.assert_outcomes(passed=11)
    result.stdout.fnmatch_lines(["Using --randomly-seed=*"])
    assert sorted(witness.read_text().split()) == ["last", "left", "right", "top"]


@pytest.mark.full
def test_workers_that_all_make_all_checks_do_not_disturb_each_other(project):
    witness = diamond(project)
    result = project.pytest_process("it.json", "-n", "2", "--dist", "each", timeout=PATIENCE)
    result.assert_outcomes(passed=22)
    assert sorted(witness.read_text().split()) == ["last", "left", "right", "top"]


@pytest.mark.full
def test_a_single_check_runs_what_it_needs_and_nothing_else(project):
    witness = diamond(project)
    project.pytest_process("it.json::left[outputs]", "-n", "2", timeout=PATIENCE).assert_outcomes(passed=1)
    assert witness.read_text().split() == ["top", "left"]


@pytest.mark.full
def test_failure_in_one_worker_is_reported_once_and_blocks_in_the_other(project):
    diamond(project, before='test "$PIPELINE_STAGE" != left || exit 3')
    result = project.pytest_process("it.json", "-n", "2", "-rs", timeout=PATIENCE)
    result.assert_outcomes(passed=4, failed=1, skipped=6)
    result.stdout.fnmatch_lines(["failed with exit 3"])
    assert any("left[run] fails" in line for line in result.outlines)


KILLED = """
    import os, signal, threading, time
    import pytest

    HERE = os.path.dirname(__file__)

    def wait_for(name):
        while not os.path.exists(os.path.join(HERE, name)):
            time.sleep(0.01)

    def end_in_mid_work():
        wait_for("began")
        open(os.path.join(HERE, "killed"), "w").close()
        os.kill(os.getpid(), signal.SIGKILL)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(item):
        if item.name == "work[run]" and not os.path.exists(os.path.join(HERE, "killed")):
            threading.Thread(target=end_in_mid_work, daemon=True).start()
        wait_for("killed") if item.name != "work[run]" else None
        return (yield)
"""


@pytest.mark.parametrize("mode", full_but(["load", "loadscope"], ["load"]))
def test_worker_killed_in_mid_run_leaves_it_to_the_next(project, mode):
    witness = project.path / "witness"
    # The first attempt would never end: it is killed, with the worker, once it has begun.
    stage = project.shell(f"""
        echo began >>{witness}
        echo undeclared >cache
        touch {project.path}/began
        test -e {project.path}/killed || sleep 1000
        cp $i $o
    """)
    project.spec(stage)
    project.pytester.makeconftest(KILLED)
    project.checks = "run,outputs,skip,audit"
    result = project.pytest_process("it.json", "-n", "2", "--dist", mode, "--basetemp", "base", timeout=PATIENCE)
    assert result.parseoutcomes()["failed"] == 2  # loadscope makes the check that was interrupted again
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running 'it.json::work[[]run]'"])
    assert witness.read_text().split() == ["began", "began"]
    logs = (project.path / "base" / "offpipe").glob("*/run/**/audit_2*.jsonl")
    events = [json.loads(line)["ev"] for log in logs for line in log.read_text().splitlines()]
    assert events.count("run.resumed") == 1
    result.stdout.fnmatch_lines(["*written: cache"])  # though it was there when the stage ran again


@pytest.mark.full
def test_checks_that_could_not_be_made_are_counted_over_all_workers(project):
    project.checks = "full"
    for name in ("one", "two"):  # an empty output fills no disk
        project.spec(project.shell(': > "$o"', name), to=f"{name}.json", name=name)
    result = project.pytest_process("one.json", "two.json", "-n", "2", timeout=PATIENCE)
    result.assert_outcomes(skipped=2)
    lines = [line for line in result.outlines if line.startswith("offpipe: 2 checks could not be made")]
    assert len(lines) == 1
    result = project.pytest_process("one.json", "two.json", "-n", "2", "--offpipe-strict", timeout=PATIENCE)
    result.assert_outcomes(failed=2)


@pytest.mark.full
@pytest.mark.parametrize("arguments", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_shared_sandbox_goes_with_a_session_without_failures_and_stays_with_others(project, arguments):
    diamond(project)
    base = project.path / "base"
    project.pytest_process("it.json", *arguments, "--basetemp", base, timeout=PATIENCE).assert_outcomes(passed=11)
    assert not (base / "offpipe").exists()
    diamond(project, before='test "$PIPELINE_STAGE" != last || exit 3')
    result = project.pytest_process("it.json", *arguments, "--basetemp", base, timeout=PATIENCE)
    result.assert_outcomes(passed=6, failed=1, skipped=4)
    lines = [line for line in result.outlines if line.startswith("  kept:")]  # where CI is set, the summary has it too
    (kept,) = {line.partition(":")[2].strip() for line in lines}
    assert (base / "offpipe" / kept / "files" / "it.json").is_file()


@pytest.mark.full
def test_the_seed_is_shown_once_and_the_same_in_all_workers(project):
    project.spec()
    project.pytester.makeconftest("""
        import pytest
        from pytest_offpipe.settings import SETTINGS

        @pytest.fixture(autouse=True)
        def seed(record_property, request):
            record_property("seed", request.config.stash[SETTINGS].seed)
    """)
    result = project.pytest_process("it.json", "-n", "2", "--junitxml", "junit.xml", timeout=PATIENCE)
    lines = [line for line in result.outlines if line.startswith("offpipe: seed ")]
    assert len(lines) == 1
    seed = lines[0].removeprefix("offpipe: seed ")
    text = (project.path / "junit.xml").read_text()
    assert text.count(f'name="seed" value="{seed}"') == 7
