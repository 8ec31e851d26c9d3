"""A signal ends the hashing of an output at once. Hashing does not count as the stage's time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from pipeline_bench import PipelineBench, shell, wait_for

LARGE = "truncate -s 6G $PIPELINE_OUTPUT_OUT"
WAITS = "touch waits; sleep 60; touch $PIPELINE_OUTPUT_OUT"


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


def is_hashing(pid):
    """Whether the process reads the large output; a process that only flushes it stays at its beginning."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "large.bin" in os.readlink(descriptor):
                return "pos:\t0\n" not in Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text()
        except FileNotFoundError:
            continue
    return False


@pytest.mark.parametrize("words", [["--durability", "process"], ["-j1"], ["-j2"]], ids=["process", "alone", "beside"])
def test_a_signal_while_a_large_output_is_hashed_ends_the_run_at_once(bench, words):
    beside = [shell("waits", WAITS)] if "-j2" in words else []
    bench.define(*beside, shell("large", LARGE, outputs={"out": "large.bin"}))
    process = bench.start(*words)
    wait_for(lambda: is_hashing(process.pid), "hashing")
    began = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 143
    assert time.monotonic() - began < 1.0
    assert "large: interrupted" in stderr
    statuses = {record["data"]["stage"]: record["data"]["status"] for record in bench.records("stage.finished")}
    assert set(statuses.values()) == {"interrupted"}
    assert not bench.exists("large.bin")
    assert bench.leftovers() == []


@pytest.mark.full
def test_hashing_does_not_count_as_the_time_of_the_stage(bench):
    bench.define(shell("large", "truncate -s 1G $PIPELINE_OUTPUT_OUT"))
    bench.succeed()
    stage = bench.metrics()["stages"]["large"]
    assert stage["seconds"] == pytest.approx(stage["attempts"][0]["seconds"], abs=0.1)
