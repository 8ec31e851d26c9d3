"""An input may name an output of another stage: `{outputs.trim.clean}`. Of a template, it means what agrees with it."""

from __future__ import annotations

import json

import pytest

CAT = ["cat", "{inputs.x}"]


def cat(name: str, source: object, to: str, **fields: object) -> dict[str, object]:
    return {"name": name, "command": CAT, "inputs": {"x": source}, "outputs": {"o": to}, "stdout": "o", **fields}


UNITS = {"rows": "units.csv", "key": ["sample", "lane"]}
TRIM = cat("trim", "in/{each.sample}{each.lane}.txt", "work/{each.sample}-{each.lane}.txt", each=UNITS)
MERGE = cat("merge", "{outputs.trim.o}", "out/{each.sample}.txt", each={"rows": "units.csv"})
ALL = cat("all", "{outputs.merge.o}", "all.txt")


@pytest.fixture
def units(bench):
    bench.write("units.csv", "sample,lane\na,2\na,1\nb,1\n")
    for name in ("a1", "a2", "b1", "c1"):
        bench.write(f"in/{name}.txt", f"{name}\n")
    return bench


def test_lanes_meet_in_their_sample_and_samples_in_the_end(units):
    units.define(ALL, MERGE, TRIM)
    units.succeed()
    assert units.read("out/a.txt") == b"a1\na2\n"
    assert units.read("all.txt") == b"a1\na2\nb1\n"
    assert units.skips_everything()
    units.write("in/b1.txt", "new\n")
    units.succeed()
    assert {record["data"]["stage"] for record in units.records("attempt.started")[6:]} == {
        "trim@b,1",
        "merge@b",
        "all",
    }


def test_references_order_the_stages_and_the_spec_on_record_has_paths(units):
    units.define(ALL, MERGE, TRIM)
    units.succeed("run", "merge@a")
    assert not units.exists("out/b.txt") and units.exists("out/a.txt")
    spec = json.loads(units.records("run.start")[0]["data"]["spec"])
    assert spec["stages"][0]["inputs"] == {"x": ["out/a.txt", "out/b.txt"]}
    assert spec["stages"][1]["inputs"] == {"x": ["work/a-1.txt", "work/a-2.txt"]}
    assert spec["stages"][2]["inputs"] == {"x": "work/b-1.txt"}


def test_plan_and_graph_say_what_a_reference_means(units):
    units.define(ALL, MERGE, TRIM)
    lines = units.succeed("plan", "-v").stdout.splitlines()
    shown = [(lines[number - 1].split()[0], line.strip()) for number, line in enumerate(lines) if " of " in line]
    assert shown == [
        ("merge@a", "x: 2 of 3 of trim, by sample"),
        ("merge@b", "x: 1 of 3 of trim, by sample"),
        ("all", "x: 2 of 2 of merge"),
    ]
    assert "by sample" not in units.succeed("plan").stdout
    assert units.succeed("graph").stdout.splitlines() == [
        "trim (3)",
        "merge (2)  <- trim (3)",
        "  x: 1 to 2 of 3 of trim, by sample",
        "all        <- merge (2)",
        "  x: 2 of 2 of merge",
    ]
    assert "  x: 2 of 3 of trim, by sample" in units.succeed("graph", "--expand").stdout.splitlines()
    assert " of " not in units.succeed("graph", "--format", "dot").stdout


