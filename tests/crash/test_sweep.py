"""After kill -9 at any state-changing call, the next run ends as if undisturbed (crash_sweep.py).

The positions are a seeded choice with the first and the last. OFFPIPE_SWEEP=all takes every one, which takes long.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from call_tracer import why_not
from crash_kills import Kill, Sweep
from crash_pipeline import CrashPipeline
from crash_sweep import chosen, sample

ROOT = Path(__file__).resolve().parents[2]
REASON = why_not()

pytestmark = [pytest.mark.skipif(bool(REASON), reason=f"cannot trace here: {REASON}"), pytest.mark.full]


@pytest.fixture
def pipeline(tmp_path):
    root = tmp_path / "pipeline"
    root.mkdir()
    return CrashPipeline(root)


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "sweep"
    made.mkdir()
    return made


def until_struck(sweep, kill):
    """Strike up to three times: stages that end together share a sync, so a run may end just before its position."""
    for _ in range(3):
        outcome = sweep.strike(kill)
        if outcome.struck or outcome.faults:
            break
    return outcome


def assert_mended(sweep, number, *, who="all", twice=False, torn=False, part=""):
    """Strike at `number` positions where there is a process to kill, and check that most of them were reached.

    With a `part`, only calls on paths that contain it are positions.
    """
    calls = [call for call in sweep.undisturbed() if part in call.path]
    positions = chosen(calls, who, first=1, every=1)
    if torn:
        positions = [position for position in positions if calls[position - 1].name == "write"]
    draw = random.Random(number)
    kills = [
        Kill(position, who, draw.randint(1, len(calls)) if twice else 0, torn, part=part)
        for position in sample(positions, number, f"{who} {number}")
    ]
    outcomes = [until_struck(sweep, kill) for kill in kills]
    failed = [f"{outcome.kill}, {outcome.call}: {'; '.join(outcome.faults)}" for outcome in outcomes if outcome.faults]
    assert not failed, "\n".join(["", *failed])
    assert sweep.killed >= 0.7 * len(kills)


@pytest.mark.parametrize(("who", "number"), [("all", 6), ("runner", 4), ("launcher", 4), ("stage", 4)])
def test_a_first_run_killed_at_any_call_is_completed_by_the_next(pipeline, directory, who, number):
    sweep = Sweep(str(pipeline.spec), directory, prepare=pipeline.forget, repeats=pipeline.repeats)
    assert_mended(sweep, number, who=who)


def test_a_run_killed_at_any_call_on_state_of_instances_is_completed_by_the_next(pipeline, directory):
    sweep = Sweep(str(pipeline.spec), directory, prepare=pipeline.forget, repeats=pipeline.repeats)
    assert_mended(sweep, 6, part="@")


def test_a_write_that_was_cut_short_by_the_kill_is_mended_too(pipeline, directory):
    sweep = Sweep(str(pipeline.spec), directory, prepare=pipeline.forget, repeats=pipeline.repeats)
    assert_mended(sweep, 4, torn=True)


def test_two_kills_in_a_row_are_mended(pipeline, directory):
    sweep = Sweep(str(pipeline.spec), directory, prepare=pipeline.forget, repeats=pipeline.repeats)
    assert_mended(sweep, 4, twice=True)


def test_a_run_over_earlier_outputs_is_mended(pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, fresh=False, words=("-f",), **how), 4)


def test_a_run_after_an_edit_is_mended(pipeline, directory):
    def edited(place):
        pipeline.forget(place)
        return pipeline.another_input()

    assert_mended(Sweep(str(pipeline.spec), directory, fresh=False, prepare=edited, repeats=pipeline.repeats), 4)


def test_a_run_without_work_leaves_nothing_behind(pipeline, directory):
    def unrecorded(place):  # so that each run makes a full plan, and saves what it finds
        shutil.rmtree(place.workspace / ".offpipe", ignore_errors=True)
        (place.state / "files.json").unlink(missing_ok=True)

    assert_mended(Sweep(str(pipeline.spec), directory, fresh=False, prepare=unrecorded), 6)


def test_a_run_without_work_that_takes_the_quick_way_leaves_nothing_behind(pipeline, directory):
    sweep = Sweep(str(pipeline.spec), directory, fresh=False)
    sweep.undisturbed()  # makes the record that the next runs use
    assert_mended(sweep, 6)


def test_what_is_edited_between_the_kill_and_the_next_run_counts(pipeline, directory):
    how = {"prepare": lambda _place: pipeline.write_input(), "edit": lambda: pipeline.write_input("other")}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 4)


def test_a_parameter_that_is_changed_between_the_kill_and_the_next_run_counts(pipeline, directory):
    how = {"prepare": lambda _place: pipeline.write_spec(1), "edit": lambda: pipeline.write_spec(2)}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 4)


@pytest.mark.parametrize("comes", [True, False], ids=["comes", "goes"])
def test_between_the_kill_and_the_next_run_an_instance(comes, pipeline, directory):
    how = {
        "prepare": lambda _place: pipeline.third_part(is_there=not comes),
        "edit": lambda: pipeline.third_part(is_there=comes),
    }
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 4)


# ---- the sweep itself: it finds planted faults -----------------------------------------------------------------------

COMMITS = "        position = self.log.append(ADOPTED if adopts else COMMIT, data)\n"
RENAMES = f"""\
        for name, real in job.real.items():
            partial = job.partials[name]
            os.rename(partial, real)
            os.mkdir(partial) if os.path.isdir(real) else os.link(real, partial)
        files.publish = lambda partial, _real: files.discard(partial)
{COMMITS}"""
REDOES = "        stage = commit.stage"
FAULTS = {
    # file, text, its replacement, where to kill, what the sweep reports
    "renames before the commit is recorded": (
        "executor/publishing.py", COMMITS, RENAMES, Kill(1, name="rename", part="w/odd"),
        "w/even is published, and no stage.commit vouches",
    ),
    "does not redo commits": (
        "record/recovery.py", REDOES, f"        return False\n{REDOES}", Kill(1, name="rename", part="w/odd"),
        "split was finished, and ran again",
    ),
    "leaves a temporary file": (
        "record/recovery.py", "    files.discard(paths.temporary)\n", "",
        Kill(1, name="write", part="state/tmp/files"), "json is left",
    ),
    "throws checkpoints away": (
        "record/checkpoints.py", "    if not chosen:\n", "    chosen = {}\n    if True:\n",
        Kill(2, name="rename", part="state/progress_split"), "did not go on from it",
    ),
    "throws checkpoints of an instance away": (
        "record/checkpoints.py", "    if not chosen:\n", "    chosen = {}\n    if True:\n",
        Kill(2, name="rename", part="state/progress_part@b"), "part@b had a checkpoint",
    ),
    "takes a torn line for a whole one": (  # of a run that is in the ledger: the 2nd write of the log
        "record/log.py", "    if torn:", "    if False:",
        Kill(2, torn=True, name="write", part="state/audit_2"), "the next run fails",
    ),
}  # fmt: skip


def with_fault(tmp_path, path, text, instead):
    """Copy the runner with `text` replaced; return the directory that holds the copy."""
    shutil.copytree(ROOT / "runner", tmp_path / "faulty/runner", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "faulty/runner" / path
    content = source.read_text()
    assert text in content, "the code has changed: plant the fault anew"
    source.write_text(content.replace(text, instead, 1))
    return tmp_path / "faulty"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_sweep_finds_a_runner_that(fault, pipeline, directory, tmp_path):
    path, text, instead, kill, complaint = FAULTS[fault]
    checkout = with_fault(tmp_path, path, text, instead)
    outcome = Sweep(str(pipeline.spec), directory, checkout=checkout).strike(kill)
    assert outcome.struck
    assert any(complaint in line for line in outcome.faults), outcome


def test_the_command_prints_a_summary_and_refuses_a_pipeline_that_fails_undisturbed(pipeline, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "tests/support/crash_sweep.py"),
        str(pipeline.spec),
        "--workspace",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "--every", "60"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
    (tmp_path / "pipeline/in.txt").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: the pipeline does not succeed undisturbed (exit 5)" in done.stderr
