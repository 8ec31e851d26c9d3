"""Outputs appear whole, all or none, under the key of what the stage really read."""

from __future__ import annotations

import os
import signal

import pytest
from pipeline_bench import kill_and_await, shell, unstamped, wait_for
from suites import full_but

TWO = {"one": "out/one.txt", "two": "out/two.txt"}


def test_several_outputs_are_one_commit(bench):
    bench.define(shell("a", "echo 1 > $PIPELINE_OUTPUT_ONE; echo 2 > $PIPELINE_OUTPUT_TWO", outputs=TWO))
    bench.succeed()
    (commit,) = bench.records("stage.commit")
    assert {name: output["path"] for name, output in commit["data"]["outputs"].items()} == TWO
    assert (bench.read("out/one.txt"), bench.read("out/two.txt")) == (b"1\n", b"2\n")


BAD = {
    "one of two is missing": ("echo 1 > $PIPELINE_OUTPUT_ONE", "did not write"),
    "the real path was written": (
        "echo 1 > $PIPELINE_OUTPUT_ONE; echo 2 > out/two.txt", "write to $PIPELINE_OUTPUT_TWO"),
    "a link": ("echo 1 > $PIPELINE_OUTPUT_ONE; ln -s one.txt $PIPELINE_OUTPUT_TWO", "a symbolic link"),
    "a directory": (
        "echo 1 > $PIPELINE_OUTPUT_ONE; mkdir -p $PIPELINE_OUTPUT_TWO/x", 'declare "out/two.txt/" if that is what you'),
    "what is printed": ("echo 1 > $PIPELINE_OUTPUT_ONE; echo 2", 'what it prints goes there with "stdout": "two"'),
    "a FIFO": ("echo 1 > $PIPELINE_OUTPUT_ONE; mkfifo $PIPELINE_OUTPUT_TWO", "but the stage made a FIFO"),
    "a failure after the work": ("echo 1 > $PIPELINE_OUTPUT_ONE; echo 2 > $PIPELINE_OUTPUT_TWO; exit 3", "exit 3"),
}  # fmt: skip


@pytest.mark.parametrize("what", full_but(BAD, BAD.keys() - {"what is printed", "a FIFO"}))
def test_nothing_is_published_when_anything_is_wrong(bench, what):
    script, message = BAD[what]
    bench.define(shell("a", "echo old > $PIPELINE_OUTPUT_ONE; echo old > $PIPELINE_OUTPUT_TWO", outputs=TWO))
    bench.succeed()
    bench.define(shell("a", script, outputs=TWO))
    done = bench.run()
    assert done.returncode == 1
    assert message in done.stderr
    assert bench.read("out/one.txt") == b"old\n"
    assert len(bench.records("stage.commit")) == 1
    assert bench.leftovers() == []


def test_a_directory_is_replaced_without_stale_leftovers(bench):
    script = (
        "mkdir -p $PIPELINE_OUTPUT_T/sub && echo {0} > $PIPELINE_OUTPUT_T/sub/{0}; ln -s sub/{0} $PIPELINE_OUTPUT_T/l"
    )
    for word in ("old", "new"):
        bench.define(shell("a", script.replace("{0}", word), outputs={"t": "tree/"}))
        bench.succeed()
    entries = sorted(str(path.relative_to(bench.root / "tree")) for path in (bench.root / "tree").rglob("*"))
    assert entries == ["l", "sub", "sub/new"]
    assert [path.name for path in bench.root.iterdir() if path.name.startswith(".partial")] == []
    assert bench.skips_everything()


def test_a_file_added_to_a_published_directory_makes_its_stage_run_again(bench):
    bench.define(shell("a", "mkdir $PIPELINE_OUTPUT_T; touch $PIPELINE_OUTPUT_T/x", outputs={"t": "tree/"}))
    bench.succeed()
    bench.write("tree/stale", "")
    bench.succeed()
    assert os.listdir(bench.root / "tree") == ["x"]


AS_A_USER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
FINE = ["ln -s nowhere l; mkdir -m 500 d", "touch \"$(printf 'a\\377b')\"", "ln -s / l", "chmod 500 ."]
UNUSABLE = ["mkfifo f", "mkdir -m 0 d", "chmod 0 .", "touch f; chmod 0 f"]


def tree_with(inside):
    return shell("a", f"mkdir $PIPELINE_OUTPUT_T; cd $PIPELINE_OUTPUT_T; touch x; {inside}", outputs={"t": "tree/"})


