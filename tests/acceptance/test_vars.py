"""A spec declares its vars. Each may be set for one run, and counts only for the stages that use it."""

from __future__ import annotations

import json

import noop_words as quick
import pytest
from pipeline_bench import wait_for

SYNTAX = "hint: JSON has double quotes only, no comments, and no comma after the last member"
SAY = 'printf "%s\\n" "$@" >"$PIPELINE_OUTPUT_OUT"'


def say(*words: str, name: str = "say", **fields: object) -> dict[str, object]:
    command = ["sh", "-c", SAY, "sh", *words]
    return {"name": name, "command": command, "outputs": {"out": f"out/{name}.txt"}, **fields}


def printed(bench, name: str = "say") -> list[str]:
    return bench.read(f"out/{name}.txt").decode().split("\n")[:-1]


def test_a_var_stands_in_paths_words_variables_and_params(bench):
    bench.write("in/b.txt", "b\n")
    bench.define(
        {
            "name": "s", "command": ["sh", "-c", 'cat "$1"; echo "$2" "$LEVEL" "$3"', "sh", "{inputs.x}", "-q{vars.q}",
                                     "{params.q}"],
            "inputs": {"x": "in/{vars.which}.txt"}, "outputs": {"out": "out/{vars.which}-{vars.q}.txt"},
            "stdout": "out", "env": {"LEVEL": "level {vars.q}"},
            "params": {"q": "{vars.q}", "deep": [{"x": "a{vars.q}"}]},
        },
        vars={"q": 20, "which": "b"},
    )  # fmt: skip
    bench.succeed()
    assert bench.read("out/b-20.txt") == b"b\n-q20 level 20 20\n"
    params = json.loads(bench.records("stage.commit")[0]["data"]["components"])["params"]
    assert params == {"q": 20, "deep": [{"x": "a20"}]}, "a param that is exactly one placeholder keeps its type"


def test_numbers_stay_as_the_json_spells_them_and_text_as_it_was_typed(bench):
    words = ("{vars.a}", "{vars.b}", "{vars.c}", "{vars.d}")
    bench.define(say(*words), vars={"a": "012", "b": "x", "c": 1, "d": True})
    bench.spec.write_text(bench.spec.read_text().replace('"c": 1', '"c": 12.50').replace('"b": "x"', '"b": 1e5'))
    bench.succeed()
    assert printed(bench) == ["012", "1e5", "12.50", "true"]
    bench.succeed("--var", "a=1e5", "--var", "c=12.500", "--var", "d=false", "--var", "b=2")
    assert printed(bench) == ["1e5", "2", "12.500", "false"]


def test_a_value_is_inserted_once_and_literally(bench):
    bench.write("in/a[1]*.txt", "right\n")
    bench.write("in/a1x.txt", "wrong\n")
    bench.define(
        say("{vars.text}", "{inputs.{vars.label}}", "{{vars.label}}", inputs={"x": "in/{vars.name}.txt"}),
        say("{inputs.x}", name="file", inputs={"x": "in/{vars.name}.txt"}),
        vars={"text": "{inputs.x} {vars.label} {python}", "label": "x", "name": "a[1]*"},
    )
    bench.succeed()
    assert printed(bench) == ["{inputs.x} {vars.label} {python}", "{inputs.x}", "{x}"]
    assert printed(bench, "file") == ["in/a[1]*.txt"]


def test_only_the_users_of_a_var_run_again(bench):
    bench.define(say("{vars.a}", name="one"), say("{vars.b}", name="two"), vars={"a": 1, "b": "x"})
    bench.succeed()
    planned = bench.succeed("plan", "--var", "a=2").stdout
    assert planned.splitlines()[1] == "two  skip" and "one  run " in planned
    bench.succeed("--var", "a=2")
    assert sorted(record["data"]["stage"] for record in bench.records("stage.commit")) == ["one", "one", "two"]
    assert printed(bench, "one") == ["2"]
    assert [line.split()[:2] for line in bench.succeed("plan").stdout.splitlines()] == [["one", "run"], ["two", "skip"]]


def test_a_var_and_the_same_text_give_the_same_key(bench):
    bench.define(say("{vars.a} {x}", params={"n": "{vars.n}"}), vars={"a": "some text", "n": 1})
    bench.succeed()
    bench.define(say("some text {x}", params={"n": 1}))
    assert bench.skips_everything()


