"""After kill -9 at any instant of a run of sealed stages, the next run ends as if undisturbed, and leaves no view."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from call_tracer import why_not
from crash_checks import Place
from crash_kills import CHECKOUT, Kill, Sweep
from crash_pipeline import SealedPipeline
from crash_sweep import ALL, chosen, sample
from pipeline_bench import descendants, kill

REASON = why_not()
SWEEP = pytest.mark.skipif(bool(REASON), reason=f"cannot trace here: {REASON}")
pytestmark = pytest.mark.full


@pytest.fixture
def pipeline(tmp_path):
    root = tmp_path / "pipeline"
    root.mkdir()
    return SealedPipeline(root)


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "sweep"
    made.mkdir()
    return made


def assert_mended(sweep, number, *, who="all", twice=False, torn=False, part=""):
    calls = [call for call in sweep.undisturbed() if part in call.path]
    positions = chosen(calls, who, first=1, every=1)
    if torn:
        positions = [position for position in positions if calls[position - 1].name == "write"]
    draw = random.Random(number)
    kills = [
        Kill(position, who, draw.randint(1, len(calls)) if twice else 0, torn, part=part)
        for position in sample(positions, number, f"sealed {who} {number}")
    ]
    outcomes = [sweep.strike(kill) for kill in kills]
    failed = [f"{outcome.kill}, {outcome.call}: {'; '.join(outcome.faults)}" for outcome in outcomes if outcome.faults]
    assert not failed, "\n".join(["", *failed])
    assert sweep.killed >= 0.7 * len(kills)


@SWEEP
@pytest.mark.parametrize(("who", "number"), [("all", 8), ("runner", 5), ("launcher", 4), ("stage", 5)])
def test_a_first_run_killed_at_any_call_is_completed_by_the_next(who, number, pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), number, who=who)


@SWEEP
@pytest.mark.parametrize("who", ["all", "runner"])
def test_a_run_killed_at_any_call_in_the_directory_of_an_attempt_is_completed_by_the_next(who, pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 5, who=who, part="/.partial-")


@SWEEP
def test_a_run_killed_at_any_call_on_a_progress_file_keeps_the_checkpoint(pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 5, part="progress_")


@SWEEP
def test_a_write_that_was_cut_short_by_the_kill_is_mended_too(pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 4, torn=True)


@SWEEP
def test_two_kills_in_a_row_are_mended(pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 5, twice=True)


@SWEEP
def test_a_run_over_earlier_outputs_is_mended(pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, fresh=False, words=("-f",), **how), 4)


@SWEEP
def test_a_parameter_that_is_changed_between_the_kill_and_the_next_run_counts(pipeline, directory):
    how = {"prepare": lambda _place: pipeline.write_spec(1), "edit": lambda: pipeline.write_spec(2)}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 4)


FAULTS = {  # file, text, and its replacement
    "leaves checkpoints in views": ("record/views.py", "if self._is_reached(self.progress):", "if False:"),
    "leaves the views of killed runs": ("record/recovery.py", "for each in self.logs.sealed:", "for each in ():"),
}


@SWEEP
@pytest.mark.parametrize("fault", FAULTS)
def test_the_sweep_finds_a_runner_that(fault, pipeline, directory, tmp_path):
    path, text, instead = FAULTS[fault]
    shutil.copytree(CHECKOUT / "runner", tmp_path / "faulty/runner", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "faulty/runner" / path
    assert text in source.read_text(), "the code has changed: plant the fault anew"
    source.write_text(source.read_text().replace(text, instead, 1))
    sweep = Sweep(str(pipeline.spec), directory, checkout=tmp_path / "faulty")
    outcome = sweep.strike(Kill(2, name="rename", part="state/progress_split"))
    assert outcome.struck
    assert any("split had a checkpoint" in line for line in outcome.faults), outcome


# ---- kills at random moments -----------------------------------------------------------------------------------------


def whole_run(process):
    return [process.pid, *descendants(process.pid)]


def runner_alone(process):
    return [process.pid]


def launcher_alone(process):
    return descendants(process.pid)[:1]


def one_below(process):
    return random.choice(descendants(process.pid)[1:] or [process.pid])  # the launcher's second process, or a stage


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The outputs of an undisturbed run, and how long it takes."""
    root = tmp_path_factory.mktemp("undisturbed")
    pipeline = SealedPipeline(root)
    workspace = root / "workspace"
    workspace.mkdir()
    began = time.monotonic()
    assert start(pipeline, workspace).wait() == 0
    return Place(str(pipeline.spec), workspace).outputs(), time.monotonic() - began


def start(pipeline, workspace):
    words = [sys.executable, "-m", "runner", "run", str(pipeline.spec), "-q", "--workspace", str(workspace)]
    return subprocess.Popen(words, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("seed", range(200 if ALL else 6))
def test_a_run_killed_at_random_moments_is_completed_by_the_next(seed, pipeline, directory, undisturbed):
    """Twice in a row. A run that lost only a stage may end by itself."""
    expected, seconds = undisturbed
    draw = random.Random(seed)
    place = Place(str(pipeline.spec), directory)
    for _ in range(2):
        process = start(pipeline, directory)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds * draw.random())  # a moment, not a wait for a fact
        victims = draw.choice([whole_run, runner_alone, launcher_alone, one_below])(process)
        for pid in victims if isinstance(victims, list) else [victims]:
            kill(pid)
        process.wait(timeout=30)
        assert list(place.faults_of_state()) == []
    assert start(pipeline, directory).wait() == 0
    assert place.outputs() == expected
    assert [*place.faults_of_state(), *place.faults_of_end(), *place.faults_of_verify(0, outputs=True)] == []
    assert str(directory) not in Path("/proc/mounts").read_text()
    shutil.rmtree(directory)
