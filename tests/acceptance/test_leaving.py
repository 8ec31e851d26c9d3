"""A Python stage whose program is over makes room at once; what is told and kept of it waits for its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from pipeline_bench import ROOT

from runner.levels import KERNEL

COPIES = "import os, shutil\nshutil.copy(os.environ['PIPELINE_INPUT_IN'], os.environ['PIPELINE_OUTPUT_OUT'])\n"
# Holds back the end of each stage that bade farewell until the next one was started, as a slow kernel would; or until
# that one has bidden it too.
HOLDS = """
import json, sys
from runner.api import Options, run
from runner.api.surroundings import warmth
from runner.contain.client import Launcher
from runner.contain.guard import start_guarded
from runner.hookspecs import hookimpl

HELD, KILLED, UNTIL = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


class Holding(Launcher):
    submitted, beside, present, held, said, running = 0, [], [], [], set(), set()

    def submit(self, launch):
        self.beside.append(len(self.running - self.leaving))
        self.present.append(len(self.running))
        self.running.add(launch.id)
        Holding.submitted += 1
        super().submit(launch)

    def _frames(self):
        frames, Holding.held = [*self.held, *super()._frames()], []
        told, said = [], set(self.said)
        for kind, content in frames:
            if kind == "leaving":
                self.said.update(content)
            if kind == "exit":
                number, code, by_signal, *rest = content
                follows = Holding.submitted > number if UNTIL == "started" else number + 1 in said
                if number in self.said and number <= HELD and not follows:
                    self.held.append((kind, content))
                    continue
                self.running.discard(number)
                if number == KILLED:
                    content = (number, None, 9, *rest)
            told.append((kind, content))
        return told


class Plugin:
    @hookimpl
    def offpipe_make_launcher(self, spec):
        return start_guarded(Holding, warmth(spec))


result = run(sys.argv[1], Options(jobs=1), plugins=(Plugin(),))
print(json.dumps({"status": {name: one.status for name, one in result.stages.items()}, "beside": Holding.beside,
                  "present": Holding.present, "said": sorted(Holding.said), "level": result.isolation["level"]}))
"""


def stages(bench, count):
    bench.write("copies.py", COPIES)
    bench.write("in.txt", "text")
    bench.define(*(
        {"name": f"s{n}", "processor": "copies.py", "inputs": {"in": "in.txt"}, "outputs": {"out": f"out/{n}"}}
        for n in range(1, count + 1)
    ))  # fmt: skip


def run(bench, held, killed=0, until="started"):
    """Hold back the ends of the first `held` stages; tell the end of one of them as that of a killed one."""
    done = subprocess.run(
        [sys.executable, "-c", HOLDS, str(bench.spec), str(held), str(killed), until], check=False, timeout=60,
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT), "OFFPIPE_PLAIN": ""},
    )  # fmt: skip
    said = json.loads(done.stdout)
    if said["level"] != KERNEL:
        pytest.skip(f"only at level kernel stages say that they end, and here is {said['level']}")
    assert said["beside"] == [0] * len(said["said"]), "one at a time"
    assert max(said["present"]) == 1, "and one that leaves"
    return said["status"], said["said"]


def test_the_next_stage_does_not_wait_for_the_kernel(bench):
    stages(bench, 4)
    assert run(bench, 3) == (dict.fromkeys(["s1", "s2", "s3", "s4"], "succeeded"), [1, 2, 3, 4])
    bench.succeed("verify", "--outputs")
    assert bench.skips_everything()


def test_who_bade_farewell_and_is_told_to_have_been_killed_has_failed(bench):
    stages(bench, 4)
    status, said = run(bench, 2, killed=2)
    assert status == {"s1": "succeeded", "s2": "failed", "s3": "succeeded", "s4": "blocked"}
    assert said == [1, 2, 3]
    bench.succeed()
    assert [one["data"]["stage"] for one in bench.records("attempt.started")] == ["s1", "s2", "s3", "s2", "s4"]


def test_the_next_but_one_waits_for_the_kernel(bench):
    stages(bench, 4)
    assert run(bench, 1, until="left") == (dict.fromkeys(["s1", "s2", "s3", "s4"], "succeeded"), [1, 2, 3, 4])
