"""One stage, many files: a stage with `each` runs once for each of its values."""

from __future__ import annotations

import json
import os

import pytest
from each_stages import COPY, copy, fault, gather, planned, ran, sources
from pipeline_bench import unstamped, wait_for
from suites import full_but

# ---- the forms -------------------------------------------------------------------------------------------------------


def test_a_pattern_makes_an_instance_of_each_file(bench):
    sources(bench, "a", "b")
    bench.write("in/.hidden.txt", "")
    bench.write("in/sub/c.txt", "")
    bench.write("in/d.csv", "")
    bench.define(gather(), copy())
    assert ran(bench) == ["all", "copy@a", "copy@b"]
    assert bench.read("all.txt") == b"a\nb\n"
    assert bench.skips_everything()


def test_names_multiply_and_lists_keep_their_type(bench):
    words = ["sh", "-c", 'echo "$1 $2" >"$3"', "sh", "{each.s}", "{params.q}", "{outputs.o}"]
    bench.define(copy(each={"s": ["x", 7], "q": [1.5, 2]}, inputs={}, command=words, params={"q": "{each.q}"},
                      outputs={"o": "out/{each.s}-{each.q}"}))  # fmt: skip
    bench.spec.write_text(bench.spec.read_text().replace("1.5", "1.50"))
    assert ran(bench) == ["copy@7,1.50", "copy@7,2", "copy@x,1.50", "copy@x,2"]
    assert bench.read("out/7-1.50") == b"7 1.5\n"
    params = {r["data"]["stage"]: json.loads(r["data"]["components"])["params"] for r in bench.records("stage.commit")}
    assert params["copy@x,2"] == {"q": 2}


@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("samples.csv", 'sample,file,note\r\na,in/1.txt,"x, y"\r\n\r\nb,in/2.txt,\r\n'),
        ("samples.csv", "\ufeffsample,file,note\na,in/1.txt,\nb,in/2.txt,\n"),
        ("samples.tsv", "sample\tfile\tnote\na\tin/1.txt\tx, y\nb\tin/2.txt\t\n"),
        ("samples.csv", "sample,file,Conc. (ng/ul),\na,in/1.txt, 3,\nb,in/2.txt, 4 ,\n"),
        ("samples.json", '[{"sample": "a", "file": "in/1.txt"}, {"sample": "b", "file": "in/2.txt"}]'),
    ],
)  # fmt: skip
def test_rows_of_a_table_make_an_instance_each(bench, table, content):
    sources(bench, "1", "2")
    bench.write(table, content)
    bench.define(copy(each={"rows": table}, source="{each.file}", to="out/{each.sample}.txt"), gather())
    assert ran(bench) == ["all", "copy@a", "copy@b"]
    assert bench.read("all.txt") == b"1\n2\n"


@pytest.mark.full
def test_rows_with_one_key_are_one_instance_if_they_agree_in_what_the_stage_uses(bench):
    sources(bench, "1", "2", "3")
    bench.write("lanes.csv", "sample,lane,file\na,1,in/1.txt\na,2,in/2.txt\nb,1,in/3.txt\n")
    rows = {"rows": "lanes.csv", "key": ["sample", "lane"]}
    merge = copy("merge", command=["cat", "{inputs.x}"], stdout="o", source="work/{each.sample}-*.txt",
                 to="out/{each.sample}.txt", each={"rows": "lanes.csv", "key": "sample"})  # fmt: skip
    bench.define(copy("lane", "{each.file}", "work/{each.sample}-{each.lane}.txt", each=rows), merge, gather())
    assert ran(bench) == ["all", "lane@a,1", "lane@a,2", "lane@b,1", "merge@a", "merge@b"]
    assert bench.read("all.txt") == b"1\n2\n3\n"
    bench.write("lanes.csv", "note,sample,lane,file\nx,b,1,in/3.txt\n,a,2,in/2.txt\n,a,1,in/1.txt\n")
    assert ran(bench) == [], "row order and unused columns change nothing"
    for content in ('[{"s": "a", "q": 1}, {"s": "a", "q": 1.0}]', '[{"s": "a", "q": true}, {"s": "a", "q": 1}]'):
        bench.write("rows.json", content)
        bench.define({"name": "t", "each": {"rows": "rows.json"}, "command": ["touch", "{outputs.o}"],
                      "outputs": {"o": "o"}, "params": {"q": "{each.q}"}})  # fmt: skip
        assert "rows.json#/1: has another q than" in fault(bench)[1]
    merge["params"] = {"lane": "{each.lane}"}
    bench.define(merge)
    assert fault(bench) == (
        "/stages/0/each/rows", "lanes.csv:4: has another lane than lanes.csv:3, which has the same key, a"
    )  # fmt: skip


def test_the_name_of_a_stage_takes_its_values(bench):
    sources(bench, "a", "b")
    bench.define(copy("second", "work/{each.s}.txt", each="first"), copy("first", to="work/{each.s}.txt"), gather())
    assert ran(bench) == ["all", "first@a", "first@b", "second@a", "second@b"]


