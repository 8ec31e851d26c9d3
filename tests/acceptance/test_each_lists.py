"""What `each` can say beyond one form: lists of forms, tables without a header, `where`, no instances at all, `if`."""

from __future__ import annotations

import json

import pytest
from each_stages import COPY, copy, fault, gather, planned, ran, sources

SHEET = "sample,fq2\na,a2\nb,\nc,c2\n"
TOUCH = ["touch", "{outputs.o}"]


def touch(each: object, name: str = "t", to: str = "out/x", **fields: object) -> dict[str, object]:
    return {"name": name, "each": each, "command": TOUCH, "outputs": {"o": to}, **fields}


def names(bench) -> list[str]:
    return list(planned(bench))


# ---- lists of forms --------------------------------------------------------------------------------------------------


def test_a_list_makes_all_combinations_named_after_all_values(bench):
    bench.write("units.tsv", "sample\tlane\na\t1\na\t2\nb\t1\n")
    rows = {"rows": "units.tsv", "key": ["sample", "lane"]}
    bench.define(
        touch([rows, {"contig": ["1", "x"]}], to="out/{each.sample}{each.lane}-{each.contig}"),
        touch(["t", {"n": [1]}], "u", "u/{each.sample}{each.lane}{each.contig}{each.n}"),
    )
    expected = [f"{unit},{contig}" for unit in ("a,1", "a,2", "b,1") for contig in "1x"]
    assert names(bench) == [f"t@{name}" for name in expected] + [f"u@{name},1" for name in expected]
    bench.succeed()
    assert bench.exists("out/a2-x") and bench.exists("u/b1x1")


def test_the_name_of_an_instance_has_the_key_of_a_table_and_rows_of_one_key_must_agree(bench):
    bench.write("units.csv", "sample,lane\na,1\na,2\nb,1\n")
    each = [{"rows": "units.csv", "key": "sample"}, {"contig": [1, 2]}]
    bench.define(touch(each, to="out/{each.sample}-{each.contig}"))
    assert names(bench) == ["t@a,1", "t@a,2", "t@b,1", "t@b,2"]
    bench.define(touch(each, to="out/{each.sample}-{each.contig}", params={"lane": "{each.lane}"}))
    where, text = fault(bench)
    assert where == "/stages/0/each/0/rows"
    assert text == "units.csv:3: has another lane than units.csv:2, which has the same key, a,1"


def test_a_pattern_may_use_the_entries_before_it(bench):
    for path in ("work/a/1.txt", "work/a/2.txt", "work/b/7.txt"):
        bench.write(path, f"{path}\n")
    sources(bench, "a", "b")
    scatter = copy(each=[{"s": "in/*.txt"}, {"chunk": "work/{each.s}/*.txt"}],
                   source="work/{each.s}/{each.chunk}.txt", to="out/{each.s}-{each.chunk}.txt")  # fmt: skip
    bench.define(scatter, gather())
    assert ran(bench) == ["all", "copy@a,1", "copy@a,2", "copy@b,7"]
    bench.write("work/b/8.txt", "new\n")
    assert ran(bench) == ["all", "copy@b,8"]


def test_a_pattern_with_values_matches_declared_outputs_of_the_stages_before(bench):
    bench.write("units.csv", "sample,lane\na,1\na,2\nb,1\n")
    lane = touch({"rows": "units.csv", "key": ["sample", "lane"]}, "lane", "work/{each.sample}/{each.lane}.txt")
    again = copy("again", "work/{each.sample}/{each.l}.txt", "out/{each.sample}{each.l}",
                 each=[{"rows": "units.csv"}, {"l": "work/{each.sample}/*.txt"}])  # fmt: skip
    bench.define(again, lane)
    assert sorted(names(bench)) == ["again@a,1", "again@a,2", "again@b,1", "lane@a,1", "lane@a,2", "lane@b,1"]
    assert len(ran(bench)) == 6


