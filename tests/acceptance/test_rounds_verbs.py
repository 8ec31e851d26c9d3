"""What each verb says of instances that only a run knows, and which of them a run can be told to run."""

from __future__ import annotations

import signal

import pytest
from each_stages import planned, ran
from pipeline_bench import wait_for

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


def test_last_time_counts_the_rows_of_the_last_table_and_no_orphans(rounds):
    rounds.succeed()
    names(rounds, "a")
    rounds.succeed()
    names(rounds, "a", "b", "c")
    assert rounds.json("plan")["stages"][1]["lastInstances"] == 1
    assert "as many as list will say (1 last time)" in rounds.succeed("status").stdout


def test_validate_judges_no_program_of_a_table_that_is_made_anew(rounds):
    rounds.define(table(), call(command=["{each.name}", "{inputs.x}"]))
    names(rounds, "cat", "no-such-program")
    done = rounds.run("-k")
    assert done.returncode == 2 and 'no program "no-such-program"' in done.stderr
    assert rounds.read("calls/cat") == b"cat\n"  # the other one failed alone
    assert rounds.run("validate").returncode == 2
    names(rounds, "cat")
    assert "valid, at least 1 stage" in rounds.succeed("validate").stdout
    assert ran(rounds) == ["list"]


# ---- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["source", "instances"])
def test_a_run_that_was_interrupted_goes_on(rounds, place):
    waits = {"command": ["sh", "-c", "until [ -e go ]; do sleep 0.02; done; cat"]}
    rounds.define(table(**(waits if place == "source" else {})), call(**(waits if place == "instances" else {})),
                  gather())  # fmt: skip
    process = rounds.start("-j2")
    count = 1 if place == "source" else 3
    wait_for(lambda: len(rounds.records("attempt.started")) == count)
    working = sorted(each["stage"] for each in rounds.json("status")["working"])
    assert working == {"source": ["list"], "instances": ["call@a", "call@b"]}[place]
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert planned(rounds)["list"] == ("run" if place == "source" else "skip")
    rounds.write("go", "")
    done = rounds.succeed()
    assert "goes on" in done.stderr and rounds.read("all.txt") == b"a\nb\n"
    assert rounds.run("verify", "--outputs").returncode == 0


def test_a_source_that_is_retried_is_expanded_once(rounds):
    script = 'cat; [ "$PIPELINE_ATTEMPT" = 2 ]'
    rounds.define(table(command=["sh", "-c", script], retry={"attempts": 2, "retryExitCodes": [1], "delaySeconds": 0}),
                  call(), gather())  # fmt: skip
    assert ran(rounds) == ["all", "call@a", "call@b", "list", "list"]
    assert len(rounds.records("run.expanded")) == 1


# ---- shapes ----------------------------------------------------------------------------------------------------------


def listing(name: str, source: str) -> dict[str, object]:
    """A stage that makes a table of the words in its inputs."""
    return {
        "name": name, "command": ["sh", "-c", 'echo name; cat "$@" | sort -u', "sh", "{inputs.x}"], "stdout": "table",
        "inputs": {"x": source}, "outputs": {"table": f"w/{name}.tsv"},
    }  # fmt: skip


def test_templates_hang_on_the_gathers_of_others_three_levels_deep(rounds):
    second = call("second", "w/list2.tsv", "second/{each.name}")
    third = call("third", "{outputs.list3.table}", "third/{each.name}")
    rounds.define(gather("{outputs.third.o}"), third, listing("list3", "second/*"), second,
                  listing("list2", "{outputs.call.o}"), call(), table())  # fmt: skip
    rounds.succeed()
    assert len(rounds.records("run.expanded")) == 3
    names(rounds, "b", "c")
    assert ran(rounds) == ["all", "call@c", "list", "list2", "list3", "second@c", "third@c"]
    assert rounds.read("all.txt") == b"b\nc\n"
    assert ran(rounds, "-f") == sorted(
        [
            "all",
            "list",
            "list2",
            "list3",
            *(f"{name}@{value}" for name in ("call", "second", "third") for value in "bc"),
        ]
    )


def test_open_templates_may_have_paths_in_common_and_a_clash_fails_one_of_them(rounds):
    rounds.write("others.tsv", "name\nc\n")
    rounds.write("in/c", "c\n")
    rounds.define(table(), table("others", "others.tsv", "w/others.tsv"), call(),
                  call("two", "w/others.tsv"), gather())  # fmt: skip
    rounds.succeed()
    assert rounds.read("all.txt") == b"a\nb\nc\n"
    rounds.write("others.tsv", "name\na\n")
    done = rounds.run("-k")
    assert done.returncode == 5
    assert 'two@a: "calls/a" is already an output of stage "call@a"' in done.stderr
    assert planned(rounds)["others"] == "skip" and planned(rounds)["two"] == "blocked"
    rounds.write("others.tsv", "name\nc\n")
    assert ran(rounds) == ["others"]


def test_an_input_that_an_open_template_could_make_is_missing_only_after_it_was_expanded(rounds):
    rounds.define(table(), call(), gather("calls/z"))
    assert planned(rounds) == {"list": "run", "call": "depends", "all": "run"}
    done = rounds.run("-k")
    assert done.returncode == 5 and '"calls/z": no such file' in done.stderr and rounds.exists("calls/a")
    names(rounds, "z")
    rounds.succeed()
    assert rounds.read("all.txt") == b"z\n"


def test_an_input_of_the_source_that_its_template_could_make_is_a_cycle(rounds):
    rounds.define(table(inputs={"names": "calls/seed"}), call())
    done = rounds.run("validate")
    assert done.returncode == 2 and "a cycle: list -> call -> list" in done.stderr


def test_a_renamed_template_takes_over_its_instances_once_they_are_known(rounds):
    rounds.succeed()
    names(rounds, "a", "b", "c")
    rounds.define(table(), call("ring"), gather())
    assert planned(rounds)["ring"] == "depends" and rounds.json("status")["undeclared"] == []
    assert ran(rounds) == ["all", "list", "ring@c"]
    assert [each["data"]["stage"] for each in rounds.records("stage.adopted")] == ["ring@a", "ring@b"]


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