def test_a_reference_that_nothing_agrees_with_is_missing_unless_it_is_optional(units):
    units.write("samples.csv", "sample\na\nc\n")
    merge = {**MERGE, "each": {"rows": "samples.csv"}}
    units.define(merge, TRIM)
    for verb in ("validate", "run"):
        done = units.run(verb)
        assert done.returncode == 5
        message = (
            '#/stages/0/inputs/x: no instance of "trim" has sample "c"\nhint: if it may be empty, list it in "optional"'
        )
        assert message in done.stderr
    units.define({**merge, "optional": ["x"], "command": ["sh", "-c", 'cat "$@" </dev/null', "sh", "{inputs.x}"]}, TRIM)
    units.succeed()
    assert (units.read("out/a.txt"), units.read("out/c.txt")) == (b"a1\na2\n", b"")
    units.define({**merge, "inputs": {"x": ["in/c1.txt", "{outputs.trim.o}"]}}, TRIM)
    assert '#/stages/0/inputs/x/1: no instance of "trim" has sample "c"' in units.run().stderr
    units.write("samples.csv", "sample\na\nb\n")
    units.succeed()
    assert units.read("out/a.txt") == b"c1\na1\na2\n"


def test_no_common_name_is_a_warning(units):
    units.define(TRIM, {**MERGE, "each": {"contig": ["1"]}, "outputs": {"o": "out/{each.contig}.txt"}})
    done = units.succeed()
    assert (
        '#/stages/1/inputs/x: {outputs.trim.o} means all instances of "trim": no name is common to both' in done.stderr
    )
    assert units.read("out/1.txt") == b"a1\na2\nb1\n"


def test_a_reference_begins_a_path_in_a_directory(units):
    index = {
        "name": "index",
        "command": ["sh", "-c", 'mkdir "$1" && echo 1 >"$1/1.fa" && echo 2 >"$1/2.fa"', "sh", "{outputs.dir}"],
        "outputs": {"dir": "ref[1]/"},
    }
    units.define(
        cat("glob", "{outputs.index.dir}*.fa", "glob.txt"), cat("one", "{outputs.index.dir}2.fa", "1.txt"), index
    )
    units.succeed()
    assert (units.read("glob.txt"), units.read("1.txt")) == (b"1\n2\n", b"2\n")
    assert units.skips_everything()


def test_a_template_whose_table_is_missing_blocks_the_readers_of_its_outputs(units):
    (units.root / "units.csv").unlink()
    units.define(ALL, cat("merge", "{outputs.trim.o}", "out/{each.sample}.txt", each={"sample": ["a"]}), TRIM)
    done = units.run("run", "-k")
    assert done.returncode == 5 and "units.csv: no such table file" in done.stderr
    plan = {stage["stage"]: stage["decision"] for stage in units.json("plan")["stages"]}
    assert plan == {"trim": "blocked", "merge@a": "blocked", "all": "blocked"}
    assert "names no file" not in done.stderr


@pytest.mark.parametrize(
    ("each", "what"),
    [
        ({"rows": "{outputs.merge.o}x"}, '/rows: "{outputs.merge.o}x" is more than a reference'),
        ({"rows": "{outputs.trim.o}"}, "/rows: {outputs.trim.o}: no stage or instance named"),
        ({"s": "{outputs.merge.o}*.txt"}, "/s: {outputs.merge.o} means 2 outputs"),
        ({"s": "x/{outputs.merge.o}*"}, '/s: "x/{outputs.merge.o}*" has no reference that can be resolved'),
    ],
)
def test_a_reference_in_each_that_means_no_table_and_no_directory_is_refused(units, each, what):
    units.define(cat("last", "in/a1.txt", "last/{each.s}", each=each), MERGE, TRIM)
    done = units.run("validate")
    assert done.returncode == 2 and f"#/stages/0/each{what}" in done.stderr


def test_a_cycle_of_references_is_refused(units):
    units.define(cat("one", "{outputs.two.o}", "1.txt"), cat("two", "{outputs.one.o}", "2.txt"))
    done = units.run("validate")
    assert done.returncode == 2 and "a cycle: one -> two -> one" in done.stderr


def test_a_command_names_its_own_outputs_only(units):
    units.define({**ALL, "command": ["cat", "{outputs.merge.o}"]}, MERGE, TRIM)
    done = units.run("validate")
    assert done.returncode == 2
    assert (
        "#/stages/0/command/1: {outputs.merge.o} is an output of a stage\nhint: declare it as an input" in done.stderr
    )
