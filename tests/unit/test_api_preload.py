"""What a run loads, and when: no stage waits for what is needed later, and all of it is there before the run waits."""

import subprocess
import sys

import pytest
from pipeline_bench import PipelineBench, shell

LATER = {"_hashlib", "ctypes", "shutil", "signal", "threading"}
BEFORE = {"process": set(), "full": {"threading"}}  # by durability: for that some files are synced at once, by threads
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
sys.exit(run(sys.argv[1], Options(durability=sys.argv[2]), looks, plugins=(looks,)).exit_code)
"""


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


@pytest.mark.parametrize("durability", BEFORE)
def test_what_of_the_library_is_needed_later_is_loaded_while_the_first_stage_works(bench, durability):
    until = "while ! test -e all; do sleep 0.01; done; echo > $PIPELINE_OUTPUT_OUT"
    bench.define(shell("first", until), shell("second", "echo > $PIPELINE_OUTPUT_OUT", needs=["first"]))
    command = [sys.executable, "-c", RUNS, str(bench.spec), durability]
    said = subprocess.run(command, cwd=bench.root, capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [" ".join(["first", *BEFORE[durability]]), " ".join(["second", *sorted(LATER)])]


def test_what_cannot_be_loaded_then_ends_no_run(bench):
    bench.define(shell("first", "echo > $PIPELINE_OUTPUT_OUT"))
    lacks = "import sys; sys.modules.update(dict.fromkeys(['ctypes', 'hashlib', 'queue']))"
    command = [sys.executable, "-c", f"{lacks}; from runner.cli import main; sys.exit(main())", str(bench.spec), "-q"]
    said = subprocess.run(command, cwd=bench.root, capture_output=True, text=True, check=False, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")
    assert bench.skips_everything()