@pytest.mark.full_after(2)
@pytest.mark.parametrize("inside", FINE)
def test_a_directory_may_hold_and_replace_anything_that_can_be_read(bench, inside):
    bench.define(tree_with(inside))
    bench.succeed(command=AS_A_USER)
    assert bench.skips_everything()
    bench.succeed("-f", command=AS_A_USER)
    assert len(bench.records("stage.commit")) == 2
    assert bench.leftovers() == []


@pytest.mark.full_after(2)
@pytest.mark.parametrize("inside", UNUSABLE)
def test_a_directory_with_an_entry_that_cannot_be_read_is_the_stages_failure(bench, inside):
    if bench.cluster:
        pytest.skip("its workers have other privileges")
    bench.define(tree_with(inside))
    done = bench.run(command=AS_A_USER)
    assert done.returncode == 1, done.stderr
    assert "error: stage a: " in done.stderr
    assert not bench.exists("tree")
    assert [name for name in os.listdir(bench.root) if "partial" in name] == []


def test_an_unreadable_file_is_the_stages_failure(bench):
    bench.define(shell("a", "touch $PIPELINE_OUTPUT_OUT; chmod 0 $PIPELINE_OUTPUT_OUT"))
    done = bench.run(command=AS_A_USER)
    assert done.returncode == 1, done.stderr
    assert "the stage made it, but it cannot be read: Permission denied" in done.stderr
    assert bench.leftovers() == []


def test_scratch_that_a_stage_made_read_only_is_removed(bench):
    bench.define(
        shell("a", "mkdir -p $TMPDIR/d; touch $TMPDIR/d/f; chmod 0 $TMPDIR/d $TMPDIR; touch $PIPELINE_OUTPUT_OUT")
    )
    bench.succeed(command=AS_A_USER)
    assert list((bench.root / "state/tmp").iterdir()) == []


def appended(bench, where, script):
    """Run while a writer appends to `where` each time the stage has read it; return the exit code and stderr."""
    process = bench.start()
    while process.poll() is None:
        try:
            wait_for(lambda: bench.exists("read") or process.poll() is not None, "the stage")
            with open(bench.root / where, "a") as file:
                file.write("# more\n")
            os.rename(bench.root / "read", bench.root / "go")
        except FileNotFoundError:
            pass
    return process.returncode, process.stderr.read()


READS = "cat {0} > $PIPELINE_OUTPUT_OUT; touch read; until test -e go; do sleep 0.01; done; rm go"


@pytest.mark.parametrize("kind", ["input", "code"])
def test_nothing_is_published_while_an_input_or_the_code_keeps_changing(bench, kind):
    if kind == "input":
        bench.write("data.txt", "text\n")
        bench.define(shell("a", READS.replace("{0}", "data.txt"), inputs={"data": "data.txt"}))
    else:
        bench.write("data.txt", "#!/bin/sh\n" + READS.replace("{0}", "data.txt") + "\n", 0o755)
        bench.define({"name": "a", "processor": "data.txt", "outputs": {"out": "out/a.txt"}})
    code, stderr = appended(bench, "data.txt", READS)
    assert code == 1, stderr
    assert '"data.txt" changed while the stage ran, 3 times' in stderr
    assert len(bench.records("attempt.started")) == 3
    assert bench.records("stage.commit") == []
    assert not bench.exists("out/a.txt")
    assert bench.leftovers() == []


def test_what_changes_once_is_read_again_and_published_under_its_own_key(bench):
    bench.write("data.txt", "old\n")
    script = "cat data.txt > $PIPELINE_OUTPUT_OUT; test -e again || { echo new > data.txt; touch again; }"
    bench.define(shell("a", script, inputs={"data": "data.txt"}))
    messages = unstamped(bench.succeed().stderr)
    assert 'a: "data.txt" changed while it ran, so it is started once more\na: started\n' in messages
    assert bench.records("attempt.started")[1]["data"]["reasons"][0] == [
        "again", '"data.txt" changed while attempt 1 ran', None, None,
    ]  # fmt: skip
    assert '  "data.txt" changed while attempt 1 ran\n' in bench.succeed("explain", "a").stdout
    assert bench.read("out/a.txt") == b"new\n"
    first, second = (record["data"]["key"] for record in bench.records("attempt.started"))
    assert [record["data"]["key"] for record in bench.records("stage.commit")] == [second] != [first]
    assert bench.skips_everything()


