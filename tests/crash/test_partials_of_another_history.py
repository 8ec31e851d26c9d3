"""A run never resumes from a partial of a history that is not in the state directory."""

from __future__ import annotations

import json
import shutil

import pytest
from pipeline_bench import kill_and_await, wait_for

pytestmark = pytest.mark.full

# Prefixes every line. After line `stop`, when a checkpoint has been taken, waits there to be killed.
PREFIX = """
import os, time
from runner import sdk
with sdk.stage() as stage, stage.lines("text", to="out") as job:
    for line in job:
        job.write(stage.params["prefix"].encode() + line)
        if job.line_offset == stage.params["stop"] and not os.path.exists("go"):
            time.sleep(600)
"""
LINES = 400


class Histories:
    def __init__(self, bench):
        self.bench = bench
        bench.write("in.txt", "line\n" * LINES)
        bench.write("prefix.py", PREFIX)

    def define(self, prefix, stop):
        self.bench.define({
            "name": "prefix", "processor": "prefix.py", "inputs": {"text": "in.txt"}, "outputs": {"out": "out.txt"},
            "params": {"prefix": prefix, "stop": stop}, "checkpoint": {"everyLines": 50},
        })  # fmt: skip

    def killed(self, *words, at):
        """Run, and kill everything once there is a checkpoint at line `at` or later."""
        process = self.bench.start(*words)
        path = self.bench.root / "state/progress_prefix.json"
        wait_for(lambda: path.exists() and json.loads(path.read_bytes())["lineOffset"] >= at)
        kill_and_await(process)

    def end(self, prefix):
        self.bench.write("go", "")
        self.bench.succeed()
        assert self.bench.read("out.txt").decode() == f"{prefix}line\n" * LINES
        assert self.bench.leftovers() == []
        assert self.bench.run("verify", "--outputs").returncode == 0


@pytest.fixture
def histories(bench):
    return Histories(bench)


@pytest.mark.parametrize("words", [(), ("--run-id", "same")])
def test_resumes_no_foreign_partial_after_the_state_directory_was_moved_away(histories, words):
    histories.define("old", 380)
    histories.killed(*words, at=300)
    shutil.rmtree(histories.bench.root / "state")
    histories.define("new", 150)
    histories.killed(*words, at=90)
    histories.end("new")


@pytest.mark.parametrize("words", [(), ("--run-id", "same")])
def test_resumes_no_foreign_partial_after_an_older_state_directory_was_put_back(histories, words):
    state, copy = histories.bench.root / "state", histories.bench.root / "copy"
    histories.define("old", 150)
    histories.killed(*words, at=90)
    shutil.copytree(state, copy)
    shutil.rmtree(state)
    histories.define("new", 380)
    histories.killed(*words, at=300)
    shutil.rmtree(state)
    copy.rename(state)
    histories.define("old", 150)
    histories.end("old")


def test_a_partial_without_a_record_is_removed(histories):
    histories.define("old", 380)
    histories.killed(at=300)
    shutil.rmtree(histories.bench.root / "state")
    histories.end("old")
