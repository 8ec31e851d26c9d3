"""Instances that only a run knows: a stage makes the table of an `each`, or its directory, and the same run goes on."""

from __future__ import annotations

import json
import signal

import pytest
from each_stages import planned, ran
from pipeline_bench import ROOT, wait_for

LIST = ["sh", "-c", 'echo name; cat "$PIPELINE_INPUT_NAMES"']
HELD = "as many as list will say"


def listing(name: str = "list", source: str = "names.txt", to: str = "w/names.tsv", **fields: object):
    return {
        "name": name, "command": LIST, "stdout": "table", "inputs": {"names": source}, "outputs": {"table": to},
        **fields,
    }  # fmt: skip


def call(name: str = "call", rows: str = "w/names.tsv", to: str = "calls/{each.name}.txt", **fields: object):
    return {
        "name": name, "each": {"rows": rows}, "command": ["sh", "-c", "echo {each.name}; cat"], "stdin": "x",
        "stdout": "o", "inputs": {"x": "x.txt"}, "outputs": {"o": to}, **fields,
    }  # fmt: skip


def gather(source: str = "{outputs.call.o}", to: str = "all.txt", **fields: object):
    return {
        "name": "all", "command": ["cat", "{inputs.x}"], "stdout": "o", "inputs": {"x": source},
        "outputs": {"o": to}, **fields,
    }  # fmt: skip


@pytest.fixture
def rounds(bench):
    """A list of names that a stage makes into a table, a call for each, and a gather; nothing has run."""
    bench.write("x.txt", "x\n")
    bench.write("names.txt", "a\nb\n")
    bench.define(listing(), call(), gather())
    return bench


def why(bench) -> str:
    """What `plan` says of the template."""
    lines = bench.succeed("plan").stdout.splitlines()
    return next(line for line in lines if line.startswith("call "))


# ---- one run ---------------------------------------------------------------------------------------------------------


def test_one_run_makes_the_table_and_runs_once_for_each_of_its_rows(rounds):
    assert planned(rounds) == {"list": "run", "call": "depends", "all": "run"}
    assert f"{HELD}" in why(rounds)
    assert f"call ({HELD})" in rounds.succeed("graph").stdout
    assert ran(rounds) == ["all", "call@a", "call@b", "list"]
    assert rounds.read("all.txt") == b"a\nx\nb\nx\n"
    assert planned(rounds) == {"list": "skip", "call@a": "skip", "call@b": "skip", "all": "skip"}
    assert "nothing to do, 4 up to date" in rounds.succeed().stdout
    assert rounds.run("verify", "--outputs").returncode == 0


def test_a_value_more_runs_once_and_a_value_fewer_is_in_no_result(rounds):
    rounds.succeed()
    rounds.write("names.txt", "a\nb\nc\n")
    assert planned(rounds) == {"list": "run", "call": "depends", "all": "depends"}
    assert f"{HELD} (2 last time)" in why(rounds)
    assert ran(rounds) == ["all", "call@c", "list"]
    rounds.write("names.txt", "c\na\n")
    assert ran(rounds) == ["all", "list"]
    assert rounds.read("all.txt") == b"a\nx\nc\nx\n"
    assert "calls/b.txt" in rounds.succeed("status").stderr
    rounds.succeed("clean", "--orphans")
    assert not rounds.exists("calls/b.txt") and rounds.exists("calls/a.txt")


def test_the_same_table_made_again_runs_no_instance(rounds):
    rounds.define(listing(params={"n": 1}), call(), gather())
    rounds.succeed()
    rounds.define(listing(params={"n": 2}), call(), gather())
    assert ran(rounds) == ["list"]


def test_a_table_that_was_edited_is_made_again_before_anything_reads_it(rounds):
    rounds.succeed()
    rounds.write("w/names.tsv", "name\nz\n")
    assert planned(rounds)["call"] == "depends"
    assert ran(rounds) == ["list"]
    assert not rounds.exists("calls/z.txt")


