"""The verbs, on small real pipelines."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from forked_runs import offpipe
from pipeline_bench import unstamped

from runner.cli.commands import Commands
from runner.cli.parser import VERBS

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
GUARD = r"offline guard: \w+\n"
HEAD = r"ledger head: [0-9a-f]{64}\n"
RUN = r"\d{8}T\d{6}Z-[0-9a-f]{4}"


class Pipeline:
    """A directory with a spec: `sort`, then `count`, which fails if its parameter `fail` is true."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stages: list[dict[str, object]] = [
            {"name": "sort", "command": ["sort", "-o", "{outputs.o}", "{inputs.i}"], "inputs": {"i": "in.txt"},
             "outputs": {"o": "out/sorted.txt"}},
            {"name": "count", "command": ["sh", "-c", self.count], "inputs": {"i": "out/sorted.txt"},
             "outputs": {"o": "out/count.txt"}, "params": {"fail": False}},
        ]  # fmt: skip
        (directory / "in.txt").write_text("b\na\n")
        self.write()

    count = 'echo counting; case $PIPELINE_PARAMS in *true*) printf "\\033[2Jno\\n"; exit 3;; esac; '
    count += "wc -l <$PIPELINE_INPUT_I >$PIPELINE_OUTPUT_O"

    def write(self) -> None:
        spec = {"specVersion": 1, "name": "demo", "stages": self.stages}
        (self.directory / "p.json").write_text(json.dumps(spec))

    def __call__(self, verb, *words):
        return offpipe(verb, "p.json", *words, cwd=self.directory, env=ENVIRONMENT)


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(tmp_path)


# ---- run -------------------------------------------------------------------------------------------------------------


def test_every_verb_has_a_method() -> None:
    assert [verb for verb in VERBS if not callable(getattr(Commands, verb, None))] == []


def test_run_writes_events_to_stderr_and_a_summary_to_stdout(pipeline) -> None:
    shown = pipeline("run")
    assert shown.returncode == 0
    assert re.fullmatch(rf"demo: 2 succeeded in [\d.]+ s \(run {RUN}\)\n{GUARD}{HEAD}", shown.stdout)
    lines = [re.sub(r"[\d.]+ s\b", "T s", line) for line in unstamped(shown.stderr).splitlines()]
    assert re.fullmatch(rf"demo: run {RUN} started, 2 stages", lines.pop(0))
    assert lines == [
        "sort: started", "sort: succeeded in T s", "count: started", "count: succeeded in T s",
    ]  # fmt: skip


def test_a_run_with_nothing_to_do_says_so(pipeline) -> None:
    pipeline("run")
    shown = pipeline("run")
    assert re.fullmatch(rf"demo: nothing to do, 2 up to date \(run {RUN}\)\n{HEAD}", shown.stdout)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_stages_without_work_are_counted_and_named_with_verbose(pipeline) -> None:
    pipeline("run", "sort")
    assert "sort" not in pipeline("run", "-f", "count").stderr
    shown = pipeline("run", "-v", "-f", "count")
    assert "sort: up to date\n" in shown.stderr and "1 succeeded, 1 skipped" in shown.stdout


def test_quiet_means_nothing_at_all_on_success(pipeline) -> None:
    for _ in range(2):
        shown = pipeline("run", "-q")
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, "", "")


def test_a_failed_stage_shows_its_log_and_where_to_look(pipeline) -> None:
    for options, more in ([], ""), (["-q"], r"\S+Z demo: .+\nnext: .+\n"):
        shown = pipeline("run", "--param", "count.fail=true", *options)
        assert shown.returncode == 1
        block = shown.stderr[shown.stderr.index("count: failed in ") :]
        assert re.fullmatch(
            r"count: failed in [\d.]+ s\nerror: stage count: failed with exit 3\n"
            rf"log: state/logs/{RUN}/count\.\d\.log\n    counting\n    \\x1b\[2Jno\n"
            rf"more: offpipe log p.json count\n{more}",
            block,
        )
        assert ("1 failed" in shown.stdout) == (not options)