@pytest.mark.parametrize(
    ("each", "at", "what", "hint"),
    [
        ([{"s": ["a"]}, {"s": ["b"]}], "/1", '"s" is also a name of an earlier entry', "one value of each name"),
        ([{"rows": "t.csv"}, {"n": [1]}], "/1", '"n" is also a name of an earlier entry', "one value of each name"),
        ([{"n": [1]}, {"rows": "t.csv"}], "/1", '"n" is also a name of an earlier entry', "one value of each name"),
        (["other", {"x": [1]}], "/1", '"x" is also a name of an earlier entry', "one value of each name"),
        ([{"s": ["a"], "t": "work/{each.s}/*.txt"}], "/0/t", '{each.s}: no value named "s"', "entries of the list"),
        ([{"s": ["a"]}, {"t": "work/{each.S}/*.txt"}], "/1/t", '{each.S}: no value named "S"', 'did you mean "s"?'),
        ({"s": "work/{each.x}*.txt"}, "/s", '{each.x}: no value named "x"', "entries of the list before its own"),
        ([{"s": ["a"]}, {"t": ["{each.s}"]}], "/1/t/0", '{each.s}: no value named "s"', ""),
        ([{"s": ["a"]}, "oter"], "/1", 'no stage named "oter" has an each', 'did you mean "other"?'),
        ([{"s": ["a"]}, {"t": "work/a.txt"}], "/1/t", '"work/a.txt" must have exactly one *', ""),
        ([], "", "is empty", ""),
        ([["a"]], "/0", "must be a string or an object, not an array", ""),
        ([{"s": ["a", "a"]}, {"t": [""]}], "/0/s/1", '"a" appears twice', ""),
        ([{"s": ["a", ""]}, {"t": "work/{each.s}/*.txt"}], "/0/s/1", "an empty value", ""),
    ],
)  # fmt: skip
def test_a_mistake_in_a_list_has_its_place(bench, each, at, what, hint):
    bench.write("t.csv", "r,n\na,1\n")
    bench.write("work/a/1.txt", "")
    bench.define(touch(each), touch({"x": [1]}, "other", "other/{each.x}"))
    done = bench.run("validate")
    assert done.returncode == 2 and f"#/stages/0/each{at}: {what}" in done.stderr, done.stderr
    assert hint in done.stderr
    assert done.stderr.count("error: ") == (2 if "twice" in what else 1), done.stderr


# ---- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "tab"), [("genome.fai", "\t"), ("genome.tsv", "\t"), ("genome.csv", ",")])
def test_columns_name_those_of_a_table_without_a_header(bench, name, tab):
    bench.write(name, f"chr1{tab}248{tab}6\nchr2{tab}242{tab}9\n")
    bench.define(touch({"rows": name, "columns": ["contig", "length"]}, to="{each.contig}-{each.length}"))
    assert names(bench) == ["t@chr1", "t@chr2"]
    bench.succeed()
    assert bench.exists("chr2-242")


def test_rows_may_stand_in_the_spec(bench):
    rows = [{"s": "a", "q": 1, "b": "{vars.dir}/x"}, {"s": "b", "q": 2.5, "b": "y"}]
    bench.define(touch({"rows": rows, "key": ["s", "q"]}, to="out/{each.s}/{each.b}", params={"q": "{each.q}"}),
                 vars={"dir": "d"})  # fmt: skip
    assert ran(bench) == ["t@a,1", "t@b,2.5"]
    assert bench.exists("out/a/d/x")
    assert json.loads(bench.read("state/stage_t@b,2.5.json"))["components"]["params"] == {"q": 2.5}