def test_a_file_sets_vars_and_the_command_line_wins(bench):
    bench.define(say("{vars.a}", "{vars.b}", "{vars.c}"), vars={"a": 1, "b": "x", "c": 1})
    vars_file = bench.write("vars.json", '{"a": 2.0, "b": "7"}')
    bench.succeed("--vars", str(vars_file), "--var", "a=3")
    assert printed(bench) == ["3", "7", "1"]
    bench.succeed("--vars", str(vars_file))
    assert printed(bench) == ["2.0", "7", "1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--var", "qualty=3"), 'error: var qualty: the spec declares no such var\nhint: did you mean "quality"?\n'),
        (
            ("--var", "quality=high"),
            'error: var quality: must be a number, not "high"\nhint: the spec has 20\n',
        ),
        (
            ("--var", "quality=012"),
            'error: var quality: must be a number, not "012"\nhint: the spec has 20\n',
        ),
        (("--var", "quality"), 'error: --var: "quality" is not NAME=VALUE\nhint: for example --var quality=25\n'),
        (("--vars", "/no/where.json"), "error: /no/where.json: no such vars file\n"),
    ],
)
def test_a_mistake_on_the_command_line_is_an_error_with_a_hint(bench, words, message):
    bench.define(say("{vars.quality}"), vars={"quality": 20})
    done = bench.run("plan", *words)
    assert (done.returncode, done.stderr) == (2, message)


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        ('{"n": [1], "s": 25, "quality": 1}', [
            "#/n: must be a number, not an array", "hint: the spec has 20",
            "#/s: must be a string, not 25", 'hint: write "25"',
            "#/quality: the spec declares no such var", "hint: known: n, s",
        ]),
        ('{"n": "25"}', ['#/n: must be a number, not "25"', "hint: the spec has 20"]),
        ("[1]", [": must be an object, not an array"]),
        ('{"n": 1, "n": 2}', ["#/n: the key appears more than once"]),
        ('{"n": 1,\n"s" 2}', [":2:5: expecting ':' delimiter", SYNTAX]),
        ("", [":1:1: is empty"]),
    ],
)  # fmt: skip
def test_each_mistake_in_a_file_of_vars_has_its_place(bench, content, faults):
    bench.define(say("{vars.n}", "{vars.s}"), vars={"n": 20, "s": "x"})
    path = bench.write("vars.json", content)
    done = bench.run("plan", "--vars", str(path))
    assert (done.returncode, done.stderr.replace(f"error: {path}", "").splitlines()) == (2, faults)


def test_a_placeholder_without_its_var_is_a_fault_with_a_hint(bench):
    bench.define(say("{vars.qualty}", "{each.x}"), vars={"quality": 20})
    lines = bench.run("validate").stderr.splitlines()
    assert lines[0].endswith('#/stages/0/command/4: {vars.qualty}: no value named "qualty"')
    assert lines[1] == 'hint: did you mean "quality"?'
    assert lines[2].endswith('#/stages/0/command/5: {each.x}: no value named "x"')
    assert lines[3] == 'hint: give the stage an "each" that has it'


def test_an_unused_var_is_a_warning(bench):
    bench.define(say("x", env={"A": "{vars.a}"}), vars={"a": 1, "b": 2}, defaults={"env": {"B": "{vars.a}"}})
    warned = bench.succeed("plan").stderr
    assert warned.startswith(f"warning: {bench.spec}#/vars/b: no stage uses it\nhint: ") and "vars/a" not in warned


def test_a_list_becomes_words_paths_and_a_param(bench):
    for name in "ab*":
        bench.write(f"in/{name}.txt", f"{name}\n")
    script = 'cat "$@" >>"$PIPELINE_OUTPUT_OUT"; printf "%s" "$PIPELINE_PARAMS" >>"$PIPELINE_OUTPUT_OUT"'
    cat = {
        "name": "cat",
        "command": ["sh", "-c", script, "sh", "{inputs.one}", "{inputs.more}"],
        "inputs": {"one": "{vars.files}", "more": ["in/b.txt", "{vars.files}", "{vars.none}"]},
        "outputs": {"out": "out/cat.txt"},
        "params": {"p": "{vars.extra}", "deep": {"q": "{vars.none}"}},
    }
    variables = {"extra": ["-n", 2, ""], "none": [], "brace": ["{python}"], "files": ["in/a.txt", "in/*.txt"]}
    bench.define(say("{vars.extra}", "{vars.none}", "{vars.brace}", "end"), cat, vars=variables)
    bench.succeed()
    assert printed(bench) == ["-n", "2", "", "{python}", "end"]
    assert bench.read("out/cat.txt") == b'a\n*\nb\na\n*\n{"deep":{"q":[]},"p":["-n",2,""]}', "a value is no glob"


def test_each_path_of_a_list_among_paths_without_labels_has_its_own_label(bench):
    bench.write("in/a.txt", "a\n")
    bench.write("in/b.txt", "b\n")
    bench.define(say("{inputs.b}", "{inputs.a}", inputs=["{vars.l}"]), vars={"l": ["in/a.txt", "in/b.txt"]})
    bench.succeed()
    assert printed(bench) == ["in/b.txt", "in/a.txt"]


