"""A run whose state directory, log or ledger is removed ends there, and harms no run that began anew beside it."""

from __future__ import annotations

import shutil

import pytest
from pipeline_bench import PipelineBench, shell, wait_for
from suites import full_but

WRITES = """exec > $PIPELINE_OUTPUT_OUT
touch started-$PIPELINE_RUN_ID
until test -e go-$PIPELINE_RUN_ID; do sleep 0.01; done
echo $PIPELINE_RUN_ID
test $PIPELINE_RUN_ID = second || exit """


def begun(bench, run, *, code=0):
    """Start a run of two stages; return once the first has made its partial and waits for the file `go-RUN`."""
    bench.define(shell("a", f"{WRITES}{code}"), shell("b", "touch $PIPELINE_OUTPUT_OUT", needs=["a"]))
    process = bench.start("--run-id", run)
    wait_for((bench.root / f"started-{run}").exists, "the stage")
    return process


def ended(bench, process, run):
    bench.write(f"go-{run}", "")
    _, stderr = process.communicate(timeout=20)
    return process.returncode, stderr


def remove(bench):
    shutil.rmtree(bench.root / "state")
    shutil.rmtree(bench.root / "locks")


def move_away(bench):
    (bench.root / "state").rename(bench.root / "old")
    shutil.rmtree(bench.root / "locks")


def empty(bench):
    for entry in (bench.root / "state").iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def remove_log(bench):
    (bench.root / "state/audit_first.jsonl").unlink()


def put_a_copy(bench):
    log = bench.root / "state/audit_first.jsonl"
    shutil.copy(log, bench.root / "copy")
    (bench.root / "copy").replace(log)


@pytest.mark.parametrize("take", [remove, move_away, empty, remove_log, put_a_copy])
def test_a_run_without_its_log_publishes_nothing_and_says_so(bench, take):
    process = begun(bench, "first")
    take(bench)
    code, stderr = ended(bench, process, "first")
    assert code == 74
    assert "audit_first.jsonl: was removed or replaced while the run was at work" in stderr
    assert not bench.exists("out/a.txt")
    assert not bench.exists("state/stage_a.json")
    assert not bench.exists("state/metrics_first.json")


@pytest.mark.parametrize("take", [remove, move_away])
@pytest.mark.parametrize("first_exits", full_but([0, 1], [0]))
def test_a_run_that_began_anew_beside_a_run_without_state_keeps_what_it_writes(bench, take, first_exits):
    first = begun(bench, "first", code=first_exits)
    take(bench)
    second = begun(bench, "second", code=first_exits)
    assert ended(bench, first, "first")[0] == 74
    assert f"pid {second.pid} on" in bench.run().stderr
    code, stderr = ended(bench, second, "second")
    assert code == 0, stderr
    assert bench.read("out/a.txt") == b"second\n"
    assert bench.run("verify", "--outputs").returncode == 0
    assert not bench.leftovers()


def test_a_run_whose_ledger_is_removed_fails(bench):
    process = begun(bench, "first")
    (bench.root / "state/audit_ledger.jsonl").unlink()
    code, stderr = ended(bench, process, "first")
    assert code == 74
    assert "audit_ledger.jsonl: was removed or replaced while the run was at work" in stderr


def test_a_run_in_a_copy_of_a_workspace_does_not_wait_for_the_run_in_the_original(bench, tmp_path):
    first = begun(bench, "first")
    copy = PipelineBench(tmp_path / "copy")
    shutil.copytree(bench.root, copy.root, dirs_exist_ok=True)
    copy.write("go-first", "")
    done = copy.run("--run-id", "first", timeout=20)  # seconds; less than a runner waits for a launcher
    assert done.returncode == 0, done.stderr
    assert ended(bench, first, "first")[0] == 0
    for workspace in (bench, copy):
        assert workspace.run("verify", "--outputs").returncode == 0
        assert not workspace.leftovers()
