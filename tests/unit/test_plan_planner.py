"""What must run, and why. Stages are declared complete; then one thing changes, and the plan must name it."""

from __future__ import annotations

import os

import pytest
from pipeline_bench import shell
from plan_bench import PlanBench

from runner.plan.decisions import Blocked, Depends, Run, Skip
from runner.plan.planner import differences
from runner.record.markers import read_marker, write_marker


@pytest.fixture
def bench(tmp_path):
    bench = PlanBench(tmp_path)
    bench.write("in.txt", "input")
    return bench


def stage(name="a", source="in.txt", **fields):
    return shell(name, "true", inputs={"in": source}, **fields)


def chain(bench, *, middle=None):
    """Define a -> b -> c, and d beside them. `middle`: more fields of b."""
    bench.define(
        stage("a"), stage("b", "out/a.txt", **(middle or {})), stage("c", "out/b.txt"), shell("d", "true")
    )  # fmt: skip


def kinds(decisions):
    return {name: type(decision).__name__ for name, decision in decisions.items()}


# ---- up to date, or not ----


def test_stages_that_never_ran_all_run(bench):
    chain(bench)
    decisions = bench.decisions()
    assert set(kinds(decisions).values()) == {"Run"}
    assert bench.reasons()[0][:2] == ("marker", "no completed run")


def test_a_complete_stage_is_skipped_with_its_key(bench):
    chain(bench)
    bench.complete()
    assert bench.session().plan().plan.is_noop
    assert bench.decisions()["a"] == Skip(bench.fingerprint().key)


def test_a_stage_that_runs_makes_those_below_depend_and_leaves_the_rest(bench):
    chain(bench)
    bench.complete()
    bench.write("in.txt", "other input")
    decisions = bench.decisions()
    assert kinds(decisions) == {"a": "Run", "b": "Depends", "c": "Depends", "d": "Skip"}
    assert (decisions["b"], decisions["c"]) == (Depends(("a",)), Depends(("b",)))


def test_stages_below_are_skipped_if_upstream_made_the_same_content(bench):
    chain(bench)
    bench.complete()
    bench.write("in.txt", "other input")
    bench.complete("a")
    assert bench.session().plan().plan.is_noop


def test_a_stage_that_is_out_of_date_runs_whatever_upstream_changes(bench):
    chain(bench)
    bench.complete()
    bench.write("in.txt", "other input")
    chain(bench, middle={"params": {"x": 1}})
    (reason,) = bench.decisions()["b"].reasons
    assert reason == ("params", "x", None, 1)


def test_without_its_input_a_stage_and_all_that_need_it_are_blocked(bench):
    bench.define(stage("a", "none.txt"), stage("b", "out/a.txt"), shell("c", "true", needs=["b"]), shell("d", "true"))
    decisions = bench.decisions()
    assert isinstance(decisions["a"], Blocked)
    assert (decisions["b"], decisions["c"]) == (Blocked(("a",)), Blocked(("b",)))
    assert isinstance(decisions["d"], Run)


def test_an_input_that_a_stage_will_make_need_not_be_there(bench):
    chain(bench)
    bench.complete()
    os.unlink(bench.root / "out/a.txt")
    assert kinds(bench.decisions()) == {"a": "Run", "b": "Depends", "c": "Depends", "d": "Skip"}


def gather(bench, *entries):
    """Define a and b, and all, which reads `entries`. Complete them, and then change a."""
    for path in ("in/x.txt", "in/y.txt"):
        bench.write(path, path)
    reader = stage("all", entries, outputs={"out": "all.txt"})
    bench.define(stage("a"), stage("b"), reader)
    bench.complete()
    bench.define(stage("a", params={"x": 1}), stage("b"), reader)
    assert kinds(bench.decisions()) == {"a": "Run", "b": "Skip", "all": "Depends"}


@pytest.mark.parametrize("entries", [("out/a.txt", "in/x.txt"), ("in/*.txt", "out/a.txt"), ("out/*.txt", "in/*.txt")])
def test_a_changed_file_beside_an_output_still_to_be_made_is_a_reason_to_run(bench, entries):
    gather(bench, *entries)
    bench.write("in/x.txt", "other")
    (reason,) = bench.reasons("all")
    assert reason[:2] == ("inputs", "in: in/x.txt")