def test_a_pattern_matches_the_declared_outputs_of_other_stages(bench):
    sources(bench, "a")
    bench.write("work/own.txt", "own\n")
    made = {"name": "made", "command": ["touch", "{outputs.o}"], "outputs": {"o": "work/made.txt"}}
    bench.define(
        copy("last", "mid/{each.y}.txt", "out/{each.y}.txt", each={"y": "mid/*.txt"}),
        copy("mid", "work/{each.x}.txt", "mid/{each.x}.txt", each={"x": "work/*.txt"}), made,
        copy("first", to="work/{each.s}.txt"), gather(),
    )  # fmt: skip
    names = [f"{stage}@{value}" for stage in ("last", "mid") for value in ("a", "made", "own")]
    assert ran(bench) == ["all", "first@a", *names[:3], "made", *names[3:]]
    assert bench.read("all.txt") == b"a\nown\n"


def test_a_pattern_may_name_a_directory(bench):
    bench.write("in/a/reads.txt", "a\n")
    bench.write("in/b/other.txt", "b\n")
    bench.define(copy(source="in/{each.s}/reads.txt", each={"s": "in/*/reads.txt"}))
    assert ran(bench) == ["copy@a"]


def test_vars_stand_in_patterns_lists_and_paths_of_tables(bench):
    sources(bench, "a")
    bench.write("t-1.csv", "s\na\n")
    bench.define(
        copy(each={"s": "{vars.dir}/*.txt"}), copy("two", to="two/{each.s}", each={"rows": "t-{vars.n}.csv"}),
        copy("three", "in/a.txt", "three/{each.s}", each={"s": ["{vars.n}", "x{vars.n}"]}),
        vars={"dir": "in", "n": 1},
    )  # fmt: skip
    assert ran(bench) == ["copy@a", "three@1", "three@x1", "two@a"]


# ---- an instance is a stage ------------------------------------------------------------------------------------------


def test_an_instance_has_its_own_marker_lock_log_and_retries(bench):
    sources(bench, "a", "b")
    fails = '[ "$2" = a ] || [ -e out/tried ] || { touch out/tried; echo "no $2"; exit 75; }; cp "$1" "$3"'
    words = ["sh", "-c", fails, "sh", "{inputs.x}", "{each.s}", "{outputs.o}"]
    bench.define(copy(command=words, retry={"attempts": 2, "delaySeconds": 0}))
    bench.succeed()
    assert [len(bench.attempts(f"copy@{name}")) for name in "ab"] == [1, 2]
    assert bench.exists("state/stage_copy@a.json") and bench.exists("locks/copy@b.lock")
    assert bench.succeed("log", "copy@b", "--attempt", "1").stdout == "no b\n"
    assert "key " in bench.succeed("explain", "copy@a").stdout
    assert bench.run("verify", "--outputs").returncode == 0


def test_names_hold_values_percent_encoded(bench):
    values = ["a,b", "ä x", "50%", "p/q", "A~"]
    outputs = {"o": "out/{each.s}"}
    bench.define(copy(each={"s": values}, inputs={}, outputs=outputs, command=["touch", "{outputs.o}"]))
    assert ran(bench) == ["copy@%C3%A4%20x", "copy@50%25", "copy@A%7E", "copy@a%2Cb", "copy@p%2Fq"]
    assert bench.exists("out/p/q") and bench.exists("out/ä x")
    assert bench.skips_everything()
    assert bench.run("verify", "--outputs").returncode == 0


def test_keys_are_those_of_written_stages(bench):
    sources(bench, "a", "b")
    bench.define(copy(params={"n": "{each.s}"}, env={"S": "{each.s}!"}, args=[]), gather(needs=["copy"]))
    bench.succeed()
    keys = {name: stage["key"] for name, stage in bench.json("run", "-f")["stages"].items()}
    written = [
        copy(name, f"in/{s}.txt", f"out/{s}.txt", params={"n": s}, env={"S": f"{s}!"})
        for name, s in (("copy-a", "a"), ("copy-b", "b"))
    ]
    for stage in written:
        del stage["each"]
    bench.define(*written, gather())
    assert {
        name.replace("-", "@"): stage["key"] for name, stage in bench.json("run", "-f")["stages"].items()
    } == keys  # fmt: skip


def test_a_template_may_have_a_ready_made_stage(bench):
    sources(bench, "a", "b")
    template = copy(processor="offpipe:stage_upper.py")
    del template["command"]
    bench.define(template)
    assert ran(bench) == ["copy@a", "copy@b"]
    assert bench.read("out/b.txt") == b"B\n"


