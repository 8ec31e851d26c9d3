"""After a kill at any instant of a run of three rounds, the next run ends as if undisturbed, and repeats no stage."""

from __future__ import annotations

import random

import pytest
from call_tracer import why_not
from crash_kills import Kill, Sweep
from crash_pipeline import RoundsPipeline
from crash_sweep import chosen, sample

REASON = why_not()
pytestmark = [pytest.mark.skipif(bool(REASON), reason=f"cannot trace here: {REASON}"), pytest.mark.full]


@pytest.fixture
def pipeline(tmp_path):
    root = tmp_path / "pipeline"
    root.mkdir()
    return RoundsPipeline(root)


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "sweep"
    made.mkdir()
    return made


def assert_mended(sweep, number, *, who="all", twice=False, least=0.7):
    calls = sweep.undisturbed()
    draw = random.Random(number)
    kills = [
        Kill(position, who, draw.randint(1, len(calls)) if twice else 0)
        for position in sample(chosen(calls, who, first=1, every=1), number, f"rounds {who} {number}")
    ]
    outcomes = [sweep.strike(kill) for kill in kills]
    failed = [f"{outcome.kill}, {outcome.call}: {'; '.join(outcome.faults)}" for outcome in outcomes if outcome.faults]
    assert not failed, "\n".join(["", *failed])
    assert sweep.killed >= least * len(kills)


@pytest.mark.parametrize(("who", "number"), [("all", 8), ("runner", 8), ("stage", 4)])
def test_a_first_run_killed_at_any_call_is_completed_by_the_next(pipeline, directory, who, number):
    assert_mended(
        Sweep(str(pipeline.spec), directory, prepare=pipeline.forget, repeats=pipeline.repeats), number, who=who
    )


def test_two_kills_in_a_row_are_mended(pipeline, directory):
    how = {"prepare": pipeline.forget, "repeats": pipeline.repeats}
    assert_mended(Sweep(str(pipeline.spec), directory, **how), 5, twice=True)


def test_a_run_that_learns_of_a_further_instance_is_mended(pipeline, directory):
    def edited(place):
        pipeline.forget(place)
        return pipeline.third_part(is_there=not (pipeline.root / "part-c.txt").exists())

    sweep = Sweep(str(pipeline.spec), directory, fresh=False, prepare=edited, repeats=pipeline.repeats)
    assert_mended(sweep, 6, least=0.5)  # every other run has an instance fewer, and so fewer calls
