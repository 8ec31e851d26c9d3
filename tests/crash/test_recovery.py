"""Recovery of a run that died between a commit and its end; the states are laid out by hand from a real run."""

from __future__ import annotations

from pipeline_bench import shell

from runner.paths import aside_path, partial_path

FAILS = shell("last", "test -e go && touch $PIPELINE_OUTPUT_OUT", needs=["make"])


def committed(bench, outputs, script):
    """Run a pipeline that fails after stage `make`, so that its run stays open; return the partials of `make`."""
    bench.define(shell("make", f"echo x >> made; {script}", outputs=outputs), FAILS)
    assert bench.run().returncode == 1
    tag = bench.records("stage.commit")[-1]["data"]["tag"]
    return {name: partial_path(str(bench.root / path), tag) for name, path in outputs.items()}


def go_on(bench):
    bench.write("go", "")
    bench.succeed()
    assert bench.leftovers() == []
    return len(bench.read("made").split())


TWO = {"a": "out/a", "b": "out/b"}
WRITE_TWO = "echo a > $PIPELINE_OUTPUT_A; echo b > $PIPELINE_OUTPUT_B"


def test_outputs_that_are_still_partials_are_renamed_and_their_stage_does_not_run_again(bench):
    partials = committed(bench, TWO, WRITE_TWO)
    for name, path in TWO.items():
        (bench.root / path).rename(partials[name])
    assert go_on(bench) == 1
    assert bench.read("out/a") + bench.read("out/b") == b"a\nb\n"


def test_no_output_is_renamed_when_another_of_the_same_stage_is_lost(bench):
    partials = committed(bench, TWO, WRITE_TWO)
    (bench.root / "out/a").rename(partials["a"])
    (bench.root / "out/b").unlink()
    bench.define(shell("make", "exit 1", outputs=TWO), FAILS)  # so only recovery can have put it there
    assert bench.run().returncode == 1
    assert not bench.exists("out/a")
    bench.define(shell("make", f"echo x >> made; {WRITE_TWO}", outputs=TWO), FAILS)
    assert go_on(bench) == 2


def test_a_tree_that_was_moved_aside_before_its_successor_was_in_place_is_removed(bench):
    partials = committed(bench, {"t": "out/t/"}, "mkdir $PIPELINE_OUTPUT_T; echo new > $PIPELINE_OUTPUT_T/file")
    (bench.root / "out/t").rename(partials["t"])
    bench.write(f"{aside_path(partials['t'])}/file", "old")
    assert go_on(bench) == 1
    assert bench.read("out/t/file") == b"new\n"


COUNTS = """
import os
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to="out") as job:
    notes = os.open("notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number, line in enumerate(job, job.line_offset):
        os.write(notes, b"%d " % number)
        job.write(line)
        if number == 750 and os.path.exists("die"):
            os.unlink("die")
            os.kill(os.getpid(), 9)
"""


def test_the_checkpoint_of_a_stage_that_an_earlier_part_of_the_run_had_committed_is_kept(bench):
    bench.write("in.txt", "line\n" * 1000)
    bench.write("count.py", COUNTS)
    bench.define(
        {"name": "count", "processor": "count.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "out.txt"},
         "checkpoint": {"everyLines": 100}},
        shell("last", "test -e go && touch $PIPELINE_OUTPUT_OUT", needs=["count"]),
    )  # fmt: skip
    assert bench.run().returncode == 1  # the stage has committed, and the run stays open
    bench.write("in.txt", "other\n" * 1000)
    bench.write("die", "")
    bench.write("notes", "")
    assert bench.run().returncode == 1
    bench.write("go", "")
    bench.succeed()
    worked = [int(word) for word in bench.read("notes").split()]
    assert worked[:751] == list(range(751))
    assert worked[751:] == list(range(worked[751], 1000))
    assert worked[751] > 600
    assert bench.read("out.txt") == b"other\n" * 1000
    assert bench.leftovers() == []


def test_a_log_that_is_damaged_in_its_middle_is_refused_and_left_as_it_is(bench):
    committed(bench, TWO, WRITE_TWO)
    (log,) = (path for path in (bench.root / "state").glob("audit_*") if "ledger" not in path.name)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], lines[1].replace(b"attempt", b"attemqt", 1), *lines[2:]]))
    before = log.read_bytes()
    bench.write("go", "")
    done = bench.run()
    assert done.returncode == 74
    assert f"error: {log}:2: the record is damaged\nhint: restore it" in done.stderr
    assert log.read_bytes() == before
    log.write_bytes(b"".join(lines) + b'{"torn')
    bench.succeed()
    assert [record["data"] for record in bench.records("recovered")] == [{"tornBytes": 6}]
    assert len(bench.read("made").split()) == 1


def test_a_log_from_which_middle_records_were_removed_is_refused_and_left_as_it_is(bench):
    committed(bench, TWO, WRITE_TWO)
    (log,) = (path for path in (bench.root / "state").glob("audit_*") if "ledger" not in path.name)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([lines[0], *lines[3:]]))
    before = log.read_bytes()
    bench.write("go", "")
    done = bench.run()
    assert done.returncode == 74
    assert f"error: {log}:2: the record does not follow the one before it\nhint: restore it" in done.stderr
    assert log.read_bytes() == before
    assert not bench.exists("out/last.txt")
