"""Run ids and the ledger: the run to resume, the runs to close, and refusals before anything is written."""

import json
import os
import re

import pytest
from pipeline_bench import PipelineBench, shell

from runner.engine.run import outcome
from runner.record.ledger import read_head
from runner.record.log import last_record
from runner.results import ADOPTED, BLOCKED, FAILED, INTERRUPTED, SKIPPED, SUCCEEDED, StageResult

FAIL_ONCE = "test -e again && touch $PIPELINE_OUTPUT_OUT && exit; touch again; exit 1"
OK = "touch $PIPELINE_OUTPUT_OUT"


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


def ledger(bench):
    return str(bench.root / "state/audit_ledger.jsonl")


def events(bench):
    with open(ledger(bench), "rb") as file:
        return [(record["ev"], record["run"]) for record in map(json.loads, file)]


def log_of(bench, run):
    return [json.loads(line)["ev"] for line in bench.read(f"state/audit_{run}.jsonl").splitlines()]


def snapshot(root):
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes()) if path.is_file() else None for path in root.rglob("*")
    }


def cut_last_line(path):
    with open(path, "rb+") as file:
        whole = file.read().splitlines(keepends=True)
        file.truncate(sum(map(len, whole[:-1])))


def test_a_failed_run_resumes_under_its_id_and_numbers_attempts_on(bench):
    bench.define(shell("a", FAIL_ONCE))
    assert bench.run().returncode == 1
    (run,) = read_head(ledger(bench)).open_runs
    bench.succeed()
    assert events(bench) == [("opened", run), ("ended", run), ("opened", run), ("closed", run)]
    assert [record["data"]["attempt"] for record in bench.records("attempt.started")] == [1, 2]
    assert [log_of(bench, run)[0], log_of(bench, run)[-1]] == ["run.start", "run.end"]
    assert "run.resumed" in log_of(bench, run)


def test_a_closed_id_is_refused_when_there_is_work_and_quiet_when_there_is_none(bench):
    bench.define(shell("a", OK))
    bench.succeed("run", "--run-id", "mine")
    before = bench.read("state/audit_mine.jsonl"), bench.read("state/stage_a.json")
    bench.succeed("run", "--run-id", "mine")
    bench.define(shell("a", OK, params={"x": 1}))
    done = bench.run("run", "--run-id", "mine")
    assert (done.returncode, "has succeeded already" in done.stderr) == (2, True)
    assert (bench.read("state/audit_mine.jsonl"), bench.read("state/stage_a.json")) == before
    assert events(bench)[-2:] == [("ended", "mine")] * 2


def test_no_run_can_take_the_ledgers_name(bench):
    bench.define(shell("a", OK))
    done = bench.run("run", "--run-id", "Ledger")
    assert (done.returncode, "is not a run id" in done.stderr) == (2, True)
    assert not bench.exists("state")


def test_a_log_that_was_sealed_just_before_the_kill_is_closed_by_the_next_run(bench):
    bench.define(shell("a", OK))
    bench.succeed("run", "--run-id", "mine")
    cut_last_line(ledger(bench))
    assert read_head(ledger(bench)).open_runs == ("mine",)
    bench.succeed()
    assert read_head(ledger(bench)).open_runs == ()
    assert log_of(bench, "mine")[-1] == "run.end"
    assert bench.run("status", "--exit-code").returncode == 0


def test_a_run_with_work_first_closes_the_run_whose_log_was_sealed(bench):
    bench.define(shell("a", OK))
    bench.succeed("run", "--run-id", "mine")
    cut_last_line(ledger(bench))
    bench.define(shell("a", OK, params={"x": 1}))
    bench.succeed("run", "--run-id", "next")
    assert log_of(bench, "mine")[-1] == "run.end"
    assert events(bench)[1:] == [("closed", "mine"), ("opened", "next"), ("closed", "next")]


@pytest.mark.full_after(1)
@pytest.mark.parametrize("stages", [["b", "c"], []], ids=["some", "all"])
def test_a_run_that_succeeds_supersedes_every_open_run_of_no_other_stages(bench, stages):
    bench.define(shell("a", FAIL_ONCE), shell("b", "exit 1"), shell("c", "exit 1"))
    assert bench.run("-k").returncode == 1
    assert bench.run("run", "b").returncode == 1
    assert bench.run("run", "c").returncode == 1
    whole, of_b, of_c = read_head(ledger(bench)).open_runs
    bench.define(shell("a", OK), shell("b", OK), shell("c", OK))
    run = re.search(r"\(run (\S+)\)", bench.succeed("run", *stages).stdout)[1]
    assert events(bench)[-1] == ("closed", run)
    still = [] if not stages else [whole]
    assert sorted(read_head(ledger(bench)).open_runs) == sorted(still)
    assert {other for event, other in events(bench) if event == "superseded"} == {whole, of_b, of_c} - {run, *still}
    assert bench.run("verify").returncode == (3 if still else 0)
    assert bench.run("status", "--exit-code").returncode == (3 if still else 0)


