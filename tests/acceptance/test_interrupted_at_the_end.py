"""A run that is stopped publishes what a stage still finishes, and starts nothing new."""

from __future__ import annotations

import os
import signal

from pipeline_bench import shell, wait_for

FINISHES = "trap 'printf whole > $PIPELINE_OUTPUT_OUT; exit 0' TERM; touch here; while :; do sleep 0.01; done"


def test_a_stage_that_ends_well_within_the_grace_is_published(bench):
    bench.define(shell("a", FINISHES), shell("b", "touch $PIPELINE_OUTPUT_OUT"))
    process = bench.start("-j1")
    wait_for((bench.root / "here").exists, "the stage")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    assert (bench.root / "out" / "a.txt").read_text() == "whole"
    assert not (bench.root / "out" / "b.txt").exists()