def test_a_new_a_removed_and_a_remade_file_beside_an_output_still_to_be_made_are_reasons_to_run(bench):
    gather(bench, "out/*.txt", "in/*.txt")
    os.unlink(bench.root / "in/y.txt")
    bench.write("in/z.txt", "new")
    bench.write("out/other.txt", "new")
    assert [reason[1] for reason in bench.reasons("all")] == ["in: in/y.txt", "in: in/z.txt", "in: out/other.txt"]


def test_what_is_in_the_place_of_an_output_still_to_be_made_does_not_matter(bench):
    gather(bench, "out/*.txt", "in/x.txt")
    os.unlink(bench.root / "out/a.txt")
    os.symlink("nowhere", bench.root / "out/a.txt")
    assert kinds(bench.decisions()) == {"a": "Run", "b": "Skip", "all": "Depends"}


def test_a_directory_in_which_an_output_is_still_to_be_made_is_no_reason_yet(bench):
    gather(bench, "out/", "in/x.txt")
    bench.write("out/stray.txt", "new")
    assert kinds(bench.decisions()) == {"a": "Run", "b": "Skip", "all": "Depends"}


def test_needs_alone_orders_and_decides_nothing(bench):
    bench.define(stage("a"), shell("b", "true", needs=["a"]))
    bench.complete()
    bench.write("in.txt", "other input")
    assert kinds(bench.decisions()) == {"a": "Run", "b": "Skip"}


# ---- what changed ----