@pytest.mark.parametrize(
    ("each", "at", "what"),
    [
        ({"rows": "t.csv", "columns": []}, "/columns", "is empty"),
        ({"rows": "t.csv", "columns": ["a", "a"]}, "/columns", '"a" appears more than once'),
        ({"rows": "t.csv", "columns": ["a", "b", "c"]}, "/rows", 't.csv:1: has 2 cells, and "columns" has 3 names'),
        ({"rows": "t.json", "columns": ["a"]}, "/columns", '"columns" are for a table without a header'),
        ({"rows": [{"a": 1}], "columns": ["a"]}, "/columns", '"columns" are for a table without a header'),
        ({"rows": "t.csv", "colums": ["a"]}, "/colums", 'no field is called "colums"'),
        ({"rows": "t.csv", "n": [1]}, "/n", 'no field is called "n"'),
        ({"rows": [{"a": {}}]}, "/rows/0/a", "must be a string or a number or true or false, not an object"),
        ({"rows": [{}]}, "/rows/0", "is empty"),
        ({"rows": [{"a": 1}, {"b": 1}]}, "/rows", "rows#/1: has other names than the first row"),
        ({"rows": [{"a": 1}], "key": "b"}, "/key", 'rows: no column "b"'),
        ({"rows": [{"a": "x "}]}, "/rows", 'rows#/0: the key "x " is empty or has spaces around it'),
    ],
)
def test_a_mistake_in_a_table_has_its_place(bench, each, at, what):
    bench.write("t.csv", "1,2\n")
    bench.write("t.json", '[{"a": 1}]')
    bench.define(touch(each))
    where, text = fault(bench)
    assert (where, text.partition("\nhint: ")[0]) == (f"/stages/0/each{at}", what)


# ---- where -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ({}, "abc"),
        ({"fq2": ""}, "b"),
        ({"fq2": {"not": ""}}, "ac"),
        ({"sample": ["a", "b"]}, "ab"),
        ({"sample": {"not": ["a", "b"]}}, "c"),
        ({"sample": ["a", "b"], "fq2": {"not": ""}}, "a"),
        ({"sample": "{vars.one}"}, "c"),
        ({"sample": {"not": ["{vars.one}", "a"]}}, "b"),
    ],
)
def test_where_leaves_the_rows_of_which_all_conditions_hold(bench, where, left):
    bench.write("sheet.csv", SHEET)
    bench.define(touch({"rows": "sheet.csv"}, to="out/{each.sample}", where=where), vars={"one": "c"})
    assert names(bench) == [f"t@{sample}" for sample in left]


def test_where_compares_values_as_they_are_spelled(bench):
    bench.spec.write_text(json.dumps({"specVersion": 1, "name": "bench", "stages": [
        touch({"n": ["1", "NUMBER", True and "true"]}, to="out/{each.n}", where={"n": [1, True]})]})
        .replace('"NUMBER"', "1.0"))  # fmt: skip
    assert names(bench) == ["t@1", "t@true"]


def test_where_is_for_every_form(bench):
    sources(bench, "a", "b", "c")
    bench.define(
        copy("file", to="f/{each.s}", where={"s": {"not": "b"}}),
        touch("file", "held", "h/{each.s}", where={"s": "c"}),
        touch(["file", {"n": [1, 2]}], "list", "l/{each.s}{each.n}", where={"n": 2, "s": "a"}),
    )
    assert names(bench) == ["file@a", "file@c", "held@c", "list@a,2"]


def test_what_where_leaves_out_takes_no_part_in_anything_else(bench):
    bench.write("sheet.csv", "sample,lane,use\na,1,yes\nA,1,no\n,1,no\n b,1,no\na,2,no\n" + "x" * 300 + ",1,no\n")
    bench.write("in/a/1.txt", "")
    sheet, used = {"rows": "sheet.csv"}, {"params": {"lane": "{each.lane}"}}
    bench.define(
        touch(sheet, to="out/{each.sample}", where={"use": "yes"}, **used),
        touch({"s": ["a", "", "A", "b", "b"]}, "names", "names/{each.s}", where={"s": "a"}),
        touch([sheet, {"f": "in/{each.sample}/*.txt"}], "files", "f/{each.sample}{each.f}", where={"use": ["yes"]}),
    )
    assert names(bench) == ["t@a", "names@a", "files@a,1"]


@pytest.mark.parametrize("table", [SHEET, "sample,fq2\n"])
def test_an_unknown_name_in_where_is_an_error_also_for_a_table_without_rows(bench, table):
    bench.write("sheet.csv", table)
    bench.define(touch({"rows": "sheet.csv"}, to="o/{each.sample}", where={"smple": "a"}, mayBeEmpty=True))
    assert fault(bench) == ("/stages/0/where/smple", 'no value named "smple"\nhint: did you mean "sample"?')


