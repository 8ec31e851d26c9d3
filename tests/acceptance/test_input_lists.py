"""An input may be a list of paths, globs and directories. It keeps their order and has each file once."""

from __future__ import annotations

import json

import pytest
from pipeline_bench import shell

LETTERS = ("in/b.txt", "in/a.txt", "in/c.csv", "in/d.csv")


def reading(*entries: str, command: tuple[str, ...] = ("cat", "{inputs.parts}"), **fields: object) -> dict[str, object]:
    return {
        "name": "all", "command": command, "stdout": "all", "inputs": {"parts": entries}, "outputs": {"all": "all.txt"},
        **fields,
    }  # fmt: skip


@pytest.fixture
def letters(bench):
    for path in LETTERS:
        bench.write(path, f"{path[3]}\n")
    return bench


def test_entries_keep_their_order_and_a_file_that_is_named_twice_counts_once(letters):
    letters.define(reading("in/d.csv", "in/*.txt", "in/*.csv", "in/a.txt"))
    letters.succeed()
    assert letters.read("all.txt") == b"d\na\nb\nc\n"


def test_a_list_file_and_the_variable_have_the_same_order(letters):
    words = ("sh", "-c", 'cat $(cat "$1"); echo "$PIPELINE_INPUT_PARTS" | wc -l', "sh", "{list.parts}")
    letters.define(reading("in/d.csv", "in/*.txt", command=words))
    letters.succeed()
    assert letters.read("all.txt").split() == [b"d", b"a", b"b", b"3"]


def test_a_python_stage_reads_a_list_in_order(letters):
    copy = {"processor": "offpipe:stage_copy.py", "inputs": {"x": ["in/d.csv", "in/*.txt"]}}
    letters.define({"name": "all", **copy, "outputs": {"all": "all.txt"}})
    letters.succeed()
    assert letters.read("all.txt") == b"d\na\nb\n"


def test_a_list_takes_outputs_sources_and_directories(letters):
    letters.write("tree/leaf", "leaf\n")
    join = ("sh", "-c", 'cat "$1" "$2" "$3/leaf"', "sh", "{inputs.parts}")
    letters.define(
        reading("made/*.txt", "in/d.csv", "tree/", command=join),
        shell("make", "echo made >$PIPELINE_OUTPUT_OUT", outputs={"out": "made/one.txt"}),
    )
    letters.succeed()
    assert letters.read("all.txt") == b"made\nd\nleaf\n"
    assert "all  <- make" in letters.succeed("graph").stdout


def test_a_change_of_one_file_in_a_list_is_the_reason_and_nothing_else_runs(letters):
    letters.define(reading("in/a.txt", "in/*.csv"))
    letters.succeed()
    assert letters.skips_everything()
    letters.write("in/b.txt", "not in the list\n")
    assert letters.skips_everything()
    letters.write("in/d.csv", "other\n")
    assert "input in/d.csv: " in letters.succeed("plan").stdout


def test_another_order_runs_the_stage_again(letters):
    letters.define(reading("in/a.txt", "in/b.txt"))
    letters.succeed()
    letters.define(reading("in/b.txt", "in/a.txt"))
    letters.succeed()
    assert letters.read("all.txt") == b"b\na\n"


def test_a_list_of_one_path_has_the_key_of_the_path(letters):
    letters.define(reading("in/a.txt"))
    letters.succeed()
    letters.define(reading("in/a.txt", inputs={"parts": "in/a.txt"}))
    assert letters.succeed("plan").stdout.split()[1] == "skip"


def test_every_entry_that_is_missing_is_a_fault_at_its_own_place(letters):
    letters.define(reading("in/a.txt", "in/none", "in/*.none", "in/.hid*"))
    done = letters.run("validate")
    assert done.returncode == 2 and "#/stages/0/inputs/parts/3: " in done.stderr, done.stderr
    letters.define(reading("in/a.txt", "in/none", "in/*.none"))
    for verb in ("validate", "plan", "run"):
        done = letters.run(verb)
        assert done.returncode == 5
        assert '#/stages/0/inputs/parts/1: "in/none": no such file' in done.stderr
        assert '#/stages/0/inputs/parts/2: no file matches "in/*.none"' in done.stderr


