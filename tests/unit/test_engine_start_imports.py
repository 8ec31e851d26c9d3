"""The runner imports nothing once a stage has started, because the stage could have replaced it."""

import subprocess
import sys

import pytest
from pipeline_bench import PipelineBench, shell

RUNS = """
import atexit, sys
from runner.cli.main import main
from runner.executor.loop import Executor

imported, execute = [], Executor.execute

def heard(event, arguments):
    if event == "import":
        imported.append(arguments[0])

def executed(self):
    sys.addaudithook(heard)
    atexit.register(tell)
    return execute(self)

def tell():
    with open("imported", "w") as file:
        print(*imported, file=file)

Executor.execute = executed
sys.exit(main())
"""
TREE = "mkdir $PIPELINE_OUTPUT_OUT; echo > $PIPELINE_OUTPUT_OUT/a; mkdir -p $TMPDIR/deep/er; echo > $TMPDIR/deep/file"
STAGES = [
    shell("file", "echo > $PIPELINE_OUTPUT_OUT; mkdir -p out/instead/of", outputs={"out": "out/instead"}),
    shell("tree", TREE, outputs={"out": "tree/"}),
    shell("large", "head -c 3000000 /dev/zero > $PIPELINE_OUTPUT_OUT"),
    shell("killed", "kill -SEGV $$"),
    shell("retried", "test $PIPELINE_ATTEMPT = 3 || exit 75; echo > $PIPELINE_OUTPUT_OUT",
          retry={"attempts": 3, "delaySeconds": 0.001, "jitter": 1}),
    shell("late", "sleep 60", timeoutSeconds=0.1),
    shell("missing", "true"),
    shell("prints", "echo half; exit 3", stdout="out"),
    shell("leaves", "sleep 60 & echo > $PIPELINE_OUTPUT_OUT"),
    {"name": "python", "processor": "a.py", "outputs": {"out": "python.txt"}},
    {"name": "asks", "processor": "b.py", "outputs": {"out": "asks.txt"}, "offline": {"onAttempt": "fail"}},
]  # fmt: skip


@pytest.fixture
def bench(tmp_path):
    bench = PipelineBench(tmp_path)
    yield bench
    bench.close()


WAYS = {
    "alone": ["-j1"],
    "json": ["-j2", "--json"],
    "quiet": ["-j3", "-q"],
    "process": ["-j2", "--durability", "process"],
}


@pytest.mark.full_after(2)
@pytest.mark.parametrize("words", WAYS.values(), ids=WAYS)
def test_nothing_is_imported_from_the_first_stage_on(bench, words):
    bench.write("a.py", "import local, os\nopen(os.environ['PIPELINE_OUTPUT_OUT'], 'w').close()\n")
    bench.write("b.py", "import ctypes\nctypes.CDLL(None).socket(2, 1, 0)\n")
    bench.write("local.py", "")
    bench.write("tree/before", "")
    bench.define(*STAGES)
    command = [sys.executable, "-c", RUNS, "run", str(bench.spec), "-k", *words]
    done = subprocess.run(command, cwd=bench.root, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 4, done.stderr
    assert bench.read("imported") == b"\n"