def test_a_text_that_no_value_has_is_a_warning(bench):
    bench.write("sheet.csv", SHEET)
    bench.define(touch({"rows": "sheet.csv"}, to="o/{each.sample}", where={"sample": {"not": ["s1", "a"]}}))
    for verb in ("validate", "plan", "run"):
        assert '#/stages/0/where/sample: no sample is "s1"\nhint: known: a, b, c\n' in bench.succeed(verb).stderr
    bench.write("sheet.csv", "sample,fq2\n")
    bench.define(touch({"rows": "sheet.csv"}, to="o/{each.sample}", where={"sample": "a"}, mayBeEmpty=True))
    assert "where" not in bench.succeed("validate").stderr


@pytest.mark.parametrize(
    ("fields", "at", "what"),
    [
        ({"where": {"s": None}}, "/where/s", "must be a string or a number or true or false or an array or an object"),
        ({"where": {"s": {"not": 1, "no": 1}}}, "/where/s/no", 'no field is called "no"'),
        ({"where": {"s": {}}}, "/where/s", '"not" is missing'),
        ({"where": {"s": [["a"]]}}, "/where/s/0", "must be a string or a number or true or false, not an array"),
        ({"where": {"s": "{vars.x}"}}, "/where/s", '{vars.x}: no value named "x"'),
        ({"where": {"s": "{each.s}"}}, "/where/s", '{each.s}: no value named "s"'),
        ({"each": None, "where": {}}, "/where", '"where" is for a stage with "each"'),
        ({"each": None, "mayBeEmpty": True}, "/mayBeEmpty", '"mayBeEmpty" is for a stage with "each"'),
        ({"if": "trim"}, "/if", '"trim" is not allowed'),
        ({"if": True}, "/if", "must be a string or an object, not true"),
        ({"if": {"not": "{vars.x}y"}}, "/if/not", '"{vars.x}y" is not allowed'),
        ({"if": "{vars.trm}"}, "/if", '{vars.trm}: no value named "trm"\nhint: did you mean "trim"?'),
    ],
)
def test_a_mistake_in_a_condition_has_its_place(bench, fields, at, what):
    stage = touch({"s": ["a", "b"]}, to="o", where={"s": "a"}) | fields
    if stage["each"] is None:
        stage = {name: value for name, value in stage.items() if name not in {"each", "where"} or name in fields}
        del stage["each"]
    bench.define(stage, vars={"trim": 1})
    where, text = fault(bench)
    assert (where, text.startswith(what)) == (f"/stages/0{at}", True), text


# ---- no instances ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "why"),
    [
        ({"s": "in/*.txt"}, 'no file matches "in/*.txt"'),
        ({"rows": "none.csv"}, "none.csv: has no rows"),
        ({"rows": []}, "rows: has no rows"),
        ({"rows": "sheet.csv"}, '"where" leaves no values'),
        ([{"rows": "none.csv"}, {"n": [1]}], "none.csv: has no rows"),
        ([{"n": [1, 2]}, {"s": "in/{each.n}*.txt"}], 'no file matches "in/1*.txt"'),
    ],
)
def test_a_template_without_instances_is_an_error_unless_it_may_be_empty(bench, each, why):
    bench.write("in/readme.md", "")
    bench.write("none.csv", "sample,fq2\n")
    bench.write("sheet.csv", SHEET)
    where = {"where": {"sample": "z"}} if each == {"rows": "sheet.csv"} else {}
    other = {"name": "other", "command": TOUCH, "outputs": {"o": "other"}}
    bench.define(touch(each, to="out/{each.s}" if "s" in each else "out/x", **where), other)
    done = bench.run()
    assert done.returncode == 5 and why in done.stderr, done.stderr
    for fields, top in (({"mayBeEmpty": True}, {}), ({}, {"defaults": {"mayBeEmpty": True}})):
        bench.define(touch(each, to="out/{each.s}" if "s" in each else "out/x", **where, **fields), other, **top)
        assert bench.succeed("plan").stdout.endswith(f"t: without instances: {why}\n")
        assert bench.json("plan")["empty"] == [{"stage": "t", "why": why}]
        for verb in ("validate", "graph", "status", "run", "log", "verify"):
            bench.succeed(verb)
        bench.succeed("report", "-o", str(bench.root / "report.html"))
    assert bench.skips_everything()