MAKE = shell("make", "mkdir -p made && echo made >$PIPELINE_OUTPUT_OUT", outputs={"out": "made/one.txt"})


@pytest.mark.parametrize("made", ["made/one.txt", "made/*.txt", "made/"])
def test_what_is_missing_beside_an_output_still_to_be_made_is_found_before_the_run(letters, made):
    letters.define(MAKE, reading("in/a.txt", made, "in/none", "in/*.none"))
    for verb in ("validate", "plan", "run"):
        done = letters.run(verb)
        assert done.returncode == 5
        assert '#/stages/1/inputs/parts/2: "in/none": no such file' in done.stderr
        assert '#/stages/1/inputs/parts/3: no file matches "in/*.none"' in done.stderr
    assert not (letters.root / "made").exists()


@pytest.mark.parametrize("glob", ["made/*.txt", "made/**", "*/one.*", "ma*/*", "tree/*.txt", "tree/*/deep.txt"])
def test_a_glob_that_only_an_output_still_to_be_made_can_match_waits_for_it(letters, glob):
    tree = shell("tree", "mkdir $PIPELINE_OUTPUT_T && echo >$PIPELINE_OUTPUT_T/x.txt", outputs={"t": "tree/"})
    letters.define(MAKE, tree, reading("in/a.txt", glob))
    letters.succeed("plan")
    done = letters.run()
    missing = f'no file matches "{glob}"' in done.stderr
    assert done.returncode == (5 if missing else 0) and missing == glob.startswith("tree/*/"), done.stderr
    assert letters.read("made/one.txt") == b"made\n"


@pytest.mark.parametrize("glob", ["made/*.csv", "made/two*", "made/*/one.txt", "else/*.txt"])
def test_a_glob_that_no_output_still_to_be_made_can_match_is_missing_now(letters, glob):
    letters.define(MAKE, reading("in/a.txt", "made/one.txt", glob))
    done = letters.run()
    assert done.returncode == 5 and f'no file matches "{glob}"' in done.stderr
    assert not (letters.root / "made").exists()


@pytest.mark.parametrize(
    ("entries", "place"),
    [
        ((), "inputs/parts: is empty"),
        (("in/a.txt", 5), "inputs/parts/1: must be a string"),
        ((["in/a.txt"],), "inputs/parts/0: must be a string"),
        (("in/a.txt", "state/"), "inputs/parts/1: "),
        (("in/a.txt", "all.txt"), "outputs/all: "),
    ],
)
def test_a_wrong_list_is_refused_at_its_place(letters, entries, place):
    letters.define(reading(*entries))
    done = letters.run("validate")
    assert done.returncode == 2 and f"#/stages/0/{place}" in done.stderr, done.stderr


def test_standard_input_takes_a_list_that_is_one_file(letters):
    letters.define(reading("in/a.txt", "in/a*.txt", command=("cat",), stdin="parts"))
    letters.succeed()
    assert letters.read("all.txt") == b"a\n"
    letters.define(reading("in/a.txt", "in/b.txt", command=("cat",), stdin="parts"))
    done = letters.run()
    assert done.returncode == 5 and "#/stages/0/stdin: " in done.stderr
    letters.define(reading("in/a.txt", "tree/", command=("cat",), stdin="parts"))
    done = letters.run()
    assert done.returncode == 2 and '#/stages/0/stdin: "tree/" is a directory' in done.stderr


def test_the_record_has_the_list_as_it_was_written(letters):
    letters.define(reading("in/a.txt", "in/*.csv"))
    letters.succeed()
    spec = json.loads(letters.records("run.start")[0]["data"]["spec"])
    assert spec["stages"][0]["inputs"] == {"parts": ["in/a.txt", "in/*.csv"]}
    letters.succeed("verify", "--outputs")
