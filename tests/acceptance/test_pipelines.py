"""`offpipe runs --summary` sums up many pipelines, for people, programs and Prometheus: each row is right."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

import pytest
from pipeline_bench import kill_and_await, shell, wait_for
from state_directories import GOOD, KINDS, call, made, samples, states, summary


def test_each_pipeline_has_a_row_of_its_own_and_a_bad_one_spoils_no_other() -> None:
    good, failed, damaged, foreign, none = summary(*states(*KINDS), code=6)
    assert [each["record"] for each in (good, failed, damaged, foreign, none)] == [
        "intact", "incomplete", "damaged", "no record", "unreadable"
    ]  # fmt: skip
    assert [each["exitCode"] for each in (good, failed, damaged, foreign, none)] == [0, 0, 6, 3, 74]
    assert (good["pipeline"], good["lastSuccess"]["run"], good["lastFailure"]) == ("good", "one", None)
    assert (failed["lastSuccess"]["run"], failed["lastRun"]["run"]) == ("one", "two")
    assert failed["lastFailure"]["exitCode"] == 1 and "stage trim: failed with exit 3" in failed["lastFailure"]["fault"]
    assert damaged["error"]["where"].endswith("audit_one.jsonl:3: hash") and damaged["lastSuccess"]["run"] == "one"
    assert foreign["lastRun"] is none["lastRun"] is None and "is not a state directory" in foreign["error"]["what"]
    ended = datetime.fromisoformat(good["lastSuccess"]["ended"])
    assert 0 <= (datetime.now(UTC) - ended).total_seconds() - good["ageSeconds"] < 5


def test_the_text_has_the_age_of_the_last_success_with_its_time() -> None:
    lines = call("runs", *states("good", "failed"), words=("--summary",)).stdout.splitlines()
    assert re.fullmatch(rf"good +intact +succeeded +last success \S+Z, .+ ago  {made()}/good/state", lines[0])
    assert re.search(r"^failed +incomplete +failed 1 .*; |last failure \S+Z, failed 1: stage trim: ", lines[1])


@pytest.mark.parametrize(("kinds", "code"), [
    (("good", "failed"), 0), (("good", "foreign"), 3), (("foreign", "none"), 74), (("none", "damaged", "foreign"), 6),
])  # fmt: skip
def test_the_exit_code_is_that_of_the_worst_record(kinds, code) -> None:
    summary(*states(*kinds), code=code)


def test_one_directory_or_a_spec_gives_the_same_object(bench) -> None:
    bench.define(shell("trim", GOOD))
    bench.succeed()
    (by_spec,), (by_directory,) = summary(bench.spec), summary(bench.root / "state")
    assert {**by_spec, "ageSeconds": 0} == {**by_directory, "ageSeconds": 0}


def test_a_run_at_work_is_at_work_and_a_killed_one_did_not_end(bench, tmp_path) -> None:
    bench.define(shell("trim", GOOD), name="p")
    bench.succeed()
    bench.define(shell("trim", "sleep 60"), name="p")
    process, state = bench.start(), bench.root / "state"
    wait_for(lambda: len(bench.records("attempt.started")) == 2)
    (row,) = summary(state)
    text = tmp_path / "p.prom"
    call("runs", state, words=("--summary", "--prometheus", str(text)))
    kill_and_await(process)
    assert row["working"] and row["lastRun"]["outcome"] == "succeeded" and row["lastFailure"] is None
    assert samples(text.read_text())["last_run_exit_code", "p"] == 0
    (row,) = summary(state)
    call("runs", state, words=("--summary", "--prometheus", str(text)))
    assert not row["working"] and row["lastFailure"]["outcome"] == row["lastRun"]["outcome"] == "did not end"
    assert samples(text.read_text())["last_run_exit_code", "p"] == 137


# ---- Prometheus ------------------------------------------------------------------------------------------------------


def test_the_file_for_prometheus_has_every_metric_and_no_run(tmp_path) -> None:
    path = tmp_path / "offpipe.prom"
    call("runs", *states("good", "failed", "damaged", "none"), words=("--summary", "--prometheus", str(path)), code=6)
    text, found = path.read_text(), samples(path.read_text())
    (good,) = summary(*states("good"))
    ended = datetime.fromisoformat(good["lastSuccess"]["ended"]).timestamp()
    assert found["last_success_timestamp_seconds", "good"] == pytest.approx(ended, abs=1e-3)
    assert found["last_success_timestamp_seconds", ""] == 0
    assert found["last_run_duration_seconds", "good"] == pytest.approx(good["lastRun"]["seconds"], abs=1e-6)
    assert (found["last_run_exit_code", "good"], found["last_run_exit_code", "failed"]) == (0, 1)
    assert [found["record_intact", name] for name in ("good", "failed", "damaged", "")] == [1, 1, 0, 0]
    assert "two" not in re.findall(r'"(.*?)"', text) and "run=" not in text


def test_without_any_sample_every_metric_has_its_help_and_type(tmp_path) -> None:
    path = tmp_path / "offpipe.prom"
    call("runs", *states("none"), words=("--summary", "--prometheus", str(path)), code=74)
    lines = path.read_text().splitlines()
    named = {kind: {line.split()[2] for line in lines if line.startswith(f"# {kind} ")} for kind in ("HELP", "TYPE")}
    assert named["HELP"] == named["TYPE"] and len(named["HELP"]) == 4


def test_the_file_for_prometheus_is_replaced_in_one_step_and_everyone_may_read_it(tmp_path) -> None:
    path = tmp_path / "offpipe.prom"
    words = ("--summary", "--prometheus", str(path))
    old = os.umask(0o077)
    try:
        call("runs", *states("good"), words=words)
        path.chmod(0o600)
        (tmp_path / "old").hardlink_to(path)
        before = path.read_bytes()
        call("runs", *states("good", "failed"), words=words)
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "old").read_bytes() == before != path.read_bytes(), "a reader of the old file keeps it whole"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["offpipe.prom", "old"]
    path.write_text("another's\n")
    assert "holds something else" in call("runs", *states("good"), words=words, code=2).stderr


@pytest.mark.parametrize(("words", "what"), [
    (("--prometheus", "x"), "--prometheus: needs --summary"), (("--summary", "--prometheus", "-"), "- is not a file"),
    (("--summary", "--limit", "1"), "--limit: cannot be combined with --summary"),
])  # fmt: skip
def test_options_that_do_not_go_together_are_refused(words, what) -> None:
    assert what in call("runs", *states("good"), words=words, code=2).stderr


def test_without_summary_runs_takes_one_pipeline() -> None:
    assert "unexpected argument" in call("runs", *states("good", "failed"), code=2).stderr