def test_stages_that_were_not_started_are_named_with_the_option_that_starts_them(pipeline) -> None:
    pipeline.stages.append({"name": "alone", "command": ["touch", "{outputs.o}"], "outputs": {"o": "alone"}})
    pipeline.stages[0]["command"] = ["false"]
    pipeline.write()
    shown = pipeline("run", "-j1")
    assert "blocked by what failed: count\n" in shown.stderr
    assert "not started after the failure: alone (-k starts what does not need it)\n" in shown.stderr
    assert "demo: 1 failed, 1 blocked, 1 not started in " in shown.stdout
    shown = pipeline("run", "-j1", "-k")
    assert "blocked by what failed: count\n" in shown.stderr and "not started" not in shown.stderr


def test_a_retryable_exit_code_gets_a_hint_if_no_retry_is_declared(pipeline) -> None:
    pipeline.stages = [{"name": "flaky", "command": ["sh", "-c", "exit 75"], "outputs": {"o": "o"}}]
    pipeline.write()
    shown = pipeline("run").stderr
    assert "flaky: failed with exit 75\nhint: 75 is retryable: set retry.attempts, or run again\n" in shown
    assert "more:" not in shown and "(empty)\n" in shown
    assert pipeline("log", "flaky", "--attempt", "1").stderr.endswith("/flaky.1.log is empty\n")
    assert "stage flaky: has no attempt 2 on record\n" in pipeline("log", "flaky", "--attempt", "2").stderr
    assert "no stage given" in pipeline("log", "--attempt", "1").stderr
    log = pipeline("log", "flaky")
    assert re.fullmatch(r"note: .*/flaky\.1\.log is empty\n", log.stderr) and log.stdout == "", log.stderr
    pipeline.stages[0]["retry"] = {"attempts": 2, "delaySeconds": 0}
    pipeline.write()
    assert "retryable" not in pipeline("run").stderr
    pipeline.stages[0] |= {"retry": {}, "command": ["sh", "-c", "exit 3"]}
    pipeline.write()
    assert "retryable" not in pipeline("run").stderr


def test_a_retry_is_reported_with_its_delay(pipeline) -> None:
    script = "[ $PIPELINE_ATTEMPT -gt 1 ] || exit 75; : >$PIPELINE_OUTPUT_O"
    retry = {"attempts": 2, "delaySeconds": 0.2, "jitter": 0}
    pipeline.stages = [{"name": "flaky", "command": ["sh", "-c", script], "outputs": {"o": "o"}, "retry": retry}]
    pipeline.write()
    shown = pipeline("run")
    assert "flaky: exit 75, next attempt in 0.2 s\nflaky: started (attempt 2 of 2)\n" in unstamped(shown.stderr)
    assert re.search(r"flaky: succeeded in [\d.]+ s \(attempt 2 of 2\)\n", shown.stderr)


def test_json_is_one_object_with_everything(pipeline) -> None:
    shown = pipeline("run", "--json")
    result = json.loads(shown.stdout)
    assert set(result) == {
        "run", "status", "exitCode", "pipeline", "seconds", "ledgerHead", "isolation", "removed", "stages", "warnings",
    }  # fmt: skip
    assert (result["status"], result["exitCode"], result["pipeline"]) == ("succeeded", 0, "demo")
    sort = result["stages"]["sort"]
    assert (sort["status"], sort["error"], sort["attempts"][0]["exit"]) == ("succeeded", None, 0)
    assert sort["outputs"]["o"]["path"] == "out/sorted.txt" and sort["outputs"]["o"]["size"] == 4
    assert Path(sort["log"]).is_file()
    failed = json.loads(pipeline("run", "--json", "-f", "--param", "count.fail=true").stdout)
    assert failed["stages"]["count"]["error"]["what"] == "failed with exit 3" and failed["exitCode"] == 1


def test_a_missing_input_ends_a_run_with_5(pipeline) -> None:
    (pipeline.directory / "in.txt").unlink()
    shown = pipeline("run", "--json")
    assert (shown.returncode, json.loads(shown.stdout)["exitCode"]) == (5, 5)
    assert "in.txt" in shown.stderr and os.listdir(pipeline.directory / "state") == ["audit_ledger.jsonl"]


def test_records_the_command_line(pipeline) -> None:
    run = json.loads(pipeline("run", "--json", "-j1").stdout)["run"]
    log = (pipeline.directory / "state" / f"audit_{run}.jsonl").read_text().splitlines()
    assert json.loads(log[0])["data"]["argv"] == ["offpipe", "run", "p.json", "--json", "-j1"]