def test_plan_and_status_name_the_source_and_how_many_there_were(rounds):
    rounds.succeed()
    rounds.write("names.txt", "a\n")
    for verb in ("plan", "status"):
        value = rounds.json(verb)
        entry = next(each for each in value["stages"] if each["stage"] == "call")
        assert (entry["decision"], entry["source"], entry["lastInstances"]) == ("depends", "list", 2)
    assert "at least 2 stages" in rounds.succeed("validate").stdout


def test_what_the_run_learned_is_on_record_before_its_first_instance(rounds):
    rounds.succeed()
    records = rounds.records()
    names = [record["ev"] for record in records]
    place = names.index("run.expanded")
    assert {record["data"]["stage"] for record in records[:place] if "stage" in record["data"]} == {"list"}
    stages = json.loads(records[place]["data"]["spec"])["stages"]
    assert [stage["name"] for stage in stages] == ["list", "call@a", "call@b", "all"]


NOTES = """import runner.hookspecs as it

@it.hookimpl
def offpipe_run_started(stages): note(stages)

@it.hookimpl
def offpipe_run_expanded(templates, stages): note(*templates, stages)

def note(*values):
    with open(__file__ + ".txt", "a") as file: print(*values, file=file)
"""


def test_a_plugin_hears_of_each_expansion_and_of_the_stages_that_are_known(rounds):
    rounds.define(listing(), call(), call("deep", "{outputs.call@b.o}", "deep/{each.b}.txt", command=["cat"]), gather())
    rounds.write("site/notes.py", NOTES)
    rounds.write("site/notes-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: notes\nVersion: 1\n")
    rounds.write("site/notes-1.dist-info/entry_points.txt", "[offpipe]\nnotes = notes\n")
    assert rounds.run(env={"PYTHONPATH": f"{ROOT}:{rounds.root}/site"}).returncode == 0
    assert rounds.read("site/notes.py.txt").decode().splitlines() == ["2", "call 4", "deep 5"]


def test_the_example_in_the_reference_runs(bench):
    page = (ROOT / "docs/spec.md").read_text("utf-8").partition("### Instances that only a run knows\n")[2]
    bench.spec.write_text(page.partition("```json\n")[2].partition("```")[0])
    bench.write("genome.fai", "chr1\t248\nchr2\t242\n")
    bench.write("reads.txt", "chr2 x\nchr1 y\nchr2 z\n")
    assert "as many as contigs will say" in bench.succeed("plan").stdout
    bench.succeed()
    assert bench.read("all.txt") == b"chr1 y\nchr2 x\nchr2 z\n"


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_a_source_that_fails_blocks_the_template_and_keeps_what_it_made(rounds):
    rounds.succeed()
    rounds.define(listing(command=["false"]), call(), gather())
    done = rounds.run()
    assert done.returncode == 1
    assert planned(rounds) == {"list": "run", "call": "depends", "all": "depends"}
    assert "orphan" not in rounds.run("status").stderr
    rounds.succeed("clean", "--orphans")
    assert rounds.exists("calls/a.txt")


def test_a_source_is_forced_once_in_an_invocation(rounds):
    rounds.succeed()
    assert ran(rounds, "-f") == ["all", "call@a", "call@b", "list"]


def test_two_templates_may_have_one_table_and_one_may_hang_on_the_instances_of_another(rounds):
    again = listing("again", "all.txt", "w/again.tsv", command=["sh", "-c", "echo name; grep -v x all.txt"])
    rounds.define(
        listing(), call(), call("other", to="others/{each.name}.txt"), gather(), again,
        call("last", "{outputs.again.table}", "last/{each.name}.txt"), call("more", to="more/{each.name}", each="last"),
    )  # fmt: skip
    rounds.succeed()
    for directory in ("calls", "others", "last"):
        assert sorted(path.name for path in (rounds.root / directory).iterdir()) == ["a.txt", "b.txt"]
    rounds.write("names.txt", "b\nd\n")
    rounds.succeed()
    assert rounds.exists("more/d") and "more/a" in rounds.succeed("status").stderr
    assert len(rounds.records("run.expanded")) == 2 + 2