def test_a_list_and_the_same_words_and_paths_give_the_same_key(bench):
    bench.write("in/a.txt", "a\n")
    fields = {"inputs": {"x": ["in/a.txt"]}, "params": {"p": ["-n", 2]}}
    bench.define(say("x", "-n", "2", "{inputs.x}", **fields))
    bench.succeed()
    fields = {"inputs": {"x": "{vars.files}"}, "params": {"p": "{vars.extra}"}}
    vars_ = {"files": ["in/a.txt"], "extra": ["-n", 2]}
    bench.define(say("x", "{vars.extra}", "{inputs.x}", **fields), vars=vars_)
    assert bench.skips_everything()
    bench.define(say("x", "{vars.extra}", "{inputs.x}", **fields), vars={**vars_, "extra": ["-n", 3]})
    assert "say  run" in bench.succeed("plan", "--var", "extra=[]").stdout
    assert "say  skip" in bench.succeed("plan", "--var", 'extra=["-n", 2]').stdout


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"command": ["echo", "-q{vars.l}"]}, "/command/1"),
        ({"command": ["echo", "{vars.l}{vars.l}"]}, "/command/1"),
        ({"inputs": {"x": "in/{vars.l}"}}, "/inputs/x"),
        ({"outputs": {"o": "{vars.l}"}}, "/outputs/o"),
        ({"outputs": ["{vars.l}"]}, "/outputs/0"),
        ({"env": {"A": "{vars.l}"}}, "/env/A"),
        ({"params": {"p": ["x", "{vars.l}"]}}, "/params/p/1"),
        ({"params": {"p": "x{vars.l}"}}, "/params/p"),
        ({"processor": "{vars.l}", "command": None}, "/processor"),
    ],
)
def test_a_list_anywhere_else_is_a_fault_at_its_place(bench, fields, at):
    stage = {"name": "s", "command": ["true"], "outputs": {"o": "o.txt"}, **fields}
    bench.define({name: value for name, value in stage.items() if value is not None}, vars={"l": ["a"]})
    done = bench.run("validate")
    assert done.returncode == 2
    assert f"#/stages/0{at}: {{vars.l}} is a list\nhint: it can be a whole word" in done.stderr


def test_a_list_gives_values_to_each_and_to_where_and_an_empty_one_is_off(bench):
    write = {"command": ["sh", "-c", 'echo "$1" >"$2"', "sh", "{each.c}", "{outputs.o}"]}
    both = [{"s": ["x", "y"]}, {"c": "{vars.chosen}"}]
    stages = [
        {"name": "call", "each": {"c": "{vars.all}"}, **write, "outputs": {"o": "call/{each.c}"}},
        {"name": "some", "each": "call", "where": {"c": "{vars.chosen}"}, **write, "outputs": {"o": "some/{each.c}"}},
        {"name": "rest", "each": "call", "where": {"c": {"not": "{vars.chosen}"}}, **write,
         "outputs": {"o": "rest/{each.c}"}},
        {"name": "both", "each": both, **write, "outputs": {"o": "both/{each.s}-{each.c}"}, "if": "{vars.chosen}"},
    ]  # fmt: skip
    bench.define(*stages, vars={"all": ["a", 2, 3.5], "chosen": ["2", "a"]})
    names = [stage["stage"] for stage in bench.json("plan")["stages"]]
    assert names == ["call@a", "call@2", "call@3.5", "some@a", "some@2", "rest@3.5"] + [
        f"both@{s},{c}" for s in "xy" for c in "2a"
    ]
    bench.succeed()
    assert bench.read("both/x-2") == b"2\n"
    lines = bench.run("plan", "--var", "chosen=[]").stdout.splitlines()
    assert "both: off" in lines


@pytest.mark.parametrize("each", [{"c": "{vars.l}"}, [{"s": ["a"]}, {"c": "{vars.l}"}]])
def test_an_empty_list_gives_no_instance(bench, each):
    stage = {"name": "call", "command": ["true"], "outputs": {"o": "out/{each.c}"}, "each": each}
    bench.define(stage, {**stage, "name": "own", "each": {"c": [1]}, "outputs": ["o"]}, vars={"l": []})
    done = bench.run("validate")
    at = "/0/each/c" if isinstance(each, dict) else "/0/each/1/c"
    assert done.returncode == 5
    assert f'{at}: {{vars.l}} is an empty list\nhint: "mayBeEmpty": true allows that' in done.stderr
    bench.spec.write_text(bench.spec.read_text().replace('"name": "call"', '"name": "call", "mayBeEmpty": true', 1))
    bench.succeed("validate")