@pytest.mark.full_after(1)
@pytest.mark.parametrize("code", [0, 1])
def test_a_stage_that_wrote_the_real_path_itself_is_told_where_to_write(bench, code):
    bench.define(shell("a", f"mkdir -p out; echo half > out/a.txt; exit {code}"))
    messages = bench.run().stderr
    assert "$PIPELINE_OUTPUT_OUT" in messages and 'wrote "out/a.txt" itself' in messages
    assert bench.records("stage.commit") == [] and bench.read("out/a.txt") == b"half\n"
    bench.define(shell("a", "echo whole > $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    assert bench.read("out/a.txt") == b"whole\n"


def test_what_a_tool_writes_beside_an_output_is_another_output_if_it_is_declared(bench):
    """As tabix and samtools do, which take the path of one file and write another beside it."""
    both = {"bam": "out/a.bam", "index": "out/a.bam.bai"}
    bench.define(shell("a", 'echo a >"$PIPELINE_OUTPUT_BAM"; echo i >"$PIPELINE_OUTPUT_BAM.bai"', outputs=both))
    bench.succeed()
    assert (bench.read("out/a.bam"), bench.read("out/a.bam.bai")) == (b"a\n", b"i\n")
    assert sorted(path.name for path in (bench.root / "out").iterdir()) == ["a.bam", "a.bam.bai"]
    assert bench.skips_everything()


@pytest.mark.parametrize("code", [0, 1])
def test_what_a_tool_leaves_beside_an_output_is_removed_when_the_run_ends(bench, code):
    """Also if an earlier run was killed before its end; what no attempt of a run made stays."""
    script = 'echo a >"$PIPELINE_OUTPUT_OUT"; echo t >"$PIPELINE_OUTPUT_OUT.tmp"'
    bench.define(shell("a", f"{script}; sleep 60"))
    bench.write("out/.partial-00000g.x", "not ours\n")
    killed = bench.start()
    wait_for(lambda: [*(bench.root / "out").glob(".partial-*.tmp")], "the file that the tool leaves")
    kill_and_await(killed)
    bench.define(shell("a", f"{script}; exit {code}"))
    assert bench.run().returncode == code
    outputs = ["a.txt"] if code == 0 else []
    assert sorted(path.name for path in (bench.root / "out").iterdir()) == [".partial-00000g.x", *outputs]


def test_what_a_killed_run_leaves_beside_a_published_output_is_removed_by_the_next(bench):
    script = 'echo a >"$PIPELINE_OUTPUT_OUT"; echo t >"$PIPELINE_OUTPUT_OUT.tmp"'
    later = "test -e go || { touch waits; sleep 60; }; echo b >$PIPELINE_OUTPUT_OUT"
    bench.define(shell("a", script), shell("b", later, inputs={"a": "out/a.txt"}, outputs={"out": "b.txt"}))
    killed = bench.start()
    wait_for(lambda: bench.exists("waits"), "the second stage")
    kill_and_await(killed)
    bench.write("go", "")
    bench.succeed()
    assert [record["data"]["stage"] for record in bench.records("attempt.started")] == ["a", "b", "b"]
    assert [path.name for path in (bench.root / "out").iterdir()] == ["a.txt"]


def test_a_stage_that_touches_its_input_is_published_the_second_time(bench):
    """The content is the same, but it may have been different for a moment during the first attempt."""
    bench.write("data.txt", "old\n")
    bench.define(shell("a", "touch data.txt; cp data.txt $PIPELINE_OUTPUT_OUT", inputs={"data": "data.txt"}))
    bench.succeed()
    assert len(bench.records("attempt.started")) == 2
    assert bench.skips_everything()


def test_what_was_replaced_and_put_back_while_a_stage_ran_is_read_again(bench):
    """As when you check out another branch and return: the stage has not read the content that is there now."""
    bench.write("data.txt", "right\n")
    script = """
        test -e again || { echo wrong > new; mv new data.txt; }
        cat data.txt > $PIPELINE_OUTPUT_OUT
        test -e again || { echo right > new; mv new data.txt; touch again; }
    """
    bench.define(shell("a", script, inputs={"data": "data.txt"}))
    bench.succeed()
    assert bench.read("out/a.txt") == b"right\n"
    assert len(bench.records("attempt.started")) == 2
    assert bench.skips_everything()


def test_nothing_of_a_stage_that_is_killed_with_its_run_is_published(bench):
    bench.define(shell("a", "echo half > $PIPELINE_OUTPUT_ONE; touch ready; test -e go || sleep 60; "
                            "echo 1 > $PIPELINE_OUTPUT_ONE; echo 2 > $PIPELINE_OUTPUT_TWO", outputs=TWO))  # fmt: skip
    process = bench.start()
    wait_for((bench.root / "ready").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not bench.exists("out/one.txt")
    bench.write("go", "")
    bench.succeed()
    assert (bench.read("out/one.txt"), bench.leftovers()) == (b"1\n", [])