def test_needs_mean_a_template_an_instance_or_a_pattern(bench):
    sources(bench, "a", "b")
    last = {"name": "last", "command": ["touch", "{outputs.o}"], "outputs": {"o": "last"}}
    for needs, names in (("copy", ["copy@a", "copy@b"]), ("copy@b", ["copy@b"]), ("*@a*", ["copy@a"])):
        bench.define(copy(), {**last, "needs": [needs]})
        assert f"last  <- {', '.join(names)}\n" in bench.succeed("graph", "--expand").stdout
    bench.define(copy(), {**last, "needs": ["copy@c"]})
    assert fault(bench)[0] == "/stages/1/needs/0"


# ---- what comes and goes ---------------------------------------------------------------------------------------------


def test_a_new_file_runs_its_instance_a_changed_one_its_chain_and_a_removed_one_none(bench):
    sources(bench, "a", "b")
    chain = copy("work", to="work/{each.s}.txt"), copy("out", "work/{each.s}.txt", each="work"), gather()
    bench.define(*chain)
    assert ran(bench) == ["all", "out@a", "out@b", "work@a", "work@b"]
    sources(bench, "c")
    assert ran(bench) == ["all", "out@c", "work@c"]
    bench.write("in/a.txt", "other\n")
    assert ran(bench) == ["all", "out@a", "work@a"]
    (bench.root / "in/b.txt").unlink()
    assert ran(bench) == ["all"]
    assert bench.read("all.txt") == b"other\nc\n"
    assert bench.json("status")["undeclared"] == ["out/b.txt", "work/b.txt"]
    assert ran(bench) == []


def test_a_pattern_matches_no_orphan(bench):
    sources(bench, "a", "b")
    bench.define(
        copy("work", to="work/{each.s}.txt"),
        copy("mid", "work/{each.m}.txt", "mid/{each.m}.txt", each={"m": "work/*.txt"}),
        copy("out", "mid/{each.n}.txt", "out/{each.n}.txt", each={"n": "mid/*.txt"}), gather(),
    )  # fmt: skip
    bench.succeed()
    (bench.root / "in/b.txt").unlink()
    assert list(planned(bench)) == ["work@a", "mid@a", "out@a", "all"]
    assert ran(bench) == ["all"]
    assert bench.read("all.txt") == b"a\n"
    verified = bench.succeed("verify", "--outputs").stdout
    assert verified.count("is an orphan: ") == 3
    (bench.root / "mid/b.txt").write_text("changed\n")
    assert list(planned(bench)) == ["work@a", "mid@a", "out@a", "out@b", "all"], "an edited file is yours"
    (bench.root / "mid/b.txt").unlink()
    assert bench.succeed("clean", "--orphans").stdout == "removed out/b.txt\nremoved work/b.txt\n"


def test_an_orphan_cannot_make_an_each_invalid(bench):
    sources(bench, "A", "b")
    each = copy("mid", "work/{each.m}.txt", "mid/{each.m}.txt", each={"m": "work/*.txt"})
    bench.define(copy("work", to="work/{each.s}.txt"), each)
    bench.succeed()
    (bench.root / "in/A.txt").rename(bench.root / "in/a.txt")
    assert ran(bench) == ["mid@a", "work@a"], "work/A.txt differs from work/a.txt by case only"
    (bench.root / "work/A.txt").write_text("changed\n")
    assert bench.run().returncode == 2, "an edited file is yours"


def test_a_run_with_nothing_to_do_notices_a_new_match_and_a_changed_table(bench):
    sources(bench, "a", "b")
    table = bench.write("t.csv", "s\na\n")
    bench.define(copy(), copy("rows", to="rows/{each.s}", each={"rows": "t.csv"}))
    bench.succeed()
    noop = bench.root / ".offpipe/noop-spec.json"

    def is_answered() -> bool:
        return bool(bench.succeed()) and noop.exists()

    wait_for(is_answered, "the no-op record")
    sources(bench, "c")
    assert ran(bench) == ["copy@c"]
    wait_for(is_answered, "the no-op record")
    table.write_text("s\na\nb\n")
    assert ran(bench) == ["rows@b"]
    wait_for(is_answered, "the no-op record")
    (bench.root / "in/c.txt").unlink()
    assert "is an orphan" in bench.succeed().stderr


