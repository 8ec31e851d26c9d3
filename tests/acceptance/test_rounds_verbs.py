"""What each verb says of instances that only a run knows, and which of them a run can be told to run."""

from __future__ import annotations

import pytest
from each_stages import planned, ran

ONLY_HEADER = "name\n"


def table(name: str = "list", source: str = "names.tsv", to: str = "w/names.tsv", **fields: object):
    return {
        "name": name, "command": ["cat"], "stdin": "names", "stdout": "table", "inputs": {"names": source},
        "outputs": {"table": to}, **fields,
    }  # fmt: skip


def call(name: str = "call", rows: str = "{outputs.list.table}", to: str = "calls/{each.name}", **fields: object):
    return {
        "name": name, "each": {"rows": rows}, "command": ["cat"], "stdin": "x", "stdout": "o",
        "inputs": {"x": "in/{each.name}"}, "outputs": {"o": to}, **fields,
    }  # fmt: skip


def gather(source: str | list[str] = "calls/*", to: str = "all.txt", **fields: object):
    return {
        "name": "all", "command": ["cat", "{inputs.x}"], "stdout": "o", "inputs": {"x": source},
        "outputs": {"o": to}, **fields,
    }  # fmt: skip


def names(bench, *values: str) -> None:
    """Let the source list these names."""
    bench.write("names.tsv", "".join(f"{name}\n" for name in ("name", *values)))
    for value in values:
        bench.write(f"in/{value}", f"{value}\n")


@pytest.fixture
def rounds(bench):
    """A table of two names, a call for each, and a gather; nothing has run."""
    names(bench, "a", "b")
    bench.define(table(), call(), gather())
    return bench


# ---- selection -------------------------------------------------------------------------------------------------------


def test_an_instance_that_the_last_table_lacks_is_looked_for_in_the_next_one(rounds):
    rounds.succeed()
    rounds.define(table(), call(params={"p": 0}))
    names(rounds, "a", "b", "c")
    words = ("call@c", "--param", "call@c.p=1")
    assert planned(rounds, *words) == {"list": "run", "call": "depends"}
    assert "as many as list will say (2 last time)" in rounds.succeed("explain", "call@c").stdout
    assert ran(rounds, *words) == ["call@c", "list"]
    assert planned(rounds, *words) == {"list": "skip", "call@c": "skip"}


def test_a_param_of_an_instance_that_is_not_known_may_have_dots_and_must_be_declared(rounds):
    names(rounds, "GL1.2")
    rounds.define(table(), call(params={"x.y": 0}))
    assert ran(rounds, "--param", "call@GL1.2.x.y=7") == ["call@GL1.2", "list"]
    assert planned(rounds, "--param", "call@GL1.2.x.y=7")["call@GL1.2"] == "skip"
    done = rounds.run("plan", "--param", "call@GL1.3.y=7")
    assert done.returncode == 2 and 'stage "call@GL1.3" has no parameter "y"' in done.stderr


def test_an_instance_that_is_gone_fails_the_run_after_its_source_ran(rounds):
    rounds.succeed()
    names(rounds, "a")
    done = rounds.run("call@b")
    assert done.returncode == 5 and "no stage named 'call@b'" in done.stderr.replace('"', "'")
    assert [each["data"]["stage"] for each in rounds.records("attempt.started")][4:] == ["list"]


@pytest.mark.parametrize("words", [("run", "call@c"), ("plan", "call@c"), ("explain", "call@c"), ("log", "call@c"),
                                   ("run", "--param", "call@c.p=1")])  # fmt: skip
def test_an_instance_that_an_up_to_date_table_lacks_is_refused_before_anything_runs(rounds, words):
    rounds.define(table(), call(params={"p": 0}))
    rounds.succeed()
    before = rounds.records()
    done = rounds.run(*words)
    assert done.returncode == 2 and 'no stage named "call@c"' in done.stderr and "did you mean" in done.stderr
    assert rounds.records() == before


def test_what_is_selected_waits_for_a_table_that_was_empty(rounds):
    names(rounds)
    rounds.write("x.txt", "x\n")
    rounds.define(table(), call(mayBeEmpty=True), gather(["x.txt", "calls/*"]))
    rounds.succeed()
    names(rounds, "a", "b")
    assert planned(rounds, "all") == {"list": "run", "call": "depends", "all": "depends"}
    assert ran(rounds, "call@b") == ["call@b", "list"]
    names(rounds)
    rounds.succeed()
    names(rounds, "a")
    assert ran(rounds, "call") == ["call@a", "list"]
    names(rounds)
    rounds.succeed()
    names(rounds, "b")
    assert ran(rounds, "all") == ["all", "list"]
    assert rounds.read("all.txt") == b"x\nb\n"


