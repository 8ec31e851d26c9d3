"""Which stages run again because their absent outputs are needed, and what a run removes."""

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.plan.decisions import Depends, Reason, Run


@pytest.fixture
def bench(tmp_path):
    bench = PlanBench(tmp_path)
    bench.write("in.txt", "input")
    return bench


def maker(name="make", source="in.txt", output="w/a", **fields):
    return shell(name, "true", inputs={"in": source}, outputs={"o": output}, temporary=["o"], **fields)


def reader(name="read", *sources, **fields):
    return shell(name, "true", inputs={"in": [*sources]}, **fields)


def remove(bench, *paths):
    for path in paths:
        (bench.root / path).unlink()


def kinds(bench, **options):
    return {name: type(decision).__name__ for name, decision in bench.decisions(**options).items()}


def removes(bench, **options):
    return bench.session(**options).plan().plan.removes


def chain(bench):
    bench.define(maker("a", output="w/a"), maker("b", "w/a", "w/b"), maker("c", "w/b", "w/c"), reader("d", "w/c"))
    bench.complete()
    remove(bench, "w/a", "w/b", "w/c")


def test_absent_ones_are_no_reason_to_run(bench):
    chain(bench)
    assert bench.session().plan().plan.is_noop
    assert bench.inputs("d") == {"in": ["w/c"]}


def test_a_glob_matches_absent_ones_as_if_they_were_there(bench):
    bench.define(maker("a", output="w/a"), maker("b", output="w/b"), reader("read", "w/*", "in.txt"))
    bench.complete()
    remove(bench, "w/a")
    assert bench.inputs("read") == {"in": ["w/a", "w/b", "in.txt"]}
    assert kinds(bench)["read"] == "Skip"
    bench.write("w/a", "else")
    assert kinds(bench)["read"] == "Skip"


def test_a_chain_runs_again_back_to_its_beginning(bench):
    chain(bench)
    remove(bench, "out/d.txt")
    decisions = bench.decisions()
    assert set(map(type, decisions.values())) == {Run}
    assert decisions["a"] == Run((Reason("needed", "b needs w/a again"),))


def test_only_back_to_what_is_there(bench):
    chain(bench)
    bench.define(maker("a", output="w/a"), maker("b", "w/a", "w/b"), maker("c", "w/b", "w/c"), reader("d", "w/c"))
    remove(bench, "out/d.txt")
    bench.complete("a", "b")
    assert kinds(bench) == {"a": "Skip", "b": "Skip", "c": "Run", "d": "Run"}


def test_other_readers_depend_and_what_they_need_may_be_needed(bench):
    two = shell("two", "true", inputs={"x": "w/a", "y": "w/b"})
    bench.define(
        maker("a", output="w/a"), maker("b", output="w/b"), reader("one", "w/a"), two, reader("end", "out/two.txt")
    )
    bench.complete()
    remove(bench, "w/a", "w/b", "out/one.txt")
    decisions = bench.decisions()
    assert kinds(bench) == {"a": "Run", "b": "Depends", "one": "Run", "two": "Depends", "end": "Depends"}
    assert decisions["b"] == Depends((), ("two may need w/b again",))
    assert decisions["two"] == Depends(("a",))


def test_a_plan_names_what_a_run_removes(bench):
    bench.define(maker(), reader("read", "w/a"))
    assert removes(bench) == ("w/a",)
    bench.complete()
    assert removes(bench) == ("w/a",)
    assert not bench.session().plan().plan.is_noop
    assert removes(bench, keep_temporary=True) == ()
    remove(bench, "w/a")
    assert removes(bench) == ()


def test_it_names_nothing_that_a_stage_outside_may_read(bench):
    bench.define(maker(), reader("one", "w/a"), reader("two", "w/a"))
    bench.complete("make", "one")
    assert removes(bench, stages=("one",)) == ()
    bench.complete("two")
    assert removes(bench, stages=("one",)) == ("w/a",)


def test_a_stage_outside_that_reads_many_is_decided_once(bench):
    makers = [maker(f"make{number}", output=f"w/{number}") for number in range(9)]
    bench.define(*makers, shell("between", "true"), reader("all", "w/*", needs=["between"]), reader("one", "w/1"))
    bench.complete()
    planning = bench.session(stages=("make*", "one")).plan()
    names = [stage["name"] for stage in makers]
    temporary = planning.planner.temporary
    assert temporary.outside(planning.plan.decisions) == {"all": ({*names}, {"all", "between"})}
    decided = []
    assert [*temporary.removable(planning.plan.decisions, lambda name: not decided.append(name))] == [
        f"w/{number}" for number in range(9)
    ]
    assert sorted(decided) == ["all", "between"]
    assert [*temporary.removable(planning.plan.decisions, lambda name: name == "all")] == []


def test_a_stage_without_a_usable_marker_has_nothing_absent(bench):
    bench.define(maker(), reader("read", "w/a"))
    bench.complete()
    remove(bench, "w/a", "state/stage_make.json")
    assert kinds(bench) == {"make": "Run", "read": "Depends"}


def test_a_blocked_reader_needs_nothing(bench):
    bench.define(maker(), reader("read", "w/a", "gone.txt"))
    bench.write("gone.txt", "")
    bench.complete()
    remove(bench, "w/a", "gone.txt")
    assert kinds(bench) == {"make": "Skip", "read": "Blocked"}
    assert removes(bench) == ()