@pytest.mark.full_after(1)
@pytest.mark.parametrize(
    ("each", "content", "message"),
    [
        ({"s": "in/*.txt"}, None, 'each/s: no file matches "in/*.txt"'),
        ({"rows": "t.csv"}, None, "each/rows: t.csv: no such table file"),
        ({"rows": "t.csv"}, "s\n", "each/rows: t.csv: has no rows"),
    ],
)
def test_a_pattern_or_table_without_any_match_ends_with_5(bench, each, content, message):
    if content:
        bench.write("t.csv", content)
    bench.write("x.txt", "x\n")
    other = {"name": "other", "command": COPY, "inputs": {"x": "x.txt"}, "outputs": {"o": "other.txt"}}
    bench.define(copy(each=each), copy("two", "out/{each.s}.txt", "two/{each.s}.txt", each="copy"), gather(), other)
    done = bench.run()
    assert done.returncode == 5 and done.stderr.count(f"#/stages/0/{message}\n") == 1, done.stderr
    assert planned(bench) == {"copy": "blocked", "two": "blocked", "all": "blocked", "other": "run"}
    assert bench.run("-k").returncode == 5
    assert bench.exists("other.txt")
    for verb in ("status", "runs", "graph", "log"):
        assert bench.run(verb).returncode == 0


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"a\nb.txt"])
def test_a_match_that_cannot_be_passed_to_a_stage_ends_with_5(bench, name):
    sources(bench, "a")
    os.close(os.open(os.fsencode(bench.root) + b"/in/" + name, os.O_CREAT | os.O_WRONLY))
    bench.define(copy())
    for verb in ("validate", "plan", "run"):
        done = bench.run(verb)
        assert done.returncode == 5 and done.stderr.isascii(), done.stderr
        assert f'/each/s: "in/{ascii(os.fsdecode(name))[1:-1]}": the name is not UTF-8' in done.stderr
        assert "hint: rename it" in done.stderr
    for words in (("graph",), ("status",), ("clean", "-n")):
        bench.succeed(*words)
    assert bench.run("clean", "--orphans").returncode == 5


@pytest.mark.full
def test_sources_that_are_missing_for_a_while_cost_nothing(bench):
    sources(bench, "a", "b")
    bench.define(
        copy(), copy("two", "out/{each.t}.txt", "two/{each.t}.txt", each={"t": "out/*.txt"}), gather("two/*.txt")
    )
    bench.succeed()
    (bench.root / "in").rename(bench.root / "away")
    done = bench.run("-k")
    assert done.returncode == 5 and "orphan" not in done.stderr.replace("hidden files and orphans", "")
    assert bench.run("clean", "--orphans").returncode == 5
    assert bench.read("all.txt") == b"a\nb\n"
    (bench.root / "away").rename(bench.root / "in")
    assert ran(bench) == []


# ---- selection and display -------------------------------------------------------------------------------------------


@pytest.fixture
def chain(bench):
    sources(bench, "a", "b", "b2")
    bench.define(copy("work", to="work/{each.s}.txt"), copy("out", "work/{each.s}.txt", each="work"), gather())
    return bench


@pytest.mark.parametrize(
    ("selector", "stages"),
    [
        ("work", ["work@a", "work@b", "work@b2"]),
        pytest.param("out@b", ["out@b", "work@b"], marks=pytest.mark.full),
        ("out@b*", ["out@b", "out@b2", "work@b", "work@b2"]),
        ("*@a", ["out@a", "work@a"]),
    ],
)
def test_stages_are_selected_by_template_instance_and_pattern(chain, selector, stages):
    assert sorted(planned(chain, selector)) == stages
    assert sorted(stage["stage"] for stage in chain.json("status", selector)["stages"]) == stages
    assert ran(chain, selector) == stages
    assert ran(chain, selector) == []
    named = [stage for stage in stages if not selector.startswith("out") or stage.startswith("out")]
    assert ran(chain, "-f", selector) == named
    for stage in named:
        assert f"{stage}: up to date\n" in chain.succeed("explain", selector).stdout


def test_a_run_of_a_template_continues_after_a_failure(chain):
    fails = ["sh", "-c", '[ -e go ] || [ "$1" != work/b.txt ] && cp "$1" "$2"', "sh", "{inputs.x}", "{outputs.o}"]
    chain.define(copy("work", to="work/{each.s}.txt"), copy("out", "work/{each.s}.txt", each="work", command=fails))
    assert chain.run("out").returncode == 1
    chain.write("go", "")
    assert "out@b" in ran(chain, "out")
    assert len({record["run"] for record in chain.records("attempt.started")}) == 1, "it is the same run"
    assert chain.run("verify").returncode == 0


@pytest.mark.full
@pytest.mark.parametrize("selector", full_but(["*,1", "[!b]*,1", "*%20*", "*" * 300], ["*%20*", "*" * 300]))
def test_any_selector_that_runs_stages_leaves_an_intact_record(bench, selector):
    bench.define({"name": "t", "each": {"s": ["a", "c d"], "l": [1, 2]}, "command": ["touch", "{outputs.o}"],
                  "outputs": {"o": "out/{each.s}-{each.l}"}})  # fmt: skip
    bench.succeed("-q", selector)
    assert bench.run("verify").returncode == 0
    bench.succeed("prune", "--before", "0d")


def test_an_unknown_selector_has_a_hint(chain):
    for selector, hint in (("wrk", '"work"'), ("work@b3", '"work@b"'), ("out@z*", "")):
        done = chain.run("plan", selector)
        assert done.returncode == 2 and f'no stage named "{selector}"' in done.stderr and hint in done.stderr
    chain.define(copy(each={"s": ["s1"], "l": [1, 2]}, inputs={}, command=["touch", "{outputs.o}"],
                      to="{each.s}-{each.l}"))  # fmt: skip
    assert "did you mean 'copy@s1,*'?" in chain.run("plan", "copy@s1").stderr


