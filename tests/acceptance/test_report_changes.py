"""The report says what changed since the last success: each stage's commit beside the one that it had then."""

from __future__ import annotations

import json

import pytest
from pipeline_bench import PipelineBench, shell
from report_page import ReportPage

COPY = "cp $PIPELINE_INPUT_X $PIPELINE_OUTPUT_OUT"


def report(bench: PipelineBench, *words: str) -> ReportPage:
    page = ReportPage(bench.succeed("report", "-o", "-", *words).stdout)
    assert list(page.references()) == []
    return page


def stages(script: str = COPY, **fields: object) -> list[dict[str, object]]:
    return [shell("a", COPY, inputs={"x": "in.txt"}), shell("b", script, inputs={"x": "out/a.txt"}, **fields)]


def digest(bench: PipelineBench, run: str, stage: str) -> str:
    """The beginning of the digest of the output that a run committed, from its log."""
    (commit,) = [
        record["data"] for record in bench.records("stage.commit")
        if (record["run"], record["data"]["stage"]) == (run, stage)
    ]  # fmt: skip
    return f"{commit['outputs']['out']['sha256'][:8]}.."


def test_inputs_and_outputs_are_compared_with_the_commits_of_the_last_success(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(*stages())
    bench.succeed("--run-id", "one")
    assert "No earlier run succeeded." in report(bench).text("changes")
    bench.write("in.txt", "longer\n")
    bench.succeed("--run-id", "two")
    page = report(bench)
    assert "The run one was the last before this one that succeeded" in page.text("changes")
    change = f"{digest(bench, 'one', 'a')} -> {digest(bench, 'two', 'a')}"
    assert page.row("changes", "a")[1:] == [f"input in.txt: {change}", "out/a.txt: 2 bytes -> 7 bytes"]
    assert page.row("changes", "b")[1:] == [f"input out/a.txt: {change}", "out/b.txt: 2 bytes -> 7 bytes"]


def test_failed_runs_in_between_do_not_count(bench) -> None:
    """The stage `a` has commits of four runs; the page compares the first, which succeeded, with the last."""
    bench.write("in.txt", "x\n")
    bench.define(*stages())
    bench.succeed("--run-id", "one")
    for number, content in enumerate(("y\n", "yy\n")):
        bench.write("in.txt", content)
        bench.define(*stages("exit 3"))
        assert bench.run("--run-id", f"failed{number}").returncode == 1
    bench.write("in.txt", "zzz\n")
    bench.define(*stages())
    bench.succeed("--run-id", "last")
    change = f"input in.txt: {digest(bench, 'one', 'a')} -> {digest(bench, 'last', 'a')}"
    assert report(bench).row("changes", "a")[1:] == [change, "out/a.txt: 2 bytes -> 4 bytes"]
    assert report(bench, "--run", "failed1").row("changes", "a")[2] == "out/a.txt: 2 bytes -> 3 bytes"


def test_a_stage_that_an_earlier_failed_run_made_is_compared_too(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(*stages())
    bench.succeed("--run-id", "one")
    bench.write("in.txt", "yy\n")
    bench.define(*stages("exit 3"))
    assert bench.run("--run-id", "failed").returncode == 1
    bench.define(*stages())
    bench.succeed("b", "--run-id", "rest")
    page = report(bench)
    assert page.row("stages", "a")[1] == "up to date"
    assert page.row("changes", "a")[2] == "out/a.txt: 2 bytes -> 3 bytes"


def test_vars_versions_code_and_stages_that_come_and_go_are_named(bench) -> None:
    bench.write("in.txt", "x\n")
    version = {"programVersion": ["sh", "-c", "echo v{vars.v}"]}
    gone = shell("gone", "echo >$PIPELINE_OUTPUT_OUT")
    bench.define(*stages(f"{COPY}; : {{vars.v}}", **version), gone, vars={"v": 1})
    bench.succeed("--run-id", "one")
    new = shell("new", "echo >$PIPELINE_OUTPUT_OUT")
    bench.define(*stages(f"{COPY}; : {{vars.v}}", **version), new, vars={"v": 2})
    bench.succeed("clean", "--orphans")
    bench.succeed("--run-id", "two")
    page = report(bench)
    text = page.text("changes")
    assert "vars.v: 1 -> 2" in text and "stage gone: gone" in text
    assert page.row("changes", "new")[1:] == ["no earlier commit", "out/new.txt: new, 1 byte"]
    made_from, outputs = page.row("changes", "b")[1:]
    assert "command.argv" in made_from and "program version: v1 -> v2" in made_from and outputs == "same bytes"
    assert "a" not in {row[0] for row in page.rows("changes")}, "nothing of it changed"


def test_instances_of_a_template_are_counted(bench) -> None:
    for name in "abc":
        bench.write(f"in/{name}", name)
    copy = {"command": ["cp", "{inputs.x}", "{outputs.out}"], "inputs": {"x": "in/{each.n}"}}
    bench.define({"name": "copy", "each": {"n": ["a", "b", "c"]}, **copy, "outputs": {"out": "w/{each.n}"}})
    bench.succeed()
    bench.write("in/a", "other")
    bench.succeed()
    assert report(bench).row("changes", "copy (3 instances)")[1:] == ["inputs changed (1)", "1 of 3 changed"]


def test_a_run_with_nothing_to_do_changed_nothing(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(*stages())
    bench.succeed()
    bench.succeed()
    assert "no stage was made from anything else, and no output has other bytes" in report(bench).text("changes")
    bench.succeed("-f")
    assert "no stage was made from anything else" in report(bench).text("changes"), "it ran again, to the same bytes"


def test_a_stage_that_failed_shows_what_changed_too(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(*stages())
    bench.succeed()
    bench.define(*stages(f"{COPY}; exit 3"))
    bench.run()
    assert "command.argv" in report(bench).row("changes", "b")[1]


def scores(bench: PipelineBench, content: str, **fields: object) -> None:
    bench.write("scores.json", content)
    results = {"results": {"out": {"title": "Scores"}}}
    bench.define(
        {"name": "a", "command": ["cp", "{inputs.x}", "{outputs.out}"], "inputs": {"x": "scores.json"},
         "outputs": {"out": "w/a.json"}, **results, **fields}
    )  # fmt: skip


def test_numbers_in_json_results_are_shown_then_and_now(bench) -> None:
    scores(bench, '{"auc": 0.91, "n": 120, "same": 5, "gone": 1, "model": "x", "yes": true}')
    bench.succeed()
    scores(bench, '{"auc": 0.875, "n": 121, "same": 5, "new": 1e-7, "model": "y", "yes": false}')
    bench.succeed()
    rows = [row[1:] for row in report(bench).rows("changes") if row[0] == "a" and len(row) == 5]
    changed = [["auc", "0.91", "0.875"], ["gone", "1", ""], ["n", "120", "121"], ["new", "", "1e-07"]]
    assert rows == [["w/a.json", *change] for change in changed]
    bench.succeed("verify")


def test_numbers_are_those_of_the_last_success_and_not_of_what_is_on_disk(bench) -> None:
    scores(bench, '{"auc": 1}')
    bench.succeed()
    scores(bench, '{"auc": 2}', timeoutSeconds=60)
    blocked = shell("b", "exit 3", inputs={"x": "w/a.json"})
    bench.define(*json.loads(bench.spec.read_text())["stages"], blocked)
    assert bench.run().returncode == 1
    scores(bench, '{"auc": 3}')
    bench.succeed()
    bench.write("w/a.json", '{"auc": 4}')
    assert ["a", "w/a.json", "auc", "1", "3"] in report(bench).rows("changes")


@pytest.mark.full
def test_numbers_of_what_is_not_the_committed_result_are_not_kept(bench) -> None:
    scores(bench, '{"auc": 1}')
    bench.succeed()
    scores(bench, '{"auc": 2}')
    meddles = shell("b", """printf '{"auc": 9}' >w/a.json; echo >$PIPELINE_OUTPUT_OUT""", inputs={"x": "w/a.json"})
    bench.define(*json.loads(bench.spec.read_text())["stages"], meddles)
    bench.run()
    assert bench.read("w/a.json") == b'{"auc": 9}' and "results" not in bench.metrics()["stages"]["a"]


@pytest.mark.full_after(2)
@pytest.mark.parametrize(
    "content", ["[1]", "{", '{"a": NaN}', "[" * 60_000, '{"a": "x"}', '{"\\ud800": 1}', '{"a": 1e999}', " " * 70_000]
)
def test_a_result_that_is_no_object_of_numbers_fails_nothing(bench, content) -> None:
    scores(bench, content)
    bench.succeed()
    scores(bench, content + " ")
    bench.succeed()
    bench.succeed("verify")
    assert "Numbers in results" not in report(bench).text("changes")


@pytest.mark.full
def test_what_was_pruned_is_not_known(bench) -> None:
    bench.write("in.txt", "x\n")
    bench.define(*stages())
    bench.succeed("--run-id", "one")
    bench.succeed("--run-id", "none")
    bench.succeed("prune", "--keep", "1")
    bench.write("in.txt", "y\n")
    bench.succeed("--run-id", "two")
    assert report(bench).row("changes", "a")[1:] == ["not known: the log of its earlier commit was pruned", ""]