# ---- plan, explain, status, log --------------------------------------------------------------------------------------


def test_plan_prints_a_line_a_stage_and_writes_nothing(pipeline) -> None:
    expected = "sort   run      no completed run\ncount  run      no completed run\n"
    for words in (["plan"], ["run", "-n"]):
        assert pipeline(*words).stdout == expected
    assert sorted(path.name for path in pipeline.directory.iterdir()) == ["in.txt", "p.json"]
    pipeline("run")
    (pipeline.directory / "in.txt").write_text("c\n")
    assert re.fullmatch(
        r"sort   run      input in.txt: [0-9a-f]{8}\.\. -> [0-9a-f]{8}\.\.\ncount  depends  on what sort will make\n",
        pipeline("plan").stdout,
    )


def test_plan_names_a_missing_input_and_ends_with_5(pipeline) -> None:
    (pipeline.directory / "in.txt").unlink()
    shown = pipeline("plan")
    assert shown.returncode == 5
    assert re.fullmatch(r"sort   blocked  .+\ncount  blocked  by sort\n", shown.stdout)
    assert shown.stderr.startswith("error: ") and "in.txt" in shown.stderr


def test_plan_as_json(pipeline) -> None:
    pipeline("run")
    plan = json.loads(pipeline("plan", "--json", "--param", "count.fail=true").stdout)
    reason = {"component": "params", "what": "fail", "old": False, "new": True}
    assert plan["stages"][1] == {"stage": "count", "decision": "run", "reasons": [reason]}
    assert (plan["pipeline"], plan["stages"][0]["decision"], plan["faults"]) == ("demo", "skip", [])


def test_explain_shows_each_change_in_full_and_the_marker(pipeline) -> None:
    assert pipeline("explain", "count").stdout == "count: must run\n  no completed run\n"
    pipeline("run")
    shown = pipeline("explain", "count").stdout
    assert re.match(rf"count: up to date\nmade by run {RUN} \(record \d+\), because\n  no completed run\nkey ", shown)
    assert re.search(r"\ninputs\n  i: out/sorted.txt  [0-9a-f]{64}\n", shown)
    assert re.search(r"\noutputs\n  o: out/count.txt  [0-9a-f]{64}  2 bytes\n", shown)
    assert "\nparams\n  fail: false\n" in shown
    (pipeline.directory / "out" / "count.txt").write_text("x")
    changed = pipeline("explain", "count").stdout
    assert re.match(
        r"count: must run\n  output out/count.txt: changed on disk, [0-9a-f]{64} -> [0-9a-f]{64}\nmade by", changed
    )
    unknown = pipeline("explain", "cuont")
    assert unknown.returncode == 2 and 'did you mean "count"?' in unknown.stderr


def test_status_shows_runs_and_pending_stages(pipeline) -> None:
    before = pipeline("status", "--exit-code")
    assert before.returncode == 3
    assert before.stdout.startswith("demo: 2 of 2 stages pending\nlast run: none yet\npending:\n  sort   run ")
    pipeline("run")
    after = pipeline("status", "--exit-code")
    assert after.returncode == 0
    last = rf"last run: {RUN}, succeeded, began \S+Z, ended \S+Z, offline guard: \w+\n"
    assert re.fullmatch(rf"demo: everything is up to date\n{last}", after.stdout)
    pipeline("run", "-f", "--param", "count.fail=true")
    failed = pipeline("status").stdout
    last = rf"\nlast run: {RUN}, failed, began \S+Z, ended \S+Z, offline guard: \w+\n  count  failed: exit 3\n"
    assert re.search(rf"{last}last success: {RUN}, ended \S+Z\nthe next run of all stages goes on under: ", failed)