def test_a_param_is_for_a_template_or_one_instance_and_that_of_the_instance_wins(chain):
    chain.define(copy(params={"n": 1, "m": 1}, command=["sh", "-c", "echo $1 $2", "sh", "{params.n}", "{params.m}"],
                      stdout="o"))  # fmt: skip
    chain.succeed("--param", "copy@b.n=3", "--param", "copy.n=2", "--param", "copy@a.m=5")
    assert [chain.read(f"out/{name}.txt") for name in ("a", "b", "b2")] == [b"2 5\n", b"3 1\n", b"2 1\n"]
    done = chain.run("plan", "--param", "copy@c.n=1")
    assert done.returncode == 2 and 'no stage named "copy@c"' in done.stderr


def test_logs_of_several_instances_follow_each_other(bench):
    sources(bench, "a", "b")
    bench.define(copy(command=["sh", "-c", 'echo "log of $1"; cp "$1" "$2"', "sh", "{inputs.x}", "{outputs.o}"]))
    bench.succeed()
    assert bench.succeed("log", "copy").stdout == (
        "==> copy@a\nlog of in/a.txt\n==> copy@b\nlog of in/b.txt\n"
    )  # fmt: skip
    assert bench.succeed("log", "copy@b").stdout == "log of in/b.txt\n"
    sources(bench, "c")
    assert bench.succeed("log", "copy").stdout.count("==>") == 2, "an instance that was not started has no log"


@pytest.mark.parametrize("selector", ["copy", "copy@*", "copy@a"])
def test_the_log_of_a_stage_that_was_never_started_is_an_error(bench, selector):
    sources(bench, "a", "b")
    bench.define(copy())
    done = bench.run("log", selector)
    assert (done.returncode, done.stderr) == (2, f"error: stage {selector}: was never started\n")


@pytest.mark.full
def test_all_orphans_are_one_warning(bench):
    sources(bench, "a", "b", "c", "d")
    bench.define(copy(), copy("other", to="other/{each.s}.txt", each={"s": ["a"]}), gather())
    bench.succeed()
    for name in "bcd":
        (bench.root / f"in/{name}.txt").unlink()
    bench.define(copy(), gather())
    output = bench.succeed("plan").stderr
    assert output.count("warning: ") == 1
    assert (
        "4 outputs that no stage declares any more are orphans: other/a.txt, out/b.txt, out/c.txt and 1 more\n"
        in output
    )
    assert bench.succeed().stderr.count("warning: ") == 1
    assert bench.json("status")["undeclared"] == ["other/a.txt", "out/b.txt", "out/c.txt", "out/d.txt"]
    assert bench.succeed("verify", "--outputs").stdout.count(" is an orphan: ") == 4


def test_plan_and_status_collapse_instances(chain):
    chain.succeed()
    assert chain.succeed("plan").stdout == "work  3 of 3 up to date\nout   3 of 3 up to date\nall   skip\n"
    chain.write("in/b.txt", "new\n")
    (chain.root / "out/a.txt").unlink()
    lines = [
        "work  2 of 3 up to date, 1 to run\n", "out   1 of 3 up to date, 1 to run, 1 may run\n",
        "all   depends  on what out will make\n",
    ]  # fmt: skip
    assert chain.succeed("plan").stdout == "".join(lines)
    assert chain.succeed("status").stdout.endswith("pending:\n" + "".join(f"  {line}" for line in lines))
    full = chain.succeed("plan", "-v").stdout
    assert full.startswith("work@a   skip\nwork@b   run      input in/b.txt: ") and "on what out@a, out@b will" in full
    assert "  work@b  run      input in/b.txt: " in chain.succeed("status", "-v").stdout
    assert len(chain.json("plan")["stages"]) == 7


def test_a_plan_names_the_instances_that_failed_or_are_blocked(chain):
    fails = ["sh", "-c", 'case "$1" in *b.txt) exit 3; esac; cp "$1" "$2"', "sh", "{inputs.x}", "{outputs.o}"]
    work = copy("work", to="work/{each.s}.txt", each={"s": ["a", "b", "b2"]})
    chain.define(work, copy("out", "work/{each.s}.txt", each="work", command=fails), gather())
    run = chain.run("-k").stdout.partition("(run ")[2].partition(")")[0]
    (chain.root / "in/b2.txt").unlink()
    lines = [
        "work     2 of 3 up to date, 1 blocked\n", 'work@b2  blocked  "in/b2.txt": no such file\n',
        "out      1 of 3 up to date, 1 to run, 1 blocked\n",
        f"out@b    run      no completed run; failed in run {run}: exit 3\n", "out@b2   blocked  by work\n",
        "all      blocked  by out\n",
    ]  # fmt: skip
    assert chain.run("plan").stdout == "".join(lines)