def test_a_list_of_forms_multiplies_the_rows_of_a_made_table(rounds):
    each = [{"n": [1, 2]}, {"rows": "{outputs.list.table}"}]
    rounds.define(listing(), call(each=each, to="calls/{each.name}.{each.n}"))
    rounds.succeed()
    assert sorted(path.name for path in (rounds.root / "calls").iterdir()) == ["a.1", "a.2", "b.1", "b.2"]


def test_an_open_template_may_read_what_lies_beside_its_outputs(rounds):
    rounds.write("s/a.bam", "a\n")
    rounds.write("s/b.bam", "b\n")
    rounds.define(listing(), call(inputs={"x": "s/{each.name}.bam"}, to="s/{each.name}.sorted.bam"))
    rounds.succeed()
    assert rounds.read("s/b.sorted.bam") == b"b\nb\n"


def test_an_open_template_waits_for_what_a_stage_makes_at_one_of_its_paths(rounds):
    made = {"name": "made", "command": ["touch", "{outputs.o}"], "outputs": {"o": "in/b"}, "temporary": ["o"]}
    rounds.define(listing(), made, call(inputs={"x": "in/{each.name}"}, mayBeEmpty=True))
    rounds.write("names.txt", "b\n")
    assert ran(rounds) == ["call@b", "list", "made"]
    assert not rounds.exists("in/b")


def test_a_template_whose_table_is_made_from_its_own_instances_is_refused_with_the_cycle(rounds):
    rounds.define(listing(source="all.txt"), call(), gather())
    done = rounds.run("validate")
    assert done.returncode == 2 and "a cycle: list -> call -> all -> list" in done.stderr


SPLIT = {
    "name": "split", "each": {"s": ["a", "b"]}, "inputs": {"x": "{each.s}.txt"}, "outputs": {"dir": "parts/{each.s}/"},
    "command": ["sh", "-c", 'mkdir "$PIPELINE_OUTPUT_DIR"; split -l1 {each.s}.txt "$PIPELINE_OUTPUT_DIR/p"'],
}  # fmt: skip
UPPER = {
    "name": "up", "each": ["split", {"part": "{outputs.split.dir}p*"}], "command": ["tr", "a-z", "A-Z"], "stdin": "x",
    "stdout": "o", "inputs": {"x": "{outputs.split.dir}p{each.part}"}, "outputs": {"o": "up/{each.s}/{each.part}"},
}  # fmt: skip
JOIN = {
    "name": "join", "each": "split", "command": ["cat", "{inputs.x}"], "stdout": "o", "inputs": {"x": "{outputs.up.o}"},
    "outputs": {"o": "joined/{each.s}"},
}  # fmt: skip


def test_a_scatter_in_a_scatter_finds_the_files_of_each_directory(bench):
    bench.write("a.txt", "one\ntwo\n")
    bench.write("b.txt", "three\n")
    bench.define(SPLIT, UPPER, JOIN)
    bench.succeed()
    assert (bench.read("joined/a"), bench.read("joined/b")) == (b"ONE\nTWO\n", b"THREE\n")
    assert len(bench.records("run.expanded")) == 1
    bench.write("b.txt", "three\nfour\n")
    assert ran(bench) == ["join@b", "split@b", "up@b,ab"]
    bench.write("parts/a/pzz", "strange\n")
    assert ran(bench) == ["split@a"]
    assert not bench.exists("up/a/zz")