def test_status_shows_checkpoints_and_undeclared_outputs(pipeline) -> None:
    pipeline("run")
    name = "count"
    progress = {"v": 1, "key": "0" * 64, "lineOffset": 1_200_000, "outputs": {}}
    (pipeline.directory / "state" / f"progress_{name}.json").write_text(json.dumps(progress))
    pipeline.stages[0]["outputs"] = {"o": "out/other.txt"}
    pipeline.stages[1]["inputs"] = {"i": "out/other.txt"}
    pipeline.write()
    shown = pipeline("status").stdout
    assert "\ncount  incomplete, 1,200,000 lines\n" in shown
    status = json.loads(pipeline("status", "--json").stdout)
    assert status["incomplete"] == [{"stage": "count", "lineOffset": 1_200_000, "byteOffset": None, "fits": None}]
    assert (status["pending"], status["undeclared"], status["lastRun"]["status"]) == (
        True,
        ["out/sorted.txt"],
        "succeeded",
    )


def test_log_prints_the_newest_log_byte_for_byte(pipeline) -> None:
    pipeline("run", "--param", "count.fail=true")
    assert pipeline("log", "count").stdout == "counting\n\x1b[2Jno\n"
    pipeline("run")
    assert pipeline("log", "count").stdout == "counting\n"
    never = pipeline("log", "cuont")
    assert never.returncode == 2 and 'did you mean "count"?' in never.stderr


@pytest.mark.full
def test_log_without_a_stage_lists_the_events_of_a_run(pipeline) -> None:
    assert pipeline("log").stderr == "error: no run yet\n"
    run = json.loads(pipeline("run", "--json").stdout)["run"]
    pipeline("run")
    assert len(pipeline("log").stdout.splitlines()) == 2
    events = [line.split(" ", 1)[1] for line in pipeline("log", "--run", run).stdout.splitlines()]
    assert (
        events[0].startswith("run.start")
        and "attempt.finished sort 1 0" in events
        and events[-1] == "run.end succeeded"
    )
    assert pipeline("log", "--run", "other").returncode == 2


# ---- the spec --------------------------------------------------------------------------------------------------------


def test_validate_counts_stages_or_reports_every_fault(pipeline) -> None:
    shown = pipeline("validate")
    assert (shown.returncode, shown.stdout) == (0, "p.json: valid, 2 stages\n")
    pipeline.stages[0]["need"] = []
    pipeline.stages[1]["command"] = []
    pipeline.write()
    faulty = pipeline("validate")
    assert (faulty.returncode, faulty.stdout) == (2, "")
    assert len(re.findall(r"^error: p\.json#/stages/[01]/", faulty.stderr, re.MULTILINE)) == 2


def test_graphs(pipeline) -> None:
    assert pipeline("graph").stdout == "sort\ncount  <- sort\n"
    assert pipeline("graph", "--format", "mermaid").stdout == (
        'flowchart TD\n  s0["sort"]\n  s1["count"]\n  s0 --> s1\n'
    )
    dot = pipeline("graph", "--format", "dot").stdout
    assert dot.startswith('digraph "demo" {\n') and '  "sort" -> "count";\n' in dot and dot.endswith("}\n")


def test_schema_is_json_and_takes_no_spec() -> None:
    assert json.loads(offpipe("schema").stdout)["type"] == "object"
    assert offpipe("schema", "x").returncode == 2


# ---- clean -----------------------------------------------------------------------------------------------------------


def test_clean_removes_outputs_and_state_only(pipeline) -> None:
    pipeline("run")
    (pipeline.directory / "out" / "mine.txt").touch()
    planned = pipeline("clean", "-n").stdout
    assert "would remove out/sorted.txt\n" in planned and (pipeline.directory / "out" / "sorted.txt").exists()
    assert pipeline("clean").stdout == planned.replace("would remove", "removed")
    assert [path.name for path in (pipeline.directory / "out").iterdir()] == ["mine.txt"]
    assert (pipeline.directory / "state" / "audit_ledger.jsonl").exists()
    assert pipeline("clean").stdout == "nothing to remove\n"
    assert "removed state/audit_ledger.jsonl\n" in pipeline("clean", "--state").stdout
    assert [path for path in pipeline.directory.glob("state/*") if path.is_file()] == []
    assert (pipeline.directory / "in.txt").exists()


@pytest.mark.full
def test_everything_is_written_below_the_workspace(pipeline) -> None:
    for words in (["run"], ["status", "--exit-code"], ["explain", "count"], ["log", "count"], ["clean"]):
        assert pipeline(*words, "--workspace", "elsewhere").returncode == 0
    assert sorted(path.name for path in pipeline.directory.iterdir()) == ["elsewhere", "in.txt", "p.json"]