def test_a_run_counts_instances_and_names_those_that_fail(chain):
    fails = ["sh", "-c", 'case "$1" in *b.txt) exit 3; esac; cp "$1" "$2"', "sh", "{inputs.x}", "{outputs.o}"]
    chain.define(copy("work", to="work/{each.s}.txt"), copy("out", "work/{each.s}.txt", each="work", command=fails))
    lines = unstamped(chain.run("-k").stderr)
    assert "work: 3 succeeded\n" in lines and "out: 2 succeeded, 1 failed\n" in lines
    assert "out@b: failed in " in lines and "work@" not in lines and "out@a" not in lines
    assert "out@b: started\n" in chain.run("-k", "-v").stderr


def test_the_graph_draws_a_template_as_one_box(chain):
    assert chain.succeed("graph").stdout == "work (3)\nout (3)  <- work (3)\nall      <- out (3)\n"
    assert '  "work (3)" -> "out (3)";\n' in chain.succeed("graph", "--format", "dot").stdout
    assert '  s3["out (3)"]\n' in chain.succeed("graph", "--format", "mermaid").stdout
    assert chain.succeed("graph", "--expand").stdout.count("\n") == 7


# ---- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "at", "what"),
    [
        ({"s": "in/a.txt"}, "/s", '"in/a.txt" must have exactly one *, and no other wildcard'),
        ({"s": "*/*.txt"}, "/s", '"*/*.txt" must have exactly one *, and no other wildcard'),
        ({"s": "in/**"}, "/s", '"in/**" must have exactly one *, and no other wildcard'),
        ({"s": "in/*?"}, "/s", '"in/*?" must have exactly one *, and no other wildcard'),
        ({"s": "in/*[a]"}, "/s", '"in/*[a]" must have exactly one *, and no other wildcard'),
        ({"s": "in/*/"}, "/s", '"in/*/" must have exactly one *, and no other wildcard'),
        ({"s": "in/*/../x"}, "/s", '".." after the *'),
        ({"s": "out/*.txt"}, "/s", '"out/*.txt" reads "out/mine.txt", an output of stage "copy@mine"'),
        ({"s": "*/x.txt"}, "/s", '"*/x.txt" reads "tree/", an output of stage "tree"'),
        ({"s": []}, "/s", "is empty"),
        ({"s": [True]}, "/s/0", "must be a string or a number, not true"),
        ({"s": ["a", ""]}, "/s/1", "an empty value"),
        ({"s": ["a", "b", "a"]}, "/s/2", '"a" appears twice'),
        ({"s": ["a", "A"]}, "/s/1", '"A" differs from "a" by case only'),
        ({"s": ["x" * 200]}, "/s/0", "the name of the instance has 205 bytes, 200 at most"),
        ({"s": "in/x*.txt"}, "/s", "an empty value"),
        ({"rows": "tree/t.csv"}, "/rows", '"tree/t.csv" reads "tree/", an output of stage "tree"'),
        ({"rows": "t.csv", "key": "x"}, "/key", 't.csv: no column "x"'),
        ({"rows": "t.csv", "key": ["s", "s"]}, "/key", '"s" appears more than once'),
        ({"key": "x"}, "", '"rows" is missing'),
        ("nothing", "", 'no stage named "nothing" has an each'),
        ("tree", "", 'no stage named "tree" has an each'),
        ("copy", "", "its values depend on its own instances: copy -> copy"),
    ],
)  # fmt: skip
def test_a_mistake_in_each_has_its_place(bench, each, at, what):
    sources(bench, "a", "x")
    for path in ("t.csv", "made.csv", "tree/t.csv"):
        bench.write(path, "s\na\n")
    bench.write("out/mine.txt", "")
    touch = {"command": ["touch", "{outputs.o}"]}
    to = "out/mine.txt" if each == {"s": "out/*.txt"} else "out/{each.s}.txt"
    bench.define(
        copy(each=each, inputs={}, **touch, to=to),
        {"name": "tree", **touch, "outputs": {"o": "tree/"}}, {"name": "made", **touch, "outputs": {"o": "made.csv"}},
    )  # fmt: skip
    where, text = fault(bench)
    assert (where, text.partition("\nhint: ")[0]) == (f"/stages/0/each{at}", what)


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"each": None}, "/stages/0/each"),
        ({"each": ["a"]}, "/stages/0/each/0"),
        ({"each": {"s": "in/a.txt"}}, "/stages/0/each/s"),
        ({"each": {"s": ["a", "a"]}}, "/stages/0/each/s/1"),
        ({"each": {"s": "{vars.no}/*.txt"}}, "/stages/0/each/s"),
        ({"each": {"s": "{vars.bad}/*.txt"}, "params": {"p": "{vars.good}"}}, "/vars/bad"),
        ({"each": {"a b": "in/*.txt"}}, "/stages/0/each/a b"),
        ({"each": {"rows": "t.csv", "keys": "s"}}, "/stages/0/each/keys"),
        ({"each": {"rows": "t.csv", "key": "x"}}, "/stages/0/each/key"),
        ({"each": {"rows": "ragged.csv"}}, "/stages/0/each/rows"),
        ({"each": "nothing"}, "/stages/0/each"),
    ],
)
def test_one_mistake_is_one_error_whatever_depends_on_it(bench, change, at):
    sources(bench, "a")
    bench.write("t.csv", "s\na\n")
    bench.write("ragged.csv", "s\na,b\n")
    bench.define(
        {**copy(), **change}, copy("two", "out/{each.s}.txt", "two/{each.s}.txt", each="copy"),
        copy("third", "two/{each.t}.txt", "third/{each.t}.txt", each={"t": "two/*.txt"}),
        gather("third/*.txt", needs=["copy@a", "two@*", "*@a"]),
        vars={"bad": {}, "good": 1} if at == "/vars/bad" else {"good": 1},
    )  # fmt: skip
    assert fault(bench)[0] == at