def test_in_a_list_only_no_instance_at_all_needs_the_field(bench):
    bench.write("work/a/1.txt", "")
    bench.write("work/b/readme", "")
    bench.define(copy(each=[{"s": ["a", "b"]}, {"c": "work/{each.s}/*.txt"}], source="work/{each.s}/{each.c}.txt"))
    assert names(bench) == ["copy@a,1"]


@pytest.mark.parametrize("each", [{"s": "away/*.txt"}, {"rows": "away.csv"}, [{"n": [1]}, {"s": "away/*.txt"}]])
def test_a_table_or_directory_that_is_not_there_is_an_error_also_then(bench, each):
    bench.define(touch(each, mayBeEmpty=True))
    done = bench.run()
    assert done.returncode == 5 and ('no directory "away"' in done.stderr or "no such table" in done.stderr)


def test_a_directory_in_which_an_output_may_lie_is_only_empty(bench):
    bench.write("in/readme", "")
    bench.define(
        copy(to="work/{each.s}/x.txt", mayBeEmpty=True), copy("two", "work/{each.t}/x.txt", "two/{each.t}",
        each={"t": "work/*/x.txt"}, mayBeEmpty=True),
    )  # fmt: skip
    assert ran(bench) == []
    sources(bench, "a")
    assert ran(bench) == ["copy@a", "two@a"]


def test_what_holds_an_empty_template_is_empty_and_has_the_field_too(bench):
    sources(bench, "a")
    stages = [
        copy("one", to="one/{each.s}", mayBeEmpty=True, where={"s": {"not": "z"}}), touch("one", "two", "two/{each.s}"),
        touch(["two", {"n": [1]}], "three", "three/{each.s}{each.n}"),
    ]  # fmt: skip
    bench.define(*stages)
    assert names(bench) == ["one@a", "two@a", "three@a,1"]
    stages[1]["where"] = {"s": {"not": "a"}}
    bench.define(*stages)
    assert bench.json("plan")["empty"] == [
        {"stage": "two", "why": '"where" leaves no values'}, {"stage": "three", "why": '"two" has no instances'}
    ]  # fmt: skip
    (bench.root / "in/a.txt").rename(bench.root / "in/readme")
    assert names(bench) == []
    assert [empty["stage"] for empty in bench.json("status")["empty"]] == ["one", "two", "three"]
    assert "one: without instances: no file matches" in bench.succeed("status").stdout


def test_outputs_of_an_empty_week_are_orphans_that_no_clean_removes_while_the_directory_is_empty(bench):
    sources(bench, "a", "b")
    extra = touch({"x": [1]}, "extra", "out/extra.txt")
    bench.define(copy(mayBeEmpty=True), extra, gather())
    bench.succeed()
    for name in "ab":
        (bench.root / f"in/{name}.txt").unlink()
    assert ran(bench) == ["all"] and bench.read("all.txt") == b""
    assert bench.json("status")["undeclared"] == ["out/a.txt", "out/b.txt"]
    done = bench.run("clean", "--orphans")
    assert done.returncode == 5 and '/stages/0/each: "in/" is empty' in done.stderr
    bench.write("in/readme", "")
    assert bench.succeed("clean", "--orphans").stdout == "removed out/a.txt\nremoved out/b.txt\n"
    sources(bench, "a")
    assert ran(bench) == ["all", "copy@a"]


@pytest.mark.parametrize(("source", "what"), [("out/*.txt", "no file matches"), ("out/a.txt", "no such file")])
def test_a_reader_of_a_template_without_instances_gets_the_template_as_a_hint(bench, source, what):
    bench.write("in/readme", "")
    bench.define(copy(mayBeEmpty=True), gather(source))
    done = bench.run()
    assert done.returncode == 5 and what in done.stderr
    assert 'hint: stage "copy" makes it, and is without instances: no file matches "in/*.txt"\n' in done.stderr
    bench.define(copy(**{"if": "{vars.on}"}), gather(source), vars={"on": False})
    assert 'hint: stage "copy" makes it, and is off\n' in bench.run().stderr


