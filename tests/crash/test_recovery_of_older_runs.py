"""Recovery of an open run does not put its outputs over later work of another run or the user."""

from __future__ import annotations

import signal

import pytest
from pipeline_bench import kill, shell, wait_for

from runner.paths import partial_path

pytestmark = pytest.mark.full

FAILS = shell("last", "test -e go && touch $PIPELINE_OUTPUT_OUT", needs=["link"])
WAITS = shell("last", "test -e go && exec touch $PIPELINE_OUTPUT_OUT; touch ready; sleep 600", needs=["link"])


def link(**params):
    """Return a stage whose output has the same inode, size and time with any params."""
    command = ["ln", "{inputs.text}", "{outputs.out}"]
    return {
        "name": "link", "command": command, "inputs": {"text": "in.txt"}, "outputs": {"out": "out/link.txt"},
        "params": params,
    }  # fmt: skip


def runs_of(bench):
    return sorted(record["run"] for record in bench.records("stage.commit") if record["data"]["stage"] == "link")


@pytest.mark.parametrize("ended", ["failed", "killed"])
def test_the_marker_of_a_later_run_stays(bench, ended):
    bench.write("in.txt", "x\n")
    last = FAILS if ended == "failed" else WAITS
    bench.define(link(x=1), last)
    process = bench.start("--run-id", "A")
    if ended == "killed":
        wait_for((bench.root / "ready").exists)
        kill(process.pid, signal.SIGKILL)
    process.wait(timeout=30)
    bench.define(link(x=2), last)
    bench.succeed("run", "link", "--run-id", "B")
    assert runs_of(bench) == ["A", "B"]
    assert bench.run("verify").returncode == 3
    bench.write("go", "")
    bench.succeed()
    assert runs_of(bench) == ["A", "B"]
    assert bench.run("verify", "--outputs").returncode == 0
    assert bench.leftovers() == []


def test_an_unfinished_commit_replaces_the_marker_of_the_commit_before_it(bench):
    """Three runs in a row stay open. Of the newest, only the record exists, as after a power cut."""
    bench.write("in.txt", "x\n")
    marker, before = bench.root / "state/stage_link.json", b""
    for number, run in enumerate("ABC"):
        bench.define(link(x=number), FAILS)
        assert bench.run("--run-id", run).returncode == 1
        before = before or marker.read_bytes()
    marker.write_bytes(before)
    bench.write("go", "")
    bench.succeed()
    assert runs_of(bench) == ["A", "B", "C"]
    assert bench.run("verify").returncode in (0, 3)  # A and B may stay open: nothing of them is needed any more


MAKE = shell("make", 'cat text > "$PIPELINE_OUTPUT_OUT"')
STOP = shell("last", "exit 1", needs=["make"])


def committed(bench):
    """Commit `new` in a stage of a run that stays open; return the path that its partial had."""
    bench.define(MAKE, STOP)
    bench.write("text", "new")
    assert bench.run("run", "-f").returncode == 1
    tag = bench.records("stage.commit")[-1]["data"]["tag"]
    return partial_path(str(bench.root / "out/make.txt"), tag)


def test_a_file_that_the_user_put_in_place_of_a_former_output_is_kept(bench):
    partial = committed(bench)
    (bench.root / "out/make.txt").rename(partial)
    bench.write("out/make.txt", "the user's")
    bench.define(shell("take", 'cat "$PIPELINE_INPUT_IN" > "$PIPELINE_OUTPUT_OUT"', inputs={"in": "out/make.txt"}))
    done = bench.succeed()
    assert "out/make.txt: is left as it is" in done.stderr
    assert bench.read("out/make.txt") + bench.read("out/take.txt") == b"the user's" * 2
    assert bench.leftovers() == []
    assert "is left as it is" not in bench.succeed("run", "-f").stderr


def test_an_older_output_of_a_stage_that_is_gone_is_replaced_as_committed(bench):
    bench.define(MAKE, STOP)
    bench.write("text", "old")
    assert bench.run().returncode == 1
    real, marker = bench.root / "out/make.txt", bench.root / "state/stage_make.json"
    (bench.root / "kept").hardlink_to(real)
    before = marker.read_bytes()
    partial = committed(bench)
    real.rename(partial)
    real.hardlink_to(bench.root / "kept")
    marker.write_bytes(before)
    bench.define(shell("other", "touch $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    assert bench.read("out/make.txt") == b"new"


def test_a_declared_output_is_put_in_place_over_whatever_is_there(bench):
    partial = committed(bench)
    (bench.root / "out/make.txt").rename(partial)
    bench.write("out/make.txt", "somebody's")
    bench.run()
    assert bench.read("out/make.txt") == b"new"