def test_what_needs_an_instance_of_a_template_whose_table_is_missing_is_blocked(bench):
    touch = {"command": ["touch", "{outputs.o}"]}
    bench.define(
        {"name": "made", "each": {"rows": "t.csv"}, **touch, "outputs": {"o": "out/{each.s}"}},
        *({"name": name, **touch, "outputs": {"o": name}, "needs": [needs]}
          for name, needs in (("one", "made@a"), ("any", "*@a"), ("other", "one"))),
        {"name": "free", **touch, "outputs": {"o": "free"}},
    )  # fmt: skip
    assert planned(bench) == dict.fromkeys(("made", "one", "any", "other"), "blocked") | {"free": "run"}
    assert planned(bench, "made@a", "--param", "made@a.p=1") == {"made": "blocked"}
    assert bench.run("plan", "--param", "free@a.p=1").returncode == 2
    assert bench.run("run", "-k").returncode == 5
    assert [record["data"]["stage"] for record in bench.records("attempt.started")] == ["free"]
    assert bench.run("run", "free@a").returncode == 2


def test_templates_in_a_cycle_are_refused(bench):
    bench.define(
        copy("a", "b/{each.s}", "a/{each.s}", each={"s": "b/*"}),
        copy("b", "a/{each.s}", "b/{each.s}", each={"s": "a/*"}),
    )
    done = bench.run("validate")
    assert done.returncode == 2
    assert [line.partition("#")[2] for line in done.stderr.splitlines()[::2]] == [
        f"/stages/{index}/each: its values depend on its own instances: {cycle}"
        for index, cycle in enumerate(("a -> b -> a", "b -> a -> b"))
    ]


@pytest.mark.full
@pytest.mark.parametrize("reads", full_but(["out/a.txt", "out/a*.txt", "out/", "out/*.txt"], ["out/a.txt", "out/"]))
@pytest.mark.parametrize("words", full_but([(), ("-k",)], [("-k",)]))
def test_outputs_of_a_template_whose_table_is_missing_are_not_read(bench, reads, words):
    bench.write("t.csv", "s\na\n")
    made = {"name": "made", "each": {"rows": "t.csv"}, "command": ["touch", "{outputs.o}"],
            "outputs": {"o": "out/{each.s}.txt"}}  # fmt: skip
    reader = {"name": "read", "command": ["ls", "-R", "{inputs.x}"], "stdout": "o", "inputs": {"x": reads},
              "outputs": {"o": "all.txt"}, "params": {"p": 1}}  # fmt: skip
    bench.define(made, reader)
    bench.succeed()
    (bench.root / "t.csv").unlink()
    bench.define(made, {**reader, "params": {"p": 2}})
    assert planned(bench) == {"made": "blocked", "read": "blocked"}
    started = len(bench.records("attempt.started"))
    assert bench.run(*words).returncode == 5
    assert len(bench.records("attempt.started")) == started


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("t.csv", "s,t\na\n", "t.csv:2: has 1 cells, and the header has 2"),
        ("t.csv", "s,s\na,b\n", 't.csv:1: two columns are called "s"'),
        ("t.csv", 's\na\n"b\nc\n', "t.csv:3: unexpected end of data"),
        ("t.csv", b"s\n\xff\n", "t.csv:2: is not UTF-8: byte 0xff at offset 2"),
        ("t.csv", "s,t\n,b\n", 't.csv:2: the key "" is empty or has spaces around it'),
        ("t.csv", "s,t\na,b\nc ,d\n", 't.csv:3: the key "c " is empty or has spaces around it'),
        ("t.csv", "s\na\nA\n", "t.csv:3: A differs from a by case only"),
        ("t.json", "{}", "t.json: must be an array, not an object"),
        ("t.json", "[", "t.json:1:2: expecting value"),
        ("t.json", '[{"s": [1]}]', "t.json#/0/s: must be a string or a number or true or false, not an array"),
        ("t.json", '[{"s": 1}, {"t": 1}]', "t.json#/1: has other names than the first row"),
        ("t.json", "[{}]", "t.json#/0: is empty"),
    ],
)
def test_a_mistake_in_a_table_has_its_line(bench, name, content, what):
    bench.write(name, content)
    bench.define(copy(each={"rows": name}, inputs={}, command=["touch", "{outputs.o}"]))
    where, text = fault(bench)
    assert (where, text.partition("\nhint: ")[0]) == ("/stages/0/each/rows", what)


