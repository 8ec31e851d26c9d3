"""The ledger records every invocation: what ran, what was refused and why, what was interrupted or did not end."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from pipeline_bench import PipelineBench, kill, shell, wait_for


def runs(bench: PipelineBench, *words: str) -> list[dict[str, object]]:
    return bench.json("runs", *words)["runs"]  # type: ignore[return-value]


def outcomes(bench: PipelineBench, *words: str) -> list[tuple[object, ...]]:
    """Return outcome and exit code of each invocation, the oldest first."""
    return [(each["outcome"], each["exitCode"]) for each in reversed(runs(bench, *words))]


def copy() -> dict[str, object]:
    return shell("a", "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT", inputs={"x": "in.txt"})


def intact(bench: PipelineBench) -> None:
    done = bench.run("verify", "--outputs")
    assert done.returncode in (0, 3), done.stdout
    assert "damaged" not in done.stdout


def test_every_invocation_leaves_a_line(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(copy(), shell("b", "exit 1", inputs={"a": "out/a.txt"}))
    assert bench.run().returncode == 1
    (bench.root / "in.txt").rename(bench.root / "aside")
    assert bench.run().returncode == 5
    assert bench.run("nope").returncode == 2
    (bench.root / "aside").rename(bench.root / "in.txt")
    bench.define(copy())
    bench.succeed()
    bench.succeed()
    bench.succeed("clean")
    invocations = list(reversed(runs(bench)))
    assert "  1 succeeded, 1 failed  stage b: " in bench.run("runs").stdout, "in the order of the summary"
    assert [(each["verb"], each["outcome"], each["exitCode"]) for each in invocations] == [
        ("run", "failed", 1),
        ("run", "refused", 5),
        ("run", "refused", 2),
        ("run", "succeeded", 0),
        ("run", "succeeded", 0),
        ("clean", "succeeded", 0),
    ]
    assert invocations[0]["stages"] == {"succeeded": 1, "failed": 1} and "stage b" in invocations[0]["fault"]
    assert "in.txt" in invocations[1]["fault"] and 'no stage named "nope"' in invocations[2]["fault"]
    assert invocations[3]["part"] == 2 and invocations[3]["run"] == invocations[0]["run"]
    assert invocations[4]["stages"] == {"skipped": 1} and invocations[4]["part"] is None
    assert all(each["began"] <= each["ended"] for each in invocations)
    intact(bench)


def test_a_continued_run_is_shown_by_its_part_and_the_night_that_failed_stays_failed(bench) -> None:
    bench.define(shell("a", "test -e ok && echo x > $PIPELINE_OUTPUT_OUT"))
    assert bench.run().returncode == 1
    bench.write("ok", "")
    bench.succeed()
    lines = bench.succeed("runs").stdout.splitlines()
    assert "#2  succeeded" in lines[0] and "failed" in lines[1] and "#" not in lines[1]


def test_a_run_that_is_locked_out_leaves_a_line_while_the_other_works(bench) -> None:
    bench.define(shell("a", "until test -e go; do sleep 0.01; done; echo x > $PIPELINE_OUTPUT_OUT"))
    process = bench.start()
    wait_for(lambda: bench.records("attempt.started"))
    assert bench.run().returncode == 9
    assert outcomes(bench) == [("running", None), ("refused", 9)]
    status = bench.run("status")
    assert "refused since then, last" in status.stdout and "exit 9" in status.stdout
    bench.write("go", "")
    assert process.wait(timeout=30) == 0
    assert outcomes(bench) == [("refused", 9), ("succeeded", 0)]
    intact(bench)


def test_a_killed_run_did_not_end_and_an_interrupted_run_is_listed_as_such(bench) -> None:
    bench.define(shell("a", "until test -e go; do sleep 0.01; done; echo x > $PIPELINE_OUTPUT_OUT"))
    process = bench.start()
    wait_for(lambda: bench.records("attempt.started"))
    kill(process.pid)
    process.wait()
    assert outcomes(bench) == [("did not end", None)]
    process = bench.start()
    wait_for(lambda: len(bench.records("attempt.started")) == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert outcomes(bench) == [("did not end", None), ("interrupted", 143)]
    assert len(runs(bench, "--failed")) == 2
    intact(bench)


def test_a_run_that_a_disk_error_ended_has_failed_and_says_why(bench) -> None:
    bench.write("state/logs", "no directory")
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT"))
    assert bench.run().returncode == 74
    (run,) = runs(bench)
    assert (run["outcome"], run["exitCode"]) == ("failed", 74) and "state/logs" in run["fault"]
    status = bench.run("status").stdout
    assert f"last run: {run['run']}, failed, began" in status and f"\n  exit 74: {run['fault']}\n" in status
    assert bench.json("status")["lastRun"]["status"] == "failed"


def test_an_open_run_that_a_later_one_closes_is_superseded_and_never_succeeded(bench) -> None:
    bench.define(shell("a", "exit 1"), shell("b", "exit 1"))
    assert bench.run("a").returncode == 1
    assert bench.run("b").returncode == 1
    bench.define(shell("a", "echo x > $PIPELINE_OUTPUT_OUT"), shell("b", "echo x > $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    last, second, first = runs(bench)
    assert (first["outcome"], second["outcome"], last["outcome"]) == ("failed", "failed", "succeeded")
    superseded = {each["run"]: each["supersededBy"] for each in (first, second) if each["run"] != last["run"]}
    assert list(superseded.values()) == [last["run"]]
    assert bench.json("status")["openRuns"] == []
    intact(bench)


def test_a_run_without_work_supersedes_the_open_runs_whose_work_is_done(bench) -> None:
    bench.define(shell("a", "exit 1"), shell("b", "echo x > $PIPELINE_OUTPUT_OUT"))
    assert bench.run("-k").returncode == 1
    bench.define(shell("b", "echo x > $PIPELINE_OUTPUT_OUT"))
    bench.succeed("--run-id", "another")
    assert [each["supersededBy"] for each in runs(bench)] == [None, "another"]
    assert bench.json("status")["openRuns"] == []
    intact(bench)


def test_warnings_are_on_record_although_the_run_was_quiet(bench) -> None:
    bench.define(shell("a", "echo x > $PIPELINE_OUTPUT_OUT", env={"A": "{inputs.x}"}))
    bench.succeed("-q")
    (invocation,) = runs(bench)
    (record,) = bench.records("run.warning")
    (text,) = invocation["warnings"]  # type: ignore[misc]
    assert record["data"]["what"] in text
    assert "run.warning" in bench.run("log").stdout
    assert "1 warning" in bench.run("runs").stdout


def test_the_list_counts_all_warnings_also_those_without_a_text_in_the_ledger(bench) -> None:
    bench.define(*(shell(f"s{n}", "echo x > $PIPELINE_OUTPUT_OUT", env={"A": "{inputs.x}"}) for n in range(30)))
    bench.succeed("-q")
    (invocation,) = runs(bench)
    assert len(invocation["warnings"]) == 21 and invocation["warnings"][-1] == "and 10 more"  # type: ignore[arg-type,index]
    assert bench.run("runs").stdout.endswith("  30 warnings\n")


def test_status_shows_a_warning_until_it_no_longer_holds(bench) -> None:
    bench.write("out/a.txt", "my own\n")
    bench.define(shell("a", "exit 1"))
    assert bench.run("-q").returncode == 1
    spec = bench.spec
    for target in (bench.root / "state", spec):
        bench.spec = target
        (warning,) = bench.json("status")["warnings"]
        assert "a run replaces files" in warning["what"] and "out/a.txt" in bench.run("status").stderr
    (bench.root / "out/a.txt").unlink()
    assert bench.json("status")["warnings"] == []
    intact(bench)


@pytest.mark.full
def test_the_list_can_be_cut_by_date_by_number_and_to_what_failed(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(copy())
    bench.succeed()
    (bench.root / "in.txt").unlink()
    bench.run()
    assert len(runs(bench, "--since", "1d")) == 2
    assert len(runs(bench, "--since", "2999-01-01")) == 0
    assert bench.succeed("runs", "--since", "2999-01-01").stdout == "no such run on record\n"
    assert [each["exitCode"] for each in runs(bench, "--limit", "1")] == [5]
    assert [each["exitCode"] for each in runs(bench, "--failed")] == [5]
    for words in (("--since", "yesterday"), ("--since", "9999999999d"), ("--limit", "0")):
        assert bench.run("runs", *words).returncode == 2


def test_an_auditor_needs_neither_the_spec_nor_the_data(bench, tmp_path_factory) -> None:
    bench.define(shell("a", "echo said; echo x > $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    elsewhere = PipelineBench(tmp_path_factory.mktemp("auditor"))
    shutil.copytree(bench.root / "state", elsewhere.root / "copy")
    elsewhere.spec = elsewhere.root / "copy"
    assert [each["outcome"] for each in runs(elsewhere)] == ["succeeded"]
    assert "run.start" in elsewhere.succeed("log").stdout
    assert elsewhere.succeed("log", "a").stdout == "said\n"
    assert elsewhere.succeed("explain", "a").stdout.startswith("a: made by run ")
    assert "last run" in elsewhere.succeed("status").stdout
    records = [json.loads(line) for line in elsewhere.succeed("log", "--json").stdout.splitlines()]
    assert [record["ev"] for record in records] == [record["ev"] for record in bench.records()]
    assert elsewhere.run("explain", "nope").returncode == 2


def test_log_says_what_became_of_a_run_without_a_log(bench) -> None:
    bench.define(shell("a", "echo x > $PIPELINE_OUTPUT_OUT", inputs={"x": "gone.txt"}))
    assert bench.run("--run-id=late").returncode == 5
    bench.write("gone.txt", "")
    bench.succeed("--run-id=good")
    bench.succeed("prune", "-q", "--before=0d")
    for words in (("log",), ("log", "a"), ("log", "*")):
        assert "run late has no log: refused" in bench.run(*words, "--run=late").stderr
        assert "run good has no log: pruned" in bench.run(*words, "--run=good").stderr
        assert 'no run "other"' in bench.run(*words, "--run=other").stderr


def test_the_status_of_a_state_directory_plans_nothing_but_says_that_a_run_is_at_work(bench) -> None:
    bench.define(shell("a", "until test -e go; do sleep 0.01; done; exit 1"))
    process = bench.start()
    wait_for(lambda: bench.records("attempt.started"))
    spec, bench.spec = bench.spec, bench.root / "state"
    working = bench.succeed("status").stdout
    assert working.startswith("bench: nothing is planned without a spec\n")
    assert ", running, began" in working and "running now: `status` of the spec says who" in working
    bench.write("go", "")
    process.wait()
    failed = bench.succeed("status").stdout
    assert failed.startswith("bench: nothing is planned without a spec\n") and "a  failed: exit 1" in failed
    assert spec.exists()


@pytest.mark.parametrize("words", [
    ("runs",), ("runs", "--summary"), ("report", "-o", "-"), ("log",), ("log", "a"), ("verify",), ("export",),
], ids=" ".join)  # fmt: skip
def test_what_is_on_disk_stops_no_verb_that_looks_back(bench, words) -> None:
    bench.write("in.txt", "x\n")
    bench.define(copy(), shell("b", "cp $PIPELINE_INPUT_A $PIPELINE_OUTPUT_OUT", inputs={"a": "out/a.txt"}))
    bench.succeed()
    before = bench.run(*words)
    for name in ("a.txt", "b.txt"):
        (bench.root / "out" / name).unlink()
        (bench.root / "out" / name).mkdir()
    assert bench.run("status").returncode == 2, "a run would refuse it"
    after = bench.run(*words)
    assert after.returncode == before.returncode == 0, after.stderr