def test_a_file_deep_in_a_made_directory_that_is_gone_or_new_gives_no_other_values(bench):
    bench.write("a.txt", "one\ntwo\n")
    deep = 'mkdir -p "$PIPELINE_OUTPUT_DIR/q"; split -l1 a.txt "$PIPELINE_OUTPUT_DIR/q/p"'
    split = {**SPLIT, "each": {"s": ["a"]}, "command": ["sh", "-c", deep]}
    upper = {**UPPER, "each": {"part": "{outputs.split@a.dir}q/p*"}, "outputs": {"o": "up/{each.part}"}}
    bench.define(split, {**upper, "inputs": {"x": "parts/a/q/p{each.part}"}}, JOIN)
    bench.succeed()
    (bench.root / "parts/a/q/pab").unlink()
    bench.succeed("clean", "--orphans")
    assert bench.exists("up/ab")
    assert ran(bench) == ["split@a"]
    bench.write("parts/a/q/pzz", "strange\n")
    assert ran(bench) == ["split@a"]
    assert bench.read("joined/a") == b"ONE\nTWO\n" and not bench.exists("up/zz")


def test_a_name_in_a_made_directory_that_is_not_utf8_fails_the_template(bench):
    odd = 'mkdir "$PIPELINE_OUTPUT_DIR"; : > "$PIPELINE_OUTPUT_DIR/$(printf \'p\\377\')"'
    bench.define({**SPLIT, "each": {"s": ["a"]}, "inputs": {}, "command": ["sh", "-c", odd]}, UPPER)
    done = bench.run()
    assert done.returncode == 5 and "not UTF-8" in done.stderr, done.stderr
    assert bench.run("status").returncode in (0, 3) and bench.run("verify").returncode in (0, 3)


def test_a_pattern_in_a_directory_may_be_written_as_a_path(bench):
    bench.write("a.txt", "one\ntwo\n")
    split = {**SPLIT, "each": {"s": ["a"]}}
    bench.define(split, {**UPPER, "each": {"part": "parts/a/p*"}, "inputs": {"x": "parts/a/p{each.part}"},
                         "outputs": {"o": "up/{each.part}"}})  # fmt: skip
    bench.succeed()
    assert sorted(path.name for path in (bench.root / "up").iterdir()) == ["aa", "ab"]


# ---- beside other features -----------------------------------------------------------------------------------------


def test_a_temporary_output_stays_while_its_reader_is_open_and_is_made_again_for_a_new_instance(rounds):
    make = {"name": "make", "command": ["cp", "x.txt", "{outputs.t}"], "inputs": {"x": "x.txt"},
            "outputs": {"t": "w/t"}, "temporary": ["t"]}  # fmt: skip
    rounds.define(listing(), make, call(inputs={"x": "{outputs.make.t}"}), gather())
    assert ran(rounds) == ["all", "call@a", "call@b", "list", "make"]
    assert not rounds.exists("w/t")
    rounds.write("names.txt", "a\nb\nc\n")
    assert ran(rounds) == ["all", "call@c", "list", "make"]
    assert not rounds.exists("w/t") and rounds.read("calls/c.txt") == b"c\nx\n"


def test_a_table_that_gives_values_cannot_be_temporary(rounds):
    rounds.define(listing(temporary=["table"]), call(), gather())
    done = rounds.run("validate")
    assert done.returncode == 2 and 'gives values to stage "call"' in done.stderr


def test_a_run_expands_the_spec_that_it_read_at_its_start(rounds):
    rounds.define(listing(command=["sh", "-c", "echo name; cat; until [ -e go ]; do sleep 0.05; done"], stdin="names"),
                  call(), gather())  # fmt: skip
    process = rounds.start()
    wait_for(lambda: rounds.records("attempt.started"))
    rounds.define(listing(), call(to="elsewhere/{each.name}.txt"), gather())
    rounds.write("go", "")
    assert process.wait() == 0
    assert rounds.exists("calls/a.txt") and not rounds.exists("elsewhere")


def test_status_of_a_run_at_work_says_what_it_waits_for(rounds):
    rounds.define(listing(command=["sh", "-c", "echo name; cat; until [ -e go ]; do sleep 0.05; done"], stdin="names"),
                  call(), gather())  # fmt: skip
    process = rounds.start()
    wait_for(lambda: rounds.records("attempt.started"))
    assert f"{HELD}" in rounds.run("status").stdout
    rounds.write("go", "")
    assert process.wait() == 0