def test_values_of_a_list_that_are_equal_have_the_place_of_the_var(bench):
    stage = {"name": "call", "command": ["true"], "outputs": {"o": "out/{each.c}"}, "each": {"c": "{vars.l}"}}
    bench.define(stage, vars={"l": ["a", "A"]})
    done = bench.run("validate")
    assert done.returncode == 2 and '#/stages/0/each/c: "A" differs from "a" by case only' in done.stderr


def test_faults_behind_a_list_name_their_place_in_the_spec_as_written(bench):
    bench.write("in/a.txt", "a\n")
    bench.define(
        say("{vars.l}", "{inputs.y}", "{input.x}", inputs={"x": ["{vars.l}", "in/b.txt"]}),
        vars={"l": ["in/a.txt", "in/c.txt"]},
    )
    assert "#/stages/0/command/5: {inputs.y}: no input named" in bench.run("validate").stderr
    bench.spec.write_text(bench.spec.read_text().replace("{inputs.y}", "-{inputs.x}"))
    done = bench.run("validate")
    for fault in ("#/stages/0/command/6: {input.x} is not a pl", '/inputs/x/0: "in/c.txt": ', '/x/1: "in/b.txt": no'):
        assert fault in done.stderr
    bench.write("in/b.txt", "b\n")
    bench.write("in/c.txt", "c\n")
    assert '#/stages/0/command/5: "-{inputs.x}" needs one file' in bench.run("validate").stderr


def test_a_command_of_an_empty_list_is_refused(bench):
    bench.define({"name": "s", "command": ["{vars.l}"], "outputs": {"o": "o.txt"}}, vars={"l": []})
    assert "#/stages/0/command/0: is empty\nhint: the first word names the program" in bench.run("validate").stderr


def test_an_input_of_an_empty_list_is_missing(bench):
    bench.define(say("x", inputs={"x": "{vars.l}"}), vars={"l": ["in/a.txt"]})
    bench.write("in/a.txt", "a\n")
    bench.succeed()
    done = bench.run("--var", "l=[]")
    assert done.returncode == 5
    assert '#/stages/0/inputs/x: names no file\nhint: if it may be empty, list it in "optional"' in done.stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("-n", 'must be an array, not "-n"\nhint: the spec has a list, such as ["-n", 2]'),
        ("[true]", "must be a string or a number, not true\nhint: the spec has a list, such as"),
    ],
)
def test_a_list_on_the_command_line_is_json(bench, value, message):
    bench.define(say("{vars.l}"), vars={"l": []})
    done = bench.run("plan", "--var", f"l={value}")
    assert done.returncode == 2 and message in done.stderr


def test_the_values_of_a_run_are_on_record(bench):
    bench.define(say("{vars.a}"), vars={"a": 1, "b": "x"})
    bench.succeed("--var", "a=2")
    spec = json.loads(bench.records("run.start")[0]["data"]["spec"])
    assert spec["vars"] == {"a": 2, "b": "x"}
    assert spec["stages"][0]["command"][-1] == "2"


def test_the_no_op_record_answers_a_run_without_overrides_only(bench):
    bench.define(say("{vars.a}"), vars={"a": 1})
    bench.succeed()
    for _ in range(3):
        bench.succeed()
    assert "say: succeeded" in bench.succeed("--var", "a=2").stderr
    assert "say: succeeded" in bench.succeed().stderr


@pytest.mark.full_after(3)
@pytest.mark.parametrize("verb", ["status", "validate", "clean", "graph", "verify", "log"])
def test_other_verbs_take_vars_too(bench, verb):
    bench.define(say("{vars.a}"), vars={"a": 1})
    bench.succeed("--var", "a=2")
    bench.succeed(verb, "--var", "a=2")
    assert bench.run(verb, "--var", "x=2").returncode == 2


def test_a_run_with_vars_and_nothing_to_do_needs_no_plan(bench, monkeypatch):
    monkeypatch.chdir(bench.root)
    bench.define(say("{vars.a}", "{vars.b}"), vars={"a": "1", "b": "1"})
    bench.write("vars.json", '{"a": "2"}')
    words = ["--vars", "vars.json", "--var", "b=2"]

    def is_answered() -> bool:
        bench.succeed("-q", *words, cwd=bench.root)
        return quick.answer([str(bench.spec), "-q", *words]) == 0

    wait_for(is_answered, "the files have to be old enough that a change would show")
    for others in (["--var", "b=2"], ["--vars", "vars.json"], ["--vars", "vars.json", "--var", "b=3"], []):
        assert quick.answer([str(bench.spec), "-q", *others]) is None
    bench.write("vars.json", '{"a": "3"}')
    assert quick.answer([str(bench.spec), "-q", *words]) is None
    bench.succeed("-q", *words, cwd=bench.root)
    assert printed(bench) == ["3", "2"]