# ---- while the source is not up to date ------------------------------------------------------------------------------


def test_explain_says_what_an_instance_that_is_not_known_waits_for(rounds):
    for name in ("call", "call@a"):
        assert "call: depends, as many as list will say" in rounds.succeed("explain", name).stdout


def test_outputs_of_an_open_template_are_no_orphans_whatever_the_last_table_said(rounds):
    rounds.succeed()
    names(rounds, "a")
    rounds.succeed()
    assert '"calls/b" is an orphan' in rounds.succeed("status").stderr
    names(rounds, "a", "b", "c")
    for verb in ("plan", "status"):
        assert "orphan" not in rounds.succeed(verb).stderr
    assert rounds.json("status")["undeclared"] == []
    assert "orphan" not in rounds.succeed().stderr


# ---- faults that only values have ------------------------------------------------------------------------------------


def test_code_that_is_refused_fails_its_template_alone_until_the_source_makes_another_table(rounds):
    rounds.write("a.py", "import os, pathlib\npathlib.Path(os.environ['PIPELINE_OUTPUT_O']).write_text('made')\n")
    rounds.write("b.py", "import socket\n")
    code = {"name": "code", "each": {"rows": "w/names.tsv"}, "processor": "{each.name}.py",
            "outputs": {"o": "code/{each.name}"}}  # fmt: skip
    late = table("late", to="late.tsv", needs=["all"])
    rounds.define(table(), code, call(), gather(), late, call("last", rows="late.tsv", to="last/{each.name}"))
    done = rounds.run("-k")
    assert done.returncode == 4 and "stage code@b imports a banned module: b.py:1: import socket" in done.stderr
    assert not rounds.exists("code/a") and rounds.read("all.txt") == b"a\nb\n" and rounds.exists("last/b")
    assert rounds.run("plan").returncode == rounds.run("-k").returncode == 4
    for verb in ("log", "runs", "graph", "export", "report"):
        assert rounds.run(verb, *(["-o", str(rounds.root / "r.html")] if verb == "report" else [])).returncode == 0
    names(rounds, "a")
    assert planned(rounds)["code"] == "depends"
    rounds.succeed()
    assert rounds.read("code/a") == b"made"


@pytest.mark.parametrize("listed", [("a", "b\tx"), ()])
def test_no_verb_that_looks_back_fails_over_a_bad_table(rounds, listed):
    rounds.succeed()
    rounds.write("names.tsv", "".join(f"{name}\n" for name in ("name", *listed)))
    assert rounds.run().returncode == 5
    report = str(rounds.root / "report.html")
    for words in (["graph"], ["runs"], ["log"], ["log", "call@a"], ["export"], ["report", "-o", report], ["status"],
                  ["who", str(rounds.root / "calls/a")], ["prune", "--keep", "1"]):  # fmt: skip
        done = rounds.run(*words)
        assert done.returncode == 0, (words, done.stderr)
    assert rounds.run("verify", "--outputs").returncode == 3  # the run has not succeeded
    for words in (["plan"], ["validate"], ["explain", "call@a"], ["run"], ["clean", "--orphans", "--dry-run"]):
        done = rounds.run(*words)
        assert done.returncode == 5 and "#/stages/1/each/rows: w/names.tsv" in done.stderr, words
    entry = rounds.json("plan")["stages"][1]
    assert (entry["stage"], entry["decision"]) == ("call", "blocked")
    assert rounds.json("status")["undeclared"] == [] and rounds.exists("calls/b")
    names(rounds, "b")
    assert ran(rounds) == ["all", "list"]
    assert rounds.read("all.txt") == b"b\n"


def test_a_gather_has_no_bytes_of_values_that_vanished_in_the_same_run(rounds):
    rounds.succeed()
    names(rounds, "b", "c")
    done = rounds.succeed()
    assert rounds.read("all.txt") == b"b\nc\n"
    assert '"calls/a" is an orphan' in done.stderr
    note = rounds.run("verify", "--outputs").stdout + rounds.run("verify", "--outputs").stderr
    assert "calls/a: is an orphan" in note
    assert rounds.json("status")["undeclared"] == ["calls/a"]
    assert "orphan" in rounds.succeed("who", str(rounds.root / "calls/a")).stdout
    assert rounds.succeed("clean", "--orphans", "--dry-run").stdout == "would remove calls/a\n"


def test_another_order_of_the_rows_runs_nothing_but_the_source(rounds):
    rounds.succeed()
    rounds.write("names.tsv", "name\nb\na\n")
    assert ran(rounds) == ["list"]
    assert rounds.read("all.txt") == b"a\nb\n"