def test_two_instances_with_one_output_are_a_fault_that_names_both(bench):
    sources(bench, "a", "b")
    bench.define(copy(to="out/same.txt"))
    where, text = fault(bench)
    assert where == "/stages/0/outputs/o"
    assert text.startswith('copy@b: "out/same.txt" is already an output of stage "copy@a"\n')


@pytest.mark.parametrize(
    ("field", "cell", "what"),
    [
        ("inputs", "", "t.csv:3: copy@b: is empty"),
        ("inputs", "\0", 't.csv:3: copy@b: "\\u0000" holds a control character'),
        ("inputs", "x" * 5000, "t.csv:3: copy@b: is 5,000 characters long"),
        ("outputs", "", "t.csv:3: copy@b: is empty"),
        ("inputs", "state/x", 'copy@b: "state/x" is in the state directory'),
        ("outputs", "../x", 'copy@b: "../x" is outside the workspace'),
        ("outputs", "x" * 300, "copy@b: a file name of 300 bytes"),
        ("outputs", "in", 'copy@b: "in" is an existing directory'),
        ("outputs", "in/a.txt", 'copy@b: "in/a.txt" is also read by this stage, as input "x"'),
        ("processor", "none.py", 'copy@b: no such file: "none.py"'),
    ],
)
def test_a_fault_in_a_cell_names_its_row_and_instance(bench, field, cell, what):
    sources(bench, "a")
    bench.write("cp", "#!/bin/sh\n", 0o755)
    cells = {"inputs": "in/a.txt", "outputs": "b", "processor": "cp"} | {field: cell}
    bench.write("t.csv", f"s,inputs,outputs,processor\na,in/a.txt,a,cp\nb,{','.join(cells.values())}\n")
    stage = copy(source="{each.inputs}", to="{each.outputs}", each={"rows": "t.csv"}, processor="{each.processor}")
    bench.define({name: value for name, value in stage.items() if name != "command"})
    where, text = fault(bench)
    assert where.startswith(f"/stages/0/{field}") and text.partition("\nhint: ")[0] == what


def test_a_glob_that_matches_outputs_of_another_value_is_a_fault(bench):
    sources(bench, "s1", "s10")
    merge = copy("merge", "out/{each.s}*.txt", "merged/{each.s}.txt", command=["cat", "{inputs.x}"], stdout="o")
    bench.define(copy(), merge)
    where, text = fault(bench)
    assert where == "/stages/1/inputs/x"
    assert text.startswith('"out/s1*.txt" of "merge@s1" also matches "out/s10.txt" of "copy@s10"\nhint: ')
    merge["inputs"] = {"x": ["out/{each.s}.t*", "out/{each.s}.txt"]}
    bench.define(copy(), merge)
    assert ran(bench) == ["copy@s1", "copy@s10", "merge@s1", "merge@s10"]


def test_a_missing_program_is_one_fault_for_all_instances(bench):
    sources(bench, "a", "b")
    bench.define(copy(command=["no-such-program", "{inputs.x}"]))
    where, text = fault(bench)
    assert where == "/stages/0/command/0" and '"no-such-program"' in text


def test_a_missing_input_that_all_instances_read_is_one_fault(bench):
    sources(bench, "a", "b")
    bench.define(copy(inputs={"x": "in/{each.s}.txt", "y": "shared"}))
    for verb in ("run", "plan", "validate", "clean --orphans"):
        done = bench.run(*verb.split())
        assert done.returncode == 5 and done.stderr.count('#/stages/0/inputs/y: "shared": no such file') == 1, verb


def test_a_placeholder_without_its_value_is_a_fault_with_a_hint(bench):
    sources(bench, "a")
    bench.define(copy(source="in/{each.sample}.txt", each={"samples": "in/*.txt"}, to="out/{each.samples}"))
    assert fault(bench) == (
        "/stages/0/inputs/x", '{each.sample}: no value named "sample"\nhint: did you mean "samples"?'
    )  # fmt: skip


def test_wildcards_of_a_value_match_themselves(bench):
    sources(bench, "a*", "ab", "[x]")
    bench.define(
        copy(to="work/{each.s}.txt"), copy("two", "work/{each.s}.t*", "out/{each.s}.txt", each="copy"), gather()
    )
    assert len(ran(bench)) == 7
    assert bench.read("out/a*.txt") == b"a*\n" and bench.read("out/[x].txt") == b"[x]\n"