# ---- if --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "is_on"), [(True, True), (False, False), (1, True), (0, False), (0.0, False), ("x", True), ("", False)]
)
def test_a_stage_is_there_while_its_var_is_set(bench, value, is_on):
    sources(bench, "a")
    plain = {"name": "plain", "command": TOUCH, "outputs": {"o": "plain"}}
    on, off = {"if": "{vars.trim}"}, {"if": {"not": "{vars.trim}"}}
    bench.define(copy("on", to="on/{each.s}", **on), copy("off", to="off/{each.s}", **off), plain | on,
                 vars={"trim": value})  # fmt: skip
    assert names(bench) == (["on@a", "plain"] if is_on else ["off@a"])
    assert bench.succeed("plan").stdout.endswith("off: off\n" if is_on else "on: off\nplain: off\n")
    bench.succeed()
    assert bench.exists("plain") == is_on


def test_stages_that_are_off_leave_orphans_and_an_empty_template(bench):
    sources(bench, "a", "b")
    bench.define(
        copy("trim", to="work/{each.s}.txt", **{"if": "{vars.trim}"}), touch("trim", "report", "report/{each.s}"),
        touch({"m": "work/*.txt"}, "stats", "stats/{each.m}", mayBeEmpty=True),
        {"name": "last", "command": TOUCH, "outputs": {"o": "last"}, "needs": ["trim", "report@a", "tr*"]},
        vars={"trim": True},
    )  # fmt: skip
    assert len(ran(bench)) == 7
    assert ran(bench, "--var", "trim=false") == []
    lines = bench.succeed("plan", "--var", "trim=false").stdout.splitlines()
    assert lines[1:] == [
        "trim: off", 'report: without instances: "trim" has no instances',
        'stats: without instances: no file matches "work/*.txt"',
    ]  # fmt: skip
    assert len(bench.json("status", "--var", "trim=false")["undeclared"]) == 6
    bench.succeed("clean", "--orphans", "--var", "trim=false")
    assert not list((bench.root / "work").iterdir())
    assert len(ran(bench)) == 6


def test_one_of_two_makers_of_a_path_may_be_off(bench):
    stages = [
        {"name": name, "command": ["sh", "-c", f"echo {name}"], "stdout": "o", "outputs": {"o": "made.txt"}, "if": when}
        for name, when in (("new", "{vars.new}"), ("old", {"not": "{vars.new}"}))
    ]  # fmt: skip
    reader = {"name": "r", "command": COPY, "inputs": {"x": "made.txt"}, "outputs": {"o": "r.txt"}}
    bench.define(*stages, reader, vars={"new": True})
    assert ran(bench) == ["new", "r"]
    assert bench.read("r.txt") == b"new\n"
    assert ran(bench, "--var", "new=false") == ["old", "r"]
    assert bench.read("r.txt") == b"old\n"


