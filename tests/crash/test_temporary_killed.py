"""After a kill or a power cut at any instant of a run that removes outputs, the next run ends as if undisturbed.

No stage runs again that was complete: its outputs stay until the stages that read them are.
"""

from __future__ import annotations

import os
import random

import pytest
from call_tracer import why_not
from crash_kills import Kill, Sweep
from crash_pipeline import TemporaryPipeline
from crash_sweep import chosen, sample
from disk_bench import disk_bench
from pipeline_bench import shell
from power_cuts import Loss, in_place, instants, verified

REASON = why_not()
SWEEP = pytest.mark.skipif(bool(REASON), reason=f"cannot trace here: {REASON}")
pytestmark = pytest.mark.full


@pytest.fixture
def pipeline(tmp_path):
    root = tmp_path / "pipeline"
    root.mkdir()
    return TemporaryPipeline(root)


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "sweep"
    made.mkdir()
    return made


def assert_mended(sweep, number, *, who="all", twice=False, name="", part=""):
    calls = [call for call in sweep.undisturbed() if part in call.path and call.name.startswith(name)]
    positions = chosen(calls, who, first=1, every=1)
    draw = random.Random(number)
    kills = [
        Kill(position, who, draw.randint(1, len(calls)) if twice else 0, name=name, part=part)
        for position in sample(positions, number, f"temporary {who} {number}")
    ]
    outcomes = [sweep.strike(kill) for kill in kills]
    failed = [f"{outcome.kill}, {outcome.call}: {'; '.join(outcome.faults)}" for outcome in outcomes if outcome.faults]
    assert not failed, "\n".join(["", *failed])
    assert sweep.killed >= 0.7 * len(kills)


@SWEEP
@pytest.mark.parametrize(("who", "number"), [("all", 8), ("runner", 6)])
def test_a_first_run_killed_at_any_call_is_completed_by_the_next(who, number, pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), number, who=who)


@SWEEP
@pytest.mark.parametrize("name", ["unlink", "rename"])
def test_a_run_killed_at_a_removal_is_completed_by_the_next(name, pipeline, directory):
    assert_mended(Sweep(str(pipeline.spec), directory, prepare=pipeline.forget), 6, who="runner", name=name)


@SWEEP
@pytest.mark.parametrize("words", [("-f",), ("-f", "flaky"), ("--durability", "process", "-f")])
def test_a_run_that_makes_outputs_again_is_mended(words, pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, fresh=False, words=words, **how), 5)


@SWEEP
def test_two_kills_in_a_row_are_mended(pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 5, twice=True)


@SWEEP
def test_a_run_after_an_edit_is_mended(pipeline, directory):
    def edited(place):
        pipeline.forget(place)
        return pipeline.another_input()

    assert_mended(Sweep(str(pipeline.spec), directory, fresh=False, prepare=edited, repeats=pipeline.repeats), 5)


@SWEEP
def test_an_input_that_is_edited_between_the_kill_and_the_next_run_counts(pipeline, directory):
    how = {"prepare": lambda _place: pipeline.write_input(), "edit": lambda: pipeline.write_input("other")}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 4)


# ---- power cuts ----


@pytest.fixture
def disk(tmp_path):
    made = disk_bench(tmp_path / "disk")
    yield made
    made.close()


def define(bench, word="input"):
    bench.write("in.txt", f"{word}\n")
    copy = "tr a a <$PIPELINE_INPUT_X >$PIPELINE_OUTPUT_O; "  # with `write`, which the model of the disk knows
    bench.define(
        shell("a", copy + "mkdir $PIPELINE_OUTPUT_D; tr a a <$PIPELINE_INPUT_X >$PIPELINE_OUTPUT_D/in",
              inputs={"x": "in.txt"}, outputs={"o": "w/a", "d": "w/d/"}, temporary=["o", "d"]),
        shell("b", copy + "tr a a <$PIPELINE_INPUT_X >$PIPELINE_OUTPUT_P",
              inputs={"x": "w/a"}, outputs={"o": "w/b", "p": "out/b"}, temporary=["o"]),
        shell("c", "tr a a <$PIPELINE_INPUT_D/in >$PIPELINE_OUTPUT_O; tr a a <$PIPELINE_INPUT_X >>$PIPELINE_OUTPUT_O",
              inputs={"x": "w/b", "d": "w/d/"}, outputs={"o": "out/c"}),
    )  # fmt: skip


def left(bench):
    return {name: sorted(os.listdir(bench.root / name)) for name in ("w", "out")}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("words", [(), ("-f",)])
def test_a_run_that_removes_is_completed_after_a_power_cut(words, seed, disk):
    define(disk)
    if words:
        disk.succeed()
    traced = disk.traced(*words)
    for until in instants(traced, f"temporary {seed} {words}"):
        disk.lay_out(in_place(traced.after(until, Loss(traced, until, f"{seed} {until}"))), traced.times, traced.next)
        what = f"after {until} steps, {traced.descriptions[until - 1]}"
        done = disk.run()
        assert done.returncode == 0, f"{what}: {done.stdout}{done.stderr}"
        assert left(disk) == {"w": [], "out": ["b", "c"]}, what
        assert disk.read("out/c") == b"input\ninput\n", what
        assert disk.leftovers() == [], what
        assert verified(disk) == (0, []), what
        done = disk.run("verify", "--outputs")
        assert done.returncode == 0, f"{what}: {done.stdout}"
        started = [record["data"]["stage"] for record in disk.records("attempt.started")]
        committed = [record["data"]["stage"] for record in disk.records("stage.commit")]
        assert all(started.count(stage) >= committed.count(stage) for stage in "abc"), what


def test_a_stage_whose_output_was_removed_is_complete_although_its_marker_is_lost(disk):
    """The log says that it was made, and removed."""
    disk.write("in.txt", "input\n")
    copy = "tr a a <$PIPELINE_INPUT_X >$PIPELINE_OUTPUT_O"
    disk.define(
        shell("a", copy, inputs={"x": "in.txt"}, outputs={"o": "w/a"}, temporary=["o"]),
        shell("c", copy, inputs={"x": "w/a"}, outputs={"o": "out/c"}),
    )
    traced = disk.traced()
    until = traced.descriptions.index("remove w/a") + 1
    marker = {at for at, text in enumerate(traced.descriptions) if "stage_a.json" in text}
    disk.lay_out(
        in_place(traced.after(until, lambda at, step: None if at in marker else step)), traced.times, traced.next
    )
    assert not disk.exists("w/a")
    assert not disk.exists("state/stage_a.json")
    disk.succeed()
    assert [record["data"]["stage"] for record in disk.records("attempt.started")] == ["a", "c"]
    assert disk.exists("state/stage_a.json")
    assert disk.run("verify", "--outputs").returncode == 0
