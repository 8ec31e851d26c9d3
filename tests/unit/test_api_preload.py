"""What a run loads, and when: no stage waits for what is needed later, and all of it is there before the run waits."""

import subprocess
import sys

import pytest
from pipeline_bench import PipelineBench, shell

LATER = {"_hashlib", "ctypes", "shutil", "signal", "threading"}
RUNS = f"""
import sys
from runner.api import Options, run
from runner.api.running import Quiet
from runner.hookspecs import hookimpl

LATER = {LATER!r}

class Looks(Quiet):
    interval = 0.01

    def tick(self):
        if LATER <= sys.modules.keys():
            open("all", "w").close()

    @hookimpl
    def offpipe_attempt_started(self, stage):
        print(stage.name, *sorted(LATER & sys.modules.keys()))

looks = Looks()
sys.exit(run(sys.argv[1], Options(durability="process"), looks, plugins=(looks,)).exit_code)
"""


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


def test_what_of_the_library_is_needed_later_is_loaded_while_the_first_stage_works(bench):
    until = "while ! test -e all; do sleep 0.01; done; echo > $PIPELINE_OUTPUT_OUT"
    bench.define(shell("first", until), shell("second", "echo > $PIPELINE_OUTPUT_OUT", needs=["first"]))
    command = [sys.executable, "-c", RUNS, str(bench.spec)]
    said = subprocess.run(command, cwd=bench.root, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == ["first", " ".join(["second", *sorted(LATER)])]
