"""An optional input may be empty: then the stage gets no path in its place, and runs."""

from __future__ import annotations

import json

import pytest
from pipeline_bench import shell


def paired(mate: object = "in/{each.fq2}", **fields: object) -> dict[str, object]:
    script = 'out=$1 list=$2; shift 2; { printf "%s\\n" "$@" "[${PIPELINE_INPUT_MATE-unset}]"; cat "$list"; } >"$out"'
    return {
        "name": "map",
        "command": ["sh", "-c", script, "sh", "{outputs.out}", "{list.mate}", "{inputs.reads}", "{inputs.mate}"],
        "inputs": {"reads": "in/a.1.fq", "mate": mate},
        "outputs": {"out": "out/map.txt"},
        "optional": ["mate"],
        **fields,
    }


def printed(bench, path: str = "out/map.txt") -> list[str]:
    return bench.read(path).decode().splitlines()


@pytest.fixture
def reads(bench):
    bench.write("in/a.1.fq", "1\n")
    return bench


SHEET = {"rows": "sheet.csv"}


def test_an_empty_cell_of_a_table_is_no_word_no_line_and_an_empty_variable(reads):
    reads.write("in/a.2.fq", "2\n")
    reads.write("sheet.csv", "sample,fq2\na,a.2.fq\nb,\n")
    reads.define(paired(each=SHEET, outputs={"out": "out/{each.sample}.txt"}))
    reads.succeed()
    assert printed(reads, "out/a.txt") == ["in/a.1.fq", "in/a.2.fq", f"[{reads.root}/in/a.2.fq]", "in/a.2.fq"]
    assert printed(reads, "out/b.txt") == ["in/a.1.fq", "[]"]
    keyed = {
        record["data"]["stage"]: json.loads(record["data"]["components"]) for record in reads.records("stage.commit")
    }
    assert keyed["map@b"]["inputs"]["mate"] == []
    reads.write("sheet.csv", "sample,fq2\na,\nb,\n")
    assert [line.split()[:2] for line in reads.succeed("plan", "-v").stdout.splitlines()] == [
        ["map@a", "run"],
        ["map@b", "skip"],
    ]


@pytest.mark.parametrize(
    "mate", ["in/*.2.fq", ["in/*.2.fq"], ["in/*.2.fq", "{vars.none}"], "{vars.none}", "{vars.empty}", []]
)
def test_a_label_without_a_match_or_a_value_is_empty(reads, mate):
    reads.define(paired(mate), vars={"none": [], "empty": ""})
    reads.succeed()
    assert printed(reads) == ["in/a.1.fq", "[]"]
    assert reads.skips_everything()
    reads.succeed("validate")


def test_a_file_that_comes_later_is_noticed_even_after_runs_with_nothing_to_do(reads):
    reads.define(paired("mates/*.fq"))
    for _ in range(4):
        reads.succeed()
    reads.write("mates/x.fq", "2\n")
    assert "input mates/x.fq: new" in reads.succeed("plan").stdout
    reads.succeed()
    assert printed(reads)[1] == "mates/x.fq"
    (reads.root / "mates/x.fq").unlink()
    reads.succeed()
    assert printed(reads) == ["in/a.1.fq", "[]"]


def test_a_text_without_placeholders_must_have_its_file(reads):
    reads.define(paired("in/a.2.fq"))
    done = reads.run()
    assert done.returncode == 5 and '#/stages/0/inputs/mate: "in/a.2.fq": no such file' in done.stderr


def test_a_path_with_a_value_must_have_its_file(reads):
    reads.define(paired("in/{vars.dir}/x{vars.file}", optional=["mate"]), vars={"dir": "x", "file": ""})
    done = reads.run()
    assert done.returncode == 5 and '"in/x/x": no such file' in done.stderr


@pytest.mark.parametrize("mate", ["{vars.dir}/{vars.file}", ["in/{vars.dir}/{vars.file}"]])
def test_an_empty_last_value_never_makes_a_directory_of_a_path(reads, mate):
    values = {"dir": "in", "file": ""}
    reads.define(paired(mate), vars=values)
    done = reads.run()
    assert done.returncode == 2 and "is a directory, since its last value is empty\nhint: an optional" in done.stderr
    other = {"name": "other", "command": ["true"], "outputs": {"o": "out/other"}}
    reads.define({**paired(mate), "if": "{vars.file}"}, other, vars=values)
    reads.succeed("validate")


def test_every_other_label_needs_a_file(reads):
    reads.define(paired("in/*.2.fq", optional=[]))
    done = reads.run()
    assert done.returncode == 5 and "#/stages/0/inputs/mate: no file matches" in done.stderr
    reads.define(paired("{vars.none}", optional=["reads"]), vars={"none": []})
    done = reads.run()
    assert done.returncode == 5
    assert '#/stages/0/inputs/mate: names no file\nhint: if it may be empty, list it in "optional"' in done.stderr


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optional": ["mate", "maet"]}, '/optional/1: no input named "maet"\nhint: did you mean "mate"?'),
        ({"optional": ["mate"], "stdin": "mate"}, '/optional/0: "mate" is standard input, which is always one file'),
        (
            {"command": ["x", "--mate={inputs.mate}"]},
            '/command/1: "--mate={inputs.mate}" needs {inputs.mate}, which is',
        ),
        ({"command": ["{inputs.mate}"]}, '/command/0: "{inputs.mate}" needs {inputs.mate}, which is optional'),
        ({"optional": [], "inputs": {"mate": []}}, "/inputs/mate: is empty\nhint: if it may be empty, list it in"),
        ({"optional": "mate"}, '/optional: must be an array, not "mate"'),
    ],
)
def test_a_mistake_has_its_place(reads, fields, message):
    reads.define(paired("in/*.2.fq", **fields))
    done = reads.run("validate")
    assert done.returncode == 2 and f"#/stages/0{message}" in done.stderr, done.stderr