def test_a_spec_on_record_that_was_changed_is_found(rounds):
    rounds.succeed()
    log = next((rounds.root / "state").glob("audit_2*.jsonl"))
    log.write_bytes(log.read_bytes().replace(b"calls/a.txt", b"calls/z.txt", 1))
    assert rounds.run("verify").returncode == 6


def test_the_report_shows_the_instances_that_the_run_learned_of(rounds):
    rounds.succeed()
    rounds.succeed("report", "-o", str(rounds.root / "page.html"))
    assert "call@a" in rounds.read("page.html").decode()


# Fails once, after a checkpoint of three bytes. The next attempt resumes from it.
SLOW = """
test -e "$PIPELINE_OUTPUT_O" || echo begun > "$PIPELINE_OUTPUT_O"
test -e broken || exit 0
echo "{\\"v\\": 1, \\"key\\": \\"$PIPELINE_KEY\\", \\"outputs\\": {\\"o\\": {\\"length\\": 3}}}" > "$PIPELINE_PROGRESS"
exit 1
"""


def test_the_next_run_keeps_the_checkpoint_of_an_instance_while_its_template_is_open(rounds):
    slow = {**call(), "command": ["sh", "-c", SLOW]}
    del slow["stdin"], slow["stdout"]
    rounds.define(listing(), slow)
    rounds.write("names.txt", "a\n")
    rounds.write("broken", "")
    assert rounds.run().returncode == 1
    (rounds.root / "broken").unlink()
    rounds.define(listing(params={"makes": "the same"}), slow)
    assert planned(rounds) == {"list": "run", "call": "depends"}
    rounds.succeed()
    assert rounds.read("calls/a.txt") == b"beg"


# ---- faults of values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "fields", "what"),
    [
        ("a\na b\textra\n", {}, "w/names.tsv:3: has 2 cells"),
        ("a\nA\n", {}, "differs from a by case only"),
        ("a\nb\n", {"outputs": {"o": "calls/{vars.one}.txt"}}, "is already an output of"),
        ("x" * 250 + "\n", {}, "the name of the instance has 255 bytes, 200 at most"),
        ("", {}, "w/names.tsv: has no rows"),
    ],
)
def test_a_fault_of_its_values_fails_the_template_and_its_source_stands(rounds, names, fields, what):
    rounds.write("names.txt", names)
    rounds.define(listing(), call(**fields), gather(), vars={"one": "one"})
    done = rounds.run()
    assert done.returncode == 5 and what in done.stderr, done.stderr
    assert rounds.exists("w/names.tsv") and planned(rounds)["list"] == "skip"
    again = rounds.run()
    assert again.returncode == 5 and what in again.stderr
    for verb in ("log", "runs", "status", "graph", "verify"):
        assert rounds.run(verb).returncode in (0, 3), verb
    rounds.write("names.txt", "c\n")
    rounds.define(listing(), call(), gather())
    rounds.succeed()
    assert rounds.read("all.txt") == b"c\nx\n"


def test_a_later_expansion_takes_away_no_instance_that_is_at_work(rounds):
    rounds.write("later.txt", "a\n")
    slow = ["sh", "-c", "echo {each.name}; cat; until [ -e go ]; do sleep 0.05; done"]
    wait = ["sh", "-c", "echo name; cat later.txt; until [ -e w/started ]; do sleep 0.05; done"]
    rounds.define(
        listing(), call(command=slow), listing("list2", "later.txt", "w/later.tsv", command=wait),
        call("other", "w/later.tsv", "calls/{each.name}.txt"),
    )  # fmt: skip
    process = rounds.start("-k", "-j4")
    wait_for(lambda: sum(each["data"].get("stage", "").startswith("call@") for each in rounds.records()) == 2)
    rounds.write("w/started", "")
    wait_for(lambda: any(each["data"].get("stage") == "list2" for each in rounds.records("stage.commit")))
    wait_for(lambda: rounds.records("stage.finished"))
    rounds.write("go", "")
    assert process.wait() == 5
    assert rounds.read("calls/b.txt") == b"b\nx\n"
    assert {each["data"]["stage"] for each in rounds.records("stage.commit")} == {"list", "list2", "call@a", "call@b"}
    assert rounds.leftovers() == []