@pytest.mark.full
@pytest.mark.parametrize("durability", ["full", "process"])
@pytest.mark.parametrize("meddles", ["rm {log}", "truncate -s 100 {log}", "echo x >> {log}", "cp {new} {log}"])
def test_an_open_run_whose_log_is_changed_meanwhile_is_not_ended(bench, meddles, durability):
    bench.define(shell("a", "exit 1"), shell("b", "exit 1"))
    assert bench.run("-k").returncode == 1
    assert bench.run("run", "a").returncode == 1
    old, new = (f"state/audit_{run}.jsonl" for run in read_head(ledger(bench)).open_runs)
    meddles = meddles.format(log=old, new=new)
    bench.define(shell("a", f"{meddles}; test -e {old} && cp {old} seen; {OK}"), shell("b", OK))
    changed = bench.run("--durability", durability)
    assert changed.returncode == 0, changed.stderr
    assert [f"state/audit_{run}.jsonl" for run in read_head(ledger(bench)).open_runs] == [old]
    assert bench.exists(old) == bench.exists("seen")
    assert not bench.exists(old) or bench.read(old) == bench.read("seen")


def test_a_run_with_nothing_to_do_supersedes_open_runs_also_under_an_id_of_its_own(bench):
    """All stages fail. A run that names them all succeeds, which does not end the first run."""
    bench.define(shell("a", "exit 1"), shell("b", "exit 1"))
    assert bench.run("-k").returncode == 1
    (failed,) = read_head(ledger(bench)).open_runs
    bench.define(shell("a", OK), shell("b", OK))
    bench.succeed("run", "a", "b")
    assert bench.run("verify").returncode == 3
    bench.succeed("run", "--run-id", "mine")
    assert bench.run("verify").returncode == 0
    assert events(bench)[-2:] == [("superseded", failed), ("noop", "mine")]


@pytest.mark.parametrize("torn", [0, 40])
def test_a_run_with_nothing_to_do_that_died_in_its_log_resumes_in_it(bench, torn):
    """The run writes both records at once. The disk has the first one and `torn` bytes of the second."""
    bench.define(shell("a", OK))
    bench.succeed()
    bench.succeed("run", "--run-id", "mine")
    path = bench.root / "state/audit_mine.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:torn])
    bench.succeed("run", "--run-id", "mine")
    sequence = [json.loads(line)["seq"] for line in path.read_bytes().splitlines()]
    assert sequence == list(range(len(sequence)))
    assert last_record(str(path))["ev"] == "run.end"
    assert read_head(ledger(bench)).open_runs == ()


def test_a_run_with_nothing_to_do_never_writes_into_the_log_of_a_resumed_run(bench):
    bench.define(shell("a", OK))
    bench.succeed()
    os.mkfifo(bench.root / "go")
    bench.define(shell("a", OK), shell("b", f"{OK}; read x < go"))
    process = bench.start("run", "--run-id", "mine")
    with open(bench.root / "go", "w") as go:  # opens once the stage reads
        assert bench.run("run", "--run-id", "mine", "a").returncode in {0, 9}  # nothing to do, or locked
        assert bench.run("run", "a").returncode == 0
        go.write("\n")
    assert process.wait() == 0
    sequence = [json.loads(line)["seq"] for line in bench.read("state/audit_mine.jsonl").splitlines()]
    assert sequence == list(range(len(sequence)))


def test_a_state_directory_of_another_pipeline_is_refused_with_the_line_to_paste(bench):
    bench.define(shell("a", OK))
    bench.succeed()
    before = snapshot(bench.root / "state")
    bench.define(shell("a", OK), name="other")
    for verb in ("run", "plan", "status", "clean"):
        done = bench.run(verb)
        assert done.returncode == 2
        assert '"stateDir": "state/other"' in done.stderr
    assert snapshot(bench.root / "state") == before
    bench.define(shell("a", OK, outputs={"out": "b.txt"}), name="other", stateDir="state/other")
    bench.succeed()


def ended(*pairs):
    return {str(at): StageResult(str(at), status, exit_code=code) for at, (status, code) in enumerate(pairs)}


OUTCOMES = [
    (ended(), None, (SUCCEEDED, 0)),
    (ended((SUCCEEDED, 0), (SKIPPED, 0), (ADOPTED, 0)), 15, (SUCCEEDED, 0)),
    (ended((FAILED, 75), (FAILED, 75), (BLOCKED, 0)), None, (FAILED, 75)),
    (ended((FAILED, 75), (FAILED, 1)), None, (FAILED, 1)),
    (ended((FAILED, 5), (SUCCEEDED, 0)), None, (FAILED, 5)),
    (ended((FAILED, 1), (FAILED, 4)), None, (FAILED, 4)),
    (ended((FAILED, 4), (FAILED, 74)), None, (FAILED, 74)),
    (ended((FAILED, 2), (FAILED, 9)), None, (FAILED, 2)),
    (ended((FAILED, 75), (FAILED, 2)), None, (FAILED, 2)),
    (ended((FAILED, 75), (FAILED, 9)), None, (FAILED, 9)),
    (ended((BLOCKED, 5), (SUCCEEDED, 0), (BLOCKED, 0)), None, (FAILED, 5)),
    (ended((BLOCKED, 5), (FAILED, 75)), None, (FAILED, 75)),
    (ended((BLOCKED, 5), (FAILED, 1)), None, (FAILED, 1)),
    (ended((BLOCKED, 5), (INTERRUPTED, 0)), 15, (INTERRUPTED, 143)),
    (ended((FAILED, 1), (INTERRUPTED, 0)), 2, (INTERRUPTED, 130)),
    (ended((BLOCKED, 0)), 1, (INTERRUPTED, 129)),
]


@pytest.mark.parametrize(("stages", "signal_number", "expected"), OUTCOMES)
def test_the_exit_code_is_that_of_the_worst_failure(stages, signal_number, expected):
    assert outcome(stages, signal_number) == expected
