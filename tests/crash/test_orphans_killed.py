"""A kill of `clean`, or of the commit of a renamed output, leaves no orphan that a glob matches, or that nothing knows.

The kills come at a seeded choice of calls, or at all with OFFPIPE_SWEEP=all.
"""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from call_tracer import trace, why_not
from crash_sweep import sample
from pipeline_bench import ROOT, PipelineBench, shell

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
MOST = 16  # calls
REMOVALS = ("unlink", "unlinkat", "rmdir", "rename", "fsync")


def stages(output):
    tree = 'cd "$PIPELINE_OUTPUT_T"; mkdir sub; echo x >x.txt; echo y >sub/y.txt'
    gone = [
        shell("tree", f'mkdir "$PIPELINE_OUTPUT_T"; {tree}', outputs={"t": "out/tree/"}),
        shell("b", "echo b >$PIPELINE_OUTPUT_OUT"),
    ]
    kept = [
        shell("a", "cp in.txt $PIPELINE_OUTPUT_OUT", inputs={"text": "in.txt"}, outputs={"out": output}),
        shell("all", "cat $PIPELINE_INPUT_P", inputs={"p": "out/**/*.txt"}, outputs={"out": "all"}, stdout="out"),
    ]
    return kept, gone


def with_orphans(root):
    """Lay out a workspace whose spec has lost stages `tree` and `b`, and whose stage `a` now has another output."""
    bench = PipelineBench(root)
    bench.root.mkdir()
    bench.write("in.txt", "a\n")
    kept, gone = stages("out/a.txt")
    bench.define(*kept, *gone)
    bench.succeed()
    assert bench.read("all") == b"a\nb\ny\nx\n"
    bench.define(*stages("out/new.txt")[0])
    return bench


def after_a_run(root):
    bench = with_orphans(root)
    bench.succeed()
    return bench


def killed(lay_out, tmp_path, *words, when=lambda call: True):
    """Yield a workspace for each chosen call at which the command was killed. None is a copy: `clean` would keep it."""

    def traced(position):
        bench = lay_out(tmp_path / f"killed-{position}")
        argv = [sys.executable, "-m", "runner", words[0], str(bench.spec), *words[1:]]
        return bench, trace(argv, log=str(tmp_path / "log"), cwd=str(ROOT), position=position, when=when)

    _, undisturbed = traced(0)
    positions = range(1, sum(map(when, undisturbed.calls)) + 1)
    kills = 0
    for position in sample(positions, MOST, " ".join(words)):
        bench, struck = traced(position)
        if struck.victims:
            kills += 1
            yield bench, f"call {position}: {struck.calls[struck.struck - 1]}"
        shutil.rmtree(bench.root)
    assert kills > 3


@pytest.mark.full
def test_a_killed_removal_leaves_nothing_that_a_glob_matches(tmp_path):
    for bench, call in killed(after_a_run, tmp_path, "clean", "--orphans"):
        bench.succeed()
        assert bench.read("all") == b"a\n", call
        bench.succeed("clean", "--orphans")
        assert os.listdir(bench.root / "out") == ["new.txt"], call
        bench.succeed("verify", "--outputs")


@pytest.mark.full
@pytest.mark.parametrize("words", [("clean", "--orphans"), ("clean",)])
def test_a_killed_clean_leaves_no_orphan_without_its_marker_and_the_next_removes_both(tmp_path, words):
    for bench, call in killed(after_a_run, tmp_path, *words, when=lambda call: call.name in REMOVALS):
        for stage, places in {"b": ("b.txt",), "tree": ("tree", ".partial-000000.tree")}.items():
            if any(bench.exists(f"out/{place}") for place in places):
                assert bench.exists(f"state/stage_{stage}.json"), call
        bench.succeed("verify", "--outputs")
        bench.succeed(*words)
        left = {path.name for path in (bench.root / "state").glob("stage_*")}
        assert left == ({"stage_a.json", "stage_all.json"} if "--orphans" in words else set()), call
        bench.succeed()
        assert bench.read("all") == b"a\n", call
        bench.succeed("verify", "--outputs")


@pytest.mark.full
def test_a_killed_run_forgets_no_former_output(tmp_path):
    for bench, call in killed(with_orphans, tmp_path, "run", when=lambda call: call.role == "runner"):
        bench.succeed()
        assert bench.read("all") == b"a\n", call
        removed = bench.succeed("clean", "--orphans").stdout
        assert removed == "removed out/a.txt\nremoved out/b.txt\nremoved out/tree\n", call
        bench.succeed("verify", "--outputs")


@pytest.mark.full
def test_a_killed_adoption_runs_nothing_again(tmp_path):
    def copy(name, file, **fields):
        return {
            "name": name, "command": ["cp", "{inputs.x}", "{outputs.o}"], "inputs": {"x": f"in/{file}.txt"},
            "outputs": {"o": f"out/{file}.txt"}, **fields,
        }  # fmt: skip

    def renamed(root):
        bench = PipelineBench(root)
        for name in "xy":
            bench.write(f"in/{name}.txt", f"{name}\n")
        bench.define(copy("copy-x", "x"), copy("copy-y", "y"))
        bench.succeed()
        bench.define(copy("copy", "{each.s}", each={"s": "in/*.txt"}))
        return bench

    for bench, call in killed(renamed, tmp_path, "run", when=lambda call: call.role == "runner"):
        bench.succeed()
        assert len(bench.records("attempt.started")) == 2, call
        assert [stage["decision"] for stage in bench.json("plan")["stages"]] == ["skip", "skip"], call
        bench.succeed("verify", "--outputs")