BASE = {"params": {"x": 1, "y": [1, 2]}, "env": {"E": "1"}}
CHANGES = {
    "a parameter": ({"params": {"x": 2, "y": [1, 2]}}, ("params", "x", 1, 2)),
    "a parameter more": ({"params": {"x": 1, "y": [1, 2], "z": 0}}, ("params", "z", None, 0)),
    "a parameter that is null": ({"params": {"x": 1, "y": [1, 2], "z": None}}, ("params", "z", None, None)),
    "a parameter less": ({"params": {"x": 1}}, ("params", "y", [1, 2], None)),
    "a float for an integer": ({"params": {"x": 1.0, "y": [1, 2]}}, ("params", "x", 1, 1.0)),
    "true for one": ({"params": {"x": True, "y": [1, 2]}}, ("params", "x", 1, True)),
    "a text for a number": ({"params": {"x": "1", "y": [1, 2]}}, ("params", "x", 1, "1")),
    "a float deep inside": ({"params": {"x": 1, "y": [1, 2.0]}}, ("params", "y", [1, 2], [1, 2.0])),
    "the environment": ({"env": {"E": "2"}}, ("env", "E", "1", "2")),
    "a variable": ({"env": {"F": "1"}}, ("env", "E", "1", None), ("env", "F", None, "1")),
    "the command": (
        {"command": ["sh", "-c", "false"]}, ("command", "argv", ["sh", "-c", "true"], ("sh", "-c", "false"))),
    "where output goes": ({"stdout": "out"}, ("command", "stdout", None, "out")),
    "where input comes from": ({"stdin": "in"}, ("command", "stdin", None, "in")),
    "a path": ({"outputs": {"out": "out/b.txt"}}, ("outputs", "out", "out/a.txt", "out/b.txt")),
    "an output's name": (
        {"outputs": {"o": "out/a.txt"}}, ("outputs", "o", None, "out/a.txt"), ("outputs", "out", "out/a.txt", None)),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_named_with_old_and_new(bench, what):
    fields, *expected = CHANGES[what]
    bench.define(stage(**BASE))
    bench.complete()
    assert bench.reasons() == []
    bench.define(stage(**{**BASE, **fields}) | fields)
    changes = bench.reasons()
    assert [(*reason[:2], repr(reason[2]), repr(reason[3])) for reason in changes] == [
        (component, name, repr(old), repr(new)) for component, name, old, new in expected
    ]


NO_CHANGES = {
    "the order of keys": {"params": {"y": [1, 2], "x": 1}},
    "a retry": {"retry": {"attempts": 3}},
    "a time limit": {"timeoutSeconds": 5},
    "resources": {"resources": {"cpus": 1}},
    "a checkpoint": {"checkpoint": {"everyLines": 5}},
    "a description": {"description": "text"},
    "an extension": {"x-owner": "me"},
}


@pytest.mark.parametrize("what", NO_CHANGES)
def test_what_no_output_depends_on_is_no_change(bench, what):
    bench.define(stage(**BASE))
    bench.complete()
    bench.define(stage(**{**BASE, **NO_CHANGES[what]}))
    assert bench.reasons() == []


def test_a_changed_input_is_named_by_file(bench):
    bench.write("more.txt", "")
    bench.define(stage(source="*.txt"))
    bench.complete()
    bench.write("more.txt", "text")
    (reason,) = bench.reasons()
    assert reason[:2] == ("inputs", "in: more.txt")
    assert len(reason.old) == len(reason.new) == 64


def test_a_key_of_an_unknown_version_is_not_compared(bench):
    bench.define(stage())
    session = bench.session()
    bench.complete()
    planner = session.plan().planner
    marker = planner.markers.of("a")._replace(key_version=99)
    (reason,) = planner.reasons(session.stages[0], bench.fingerprint(), marker)
    assert reason == ("key", "of a version that cannot be compared", 99, 1)


def test_a_key_that_differs_beyond_its_components_is_a_reason_all_the_same(bench):
    bench.define(stage())
    bench.complete()
    session = bench.session()
    planner = session.plan().planner
    marker = planner.markers.of("a")._replace(key="0" * 64)
    (reason,) = planner.reasons(session.stages[0], bench.fingerprint(), marker)
    assert reason[:3] == ("key", "differs", "0" * 64)


def test_components_that_only_one_side_knows_are_spread_as_well():
    assert list(differences({}, {"params": {"x": 1}, "interpreter": "i"})) == [
        ("interpreter", "", None, "i"), ("params", "x", None, 1),
    ]  # fmt: skip
    assert list(differences({"params": {}}, {})) == []


# ---- outputs ----


def replace_with(content):
    def replace(path):
        path.unlink()
        path.write_text(content)

    return replace


TAMPERED = {
    "removed": lambda path: path.unlink(),
    "changed": lambda path: path.write_text("something else"),
    "cut": lambda path: os.truncate(path, 3),
    "replaced by another of the same size": replace_with("A was here\n"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_an_output_that_was_tampered_with_is_made_again(bench, how):
    bench.define(stage())
    bench.complete()
    TAMPERED[how](bench.root / "out/a.txt")
    (reason,) = bench.reasons()
    assert reason[:2] == ("outputs", "out/a.txt")
    assert (reason.new is None) == (how == "removed")


def test_what_stands_in_an_outputs_place_is_never_opened(bench):
    bench.define(stage())
    bench.complete()
    os.unlink(bench.root / "out/a.txt")
    os.mkfifo(bench.root / "out/a.txt")
    assert [reason.new for reason in bench.reasons()] == ["is a FIFO, not a regular file"]


@pytest.mark.parametrize("how", ["touched", "copied"])
def test_the_same_bytes_in_an_outputs_place_are_no_change(bench, how):
    bench.define(stage())
    bench.complete()
    path = bench.root / "out/a.txt"
    os.utime(path, (0, 0)) if how == "touched" else replace_with("a was here\n")(path)
    assert bench.reasons() == []


def test_only_paranoia_sees_bytes_changed_behind_every_time_stamp(bench):
    bench.define(stage())
    bench.complete()
    path = bench.root / "out/a.txt"
    status = path.stat()
    path.write_text("A was here\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    paths = bench.session().spec.paths
    write_marker(paths, read_marker(paths, "a").in_place(str(bench.root)))  # nothing can put a ctime back
    assert bench.reasons() == []
    assert [reason[:2] for reason in bench.reasons(paranoid=True)] == [("outputs", "out/a.txt")]


# ---- forced ----


def test_force_runs_everything_or_only_those_named(bench):
    chain(bench)
    bench.complete()
    assert kinds(bench.decisions(force=True)) == dict.fromkeys("abcd", "Run")
    assert kinds(bench.decisions(force=True, stages=("b",))) == {"a": "Skip", "b": "Run"}
    assert bench.reasons("b", force=True)[0][:2] == ("forced", "asked for with --force")


# ---- a plan changes nothing ----


def test_planning_leaves_no_trace(bench):
    chain(bench)
    before = sorted(bench.root.rglob("*"))
    bench.decisions()
    assert sorted(bench.root.rglob("*")) == before