def test_a_stage_that_is_off_needs_no_files_and_is_checked_all_the_same(bench):
    bench.define(
        touch({"rows": "away.csv"}, to="o/{each.x}", **{"if": "{vars.on}"}),
        touch([{"s": "{vars.dir}/*"}], "u", "u/{each.s}", where={"s": "{vars.one}"}, **{"if": "{vars.on}"}),
        vars={"on": False, "dir": "d", "one": 1},
    )
    assert bench.succeed("validate").stderr == ""
    bench.define(
        copy(command=["cp", "{inputs.y}", "{outputs.o}"], needs=["typo"], **{"if": "{vars.on}"}), vars={"on": 0}
    )
    done = bench.run("validate")
    assert done.stderr.count("error: ") == 2
    assert '/stages/0/command/1: {inputs.y}: no input named "y"' in done.stderr
    assert '/stages/0/needs/0: no stage named "typo"' in done.stderr


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": {"x": "{vars.v}"}}, {"inputs": {"x": ["in/a", "{vars.v}"]}}, {"inputs": ["{vars.v}"]},
        {"inputs": ["in/{vars.v}.txt"]}, {"outputs": {"o": "{vars.v}"}}, {"outputs": ["{vars.v}"]},
        {"command": ["{vars.v}"]}, {"command": ["{vars.words}"]}, {"command": None, "processor": "{vars.v}"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("each", [{}, {"each": {"s": ["a"]}}])
def test_what_is_empty_in_a_stage_that_is_off_is_no_fault(bench, each, fields):
    plain = {"name": "x", "command": ["true"], "outputs": {"o": "o"}, **each, **fields}
    stage = {field: value for field, value in plain.items() if value}
    bench.define({**stage, "if": "{vars.v}"}, vars={"v": "", "words": []})
    bench.succeed("validate")
    assert bench.succeed("plan").stdout.endswith("x: off\n")
    bench.define(stage, vars={"v": "", "words": []})
    assert bench.run("validate").returncode == 2


def test_what_is_empty_in_a_stage_that_holds_one_that_is_off_is_no_fault(bench):
    off = touch({"s": ["a"]}, "off", "off/{each.s}", **{"if": "{vars.v}"})
    bench.define(off, touch("off", "t", "t/{each.s}", inputs={"x": "{vars.v}"}), vars={"v": ""})
    bench.succeed("validate")


@pytest.mark.parametrize("fields", [{"inputs": ["in/{each.s}.txt"]}, {"outputs": ["out/{each.s}.txt"]}])
def test_labels_that_values_would_make_are_no_fault_while_there_are_none(bench, fields):
    none = {**touch({"s": "in/*.txt"}), "command": ["true"], **fields}
    bench.define(none)
    assert bench.run("validate").returncode == 5
    sources(bench, "a")
    bench.define({**none, "where": {"s": "b"}, "mayBeEmpty": True})
    assert bench.succeed("plan").stdout.endswith('t: without instances: "where" leaves no values\n')


@pytest.mark.parametrize("selector", ["trim", "trim@a", "tr*", "*@a"])
def test_selecting_a_stage_without_instances_selects_nothing(bench, selector):
    bench.define(touch({"s": ["a"]}, "trim", "o/{each.s}", **{"if": "{vars.on}"}), vars={"on": False})
    assert ran(bench, selector) == [] and ran(bench, "-f", selector) == []
    assert bench.succeed("plan", selector).stdout == "trim: off\n"
    assert bench.succeed("explain", selector).stdout == "trim: off\n"
    assert bench.succeed("plan", "--param", "trim.q=1").stdout == "trim: off\n"
    assert bench.run("log", selector).returncode == 2
    done = bench.run("run", "trin")
    assert done.returncode == 2 and 'did you mean "trim"?' in done.stderr


def test_the_graph_shows_a_template_without_instances(bench):
    off = touch({"s": ["a"]}, "trim", "o/{each.s}", **{"if": "{vars.on}"})
    bench.define(off, touch({"rows": []}, "none", "n/{each.s}", mayBeEmpty=True), vars={"on": False})
    assert bench.succeed("graph").stdout == "trim (off)\nnone (0)\n"
    assert '  "trim (off)";\n' in bench.succeed("graph", "--format", "dot").stdout
    assert '  s0["trim (off)"]\n' in bench.succeed("graph", "--format", "mermaid").stdout
    assert bench.succeed("graph", "--expand").stdout == ""


def test_a_reference_to_a_template_without_instances_says_so(bench):
    sources(bench, "a")
    off = touch({"s": ["a"]}, "trim", "o/{each.s}", **{"if": "{vars.on}"})
    reader = {
        "name": "r",
        "command": TOUCH,
        "inputs": {"x": "{outputs.trim.o}"},
        "optional": ["x"],
        "outputs": {"o": "r"},
    }
    bench.define(off, reader, vars={"on": False})
    assert bench.succeed("graph").stdout == "r\n  x: trim has no instances\ntrim (off)\n"