def test_the_sdk_reads_an_empty_input_as_no_lines(reads):
    stage = {
        "name": "copy",
        "processor": "offpipe:stage_copy.py",
        "inputs": {"text": "in/*.none"},
        "optional": ["text"],
    }
    reads.define({**stage, "outputs": {"out": "out/copy.txt"}})
    reads.succeed()
    assert reads.read("out/copy.txt") == b""


def test_orphans_are_cleaned_beside_an_empty_input(reads):
    gone = shell("gone", 'echo x >"$PIPELINE_OUTPUT_OUT"')
    reads.define(paired("mates/*.fq"), gone)
    reads.succeed()
    reads.define(paired("mates/*.fq"))
    reads.succeed("clean", "--orphans")
    assert not reads.exists("out/gone.txt")


def gather(*entries: object, **fields: object) -> dict[str, object]:
    command = ["sh", "-c", 'cat "$@" </dev/null', "sh", "{inputs.x}"]
    return {
        "name": "all",
        "command": command,
        "inputs": {"x": [*entries]},
        "outputs": {"o": "all.txt"},
        "stdout": "o",
        **fields,
    }


def trim(**fields: object) -> dict[str, object]:
    return {
        "name": "trim", "command": ["cp", "{inputs.x}", "{outputs.o}"], "inputs": {"x": "in/{each.s}.csv"},
        "outputs": {"o": "work/{each.s}.txt"}, "each": {"s": "in/*.csv"}, "mayBeEmpty": True, **fields,
    }  # fmt: skip


EMPTY = ["{outputs.trim.o}", "work/a.txt", "work/*.txt", "*/a.txt"]


@pytest.mark.parametrize("entry", EMPTY)
def test_in_a_list_what_a_template_without_instances_would_make_may_be_absent(reads, entry):
    reads.define(gather(entry, "in/a.1.fq"), trim())
    reads.succeed()
    assert reads.read("all.txt") == b"1\n"
    assert reads.skips_everything()
    reads.write("in/a.csv", "a\n")
    reads.succeed()
    assert reads.read("all.txt") == b"a\n1\n"
    (reads.root / "in/a.csv").unlink()
    reads.define(gather(entry, "in/a.1.fq"), trim())
    reads.succeed()
    assert reads.read("all.txt") == (b"a\n1\n" if entry == "work/a.txt" else b"1\n"), "an orphan that is named is used"


@pytest.mark.parametrize("entry", EMPTY)
def test_a_list_with_nothing_else_is_missing(reads, entry):
    reads.define(gather(entry, entry), trim())
    for verb in ("validate", "run"):
        done = reads.run(verb)
        assert done.returncode == 5 and "#/stages/0/inputs/x/0: " in done.stderr
    reads.define(gather(entry, entry, optional=["x"]), trim())
    reads.succeed()
    assert reads.read("all.txt") == b""


def test_a_file_that_comes_to_such_a_place_is_noticed(reads):
    reads.define(gather("work/a.txt", "in/a.1.fq"), trim())
    for _ in range(4):
        reads.succeed()
    reads.write("work/a.txt", "mine\n")
    reads.succeed()
    assert reads.read("all.txt") == b"mine\n1\n"


def test_an_entry_that_another_stage_may_make_too_must_be_there(reads):
    reads.define(gather("in/*.gz", "in/a.1.fq"), trim(outputs={"o": "work/{each.s}.txt"}))
    assert "#/stages/0/inputs/x/0: no file matches" in reads.run().stderr


def test_the_output_of_a_stage_that_is_off_may_be_absent_from_a_list_or_an_optional_input(reads):
    off = shell("off", "echo off >$PIPELINE_OUTPUT_OUT", outputs={"out": "off.txt"}, **{"if": "{vars.on}"})
    for entry in ("{outputs.off.out}", "off.txt"):
        for inputs in (gather(entry, "in/a.1.fq"), gather(optional=["x"], inputs={"x": entry})):
            reads.define(inputs, off, vars={"on": False})
            reads.succeed()
        assert reads.read("all.txt") == b""
        reads.define(gather(inputs={"x": entry}), off, vars={"on": False})
        done = reads.run()
        assert done.returncode == 5 and "#/stages/0/inputs/x: " in done.stderr
    assert 'stage "off" makes it, and is off' in done.stderr
    reads.define(gather("{outputs.off.out}", "in/a.1.fq"), off, vars={"on": True})
    reads.succeed()
    assert reads.read("all.txt") == b"off\n1\n"