def test_with_keep_going_the_rest_goes_on_after_a_fault_of_values(rounds):
    rounds.write("names.txt", "a\nA\n")
    rest = {"name": "rest", "command": ["touch", "{outputs.o}"], "needs": ["list"], "outputs": {"o": "rest"}}
    rounds.define(listing(), call(), gather(), rest)
    assert rounds.run("-k").returncode == 5
    assert rounds.exists("rest")


def test_a_table_that_became_empty_may_be_if_the_template_says_so(rounds):
    rounds.define(listing(), call(mayBeEmpty=True), gather(["x.txt", "calls/*.txt"]))
    rounds.succeed()
    rounds.write("names.txt", "")
    assert ran(rounds) == ["all", "list"]
    assert rounds.read("all.txt") == b"x\n"
    assert "call: without instances" in rounds.succeed("plan").stdout


def test_an_instance_with_a_missing_input_fails_alone(rounds):
    rounds.write("in/a", "a\n")
    rounds.define(listing(), call(inputs={"x": "in/{each.name}"}))
    done = rounds.run("-k")
    assert done.returncode == 5 and '"in/b": no such file' in done.stderr
    assert rounds.read("calls/a.txt") == b"a\na\n"


def test_an_instance_that_a_run_learned_of_replaces_no_file_of_others(rounds):
    rounds.write("calls/b.txt", "mine\n")
    done = rounds.run("-k")
    assert done.returncode == 5 and "calls/b.txt" in done.stderr
    assert rounds.read("calls/b.txt") == b"mine\n" and rounds.exists("calls/a.txt")
    done = rounds.succeed()
    assert "a run replaces files that no stage is known to have made" in done.stderr


def test_code_that_only_a_value_names_is_checked_before_it_runs(rounds):
    rounds.write("bad.py", "import socket\n")
    rounds.write("names.txt", "bad\n")
    rounds.define(listing(), {"name": "call", "each": {"rows": "w/names.tsv"}, "processor": "{each.name}.py",
                              "outputs": {"o": "calls/{each.name}"}})  # fmt: skip
    done = rounds.run()
    assert done.returncode == 4 and "socket" in done.stderr
    assert rounds.run("plan").returncode == 4


# ---- selection -------------------------------------------------------------------------------------------------------


def test_an_instance_that_is_not_known_yet_can_be_selected(rounds):
    assert ran(rounds, "call@b") == ["call@b", "list"]
    assert planned(rounds)["call@a"] == "run"


def test_only_the_selected_instance_is_forced_and_gets_its_param(rounds):
    rounds.define(listing(), call(params={"p": 1}), gather())
    assert ran(rounds, "call@b", "-f", "--param", "call@b.p=2") == ["call@b", "list"]
    assert rounds.json("plan", "--param", "call@b.p=2")["stages"][2]["decision"] == "skip"


def test_an_instance_that_does_not_exist_then_fails_the_run(rounds):
    done = rounds.run("call@bb")
    assert done.returncode == 5 and 'no stage named "call@bb"' in done.stderr
    assert "did you mean" in done.stderr
    done = rounds.run("call@bb")
    assert done.returncode == 2 and "did you mean" in done.stderr


# ---- kills -----------------------------------------------------------------------------------------------------------


def test_a_run_that_was_killed_in_its_second_round_goes_on(rounds):
    rounds.define(listing(), call(command=["sh", "-c", "echo {each.name}; cat; until [ -e go ]; do sleep 0.05; done"]))
    process = rounds.start("-j2")
    wait_for(lambda: len(rounds.records("attempt.started")) == 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    rounds.write("go", "")
    assert ran(rounds) == ["call@a", "call@b"]
    assert rounds.read("calls/b.txt") == b"b\nx\n"
