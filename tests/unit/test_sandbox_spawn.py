"""Programs started without a fork, by a process that has isolated itself as the launcher does."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START = """
import os, signal, sys
from runner.sandbox.isolate import isolate
from runner.sandbox.spawn import Spawner
from runner.sandbox.process_tree import ProcessTree, open_tags
from runner.levels import RefusedError
try:
    isolation = isolate("kernel", os.getppid(), ())
except RefusedError as error:
    print("lacks", error, flush=True)
    os._exit(0)
if isolation.listener is not None:
    os.close(isolation.listener.descriptor)  # nobody answers here
tags = open_tags(isolation.layers)
tree = ProcessTree(tags)
tree.enter_launcher(dies_with_runner=True)
spawner = Spawner(tree, tags, isolation)
here = os.fsencode(os.getcwd())
open("log", "w").close()
def spawn(*argv, **fields):
    request = {"program": argv[0], "argv": list(argv), "env": {}, "cwd": here, "stdin": None, "view": None,
               "stdout": None, "log": here + b"/log", "affinity": None, "address_space": None, "file_size": None}
    started = spawner.spawn(request | fields)
    assert tags.of(os.getpid()) is None, "the launcher is of no launch"
    assert sorted(os.listdir("/proc/self/fd")) == before
    return started[0] if started else None
def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
before = sorted(os.listdir("/proc/self/fd"))
try:
"""
END = """
except BaseException:
    import traceback
    traceback.print_exc()
    os._exit(1)
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture
def in_process(tmp_path):
    def run(code: str) -> str:
        program = START + textwrap.indent(textwrap.dedent(code), "    ") + END
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
            text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        if done.stdout.startswith("lacks"):
            pytest.skip(f"no level kernel here: {done.stdout}")
        return done.stdout

    return run


def test_a_program_belongs_to_its_launch_and_no_other(in_process) -> None:
    code = """
        pids = [spawn(b"/bin/sleep", b"60") for _ in range(3)]
        print([tags.of(pid) for pid in pids], [tree.launch_of(pid, {1, 3}) for pid in pids])
        tree.send({pids[1]: 2}, signal.SIGTERM)
        print(ended(pids[1]), [os.waitpid(pid, os.WNOHANG)[0] for pid in (pids[0], pids[2])])
    """
    assert in_process(code) == "[1, 2, 3] [1, None, 3]\n-15 [0, 0]\n"


def test_a_program_keeps_its_number_and_its_walls(in_process) -> None:
    """A program can neither change its number nor signal another program or the launcher. The launcher can."""
    code = """
        script = b"for one in 1 $*; do kill -9 $one; done; ulimit -R 5; read line < fifo; exit 7"
        os.mkfifo("fifo")
        first = spawn(b"/bin/sleep", b"60")
        second = spawn(b"/bin/bash", b"-c", script, b"bash", b"%d" % first)
        with open("fifo", "w"):
            pass
        print(ended(second), os.waitpid(first, os.WNOHANG)[0])
        os.kill(first, signal.SIGKILL)
        print(ended(first), tags.of(spawn(b"/bin/true")))
        print(open("log").read())
    """
    if not Path("/bin/bash").exists():
        pytest.skip("no bash here")
    ends, killed, *log_lines = in_process(code).splitlines()
    assert (ends, killed) == ("7 0", "-9 3")
    assert sum("Operation not permitted" in line for line in log_lines) == 3, log_lines


@pytest.mark.parametrize(
    "fields",
    [
        "affinity=[0]", "address_space=1 << 30", "file_size=1",
        "program=b'/no/such'", "cwd=b'/no/such'", "log=b'/no/such'",
        "stdin=b'fifo'", "stdout=b'fifo'", "log=b'fifo'", "stdin=b'.'", "env={b'A': b'x' * 200_000}",
    ],
)  # fmt: skip
def test_a_start_that_needs_our_code_or_fails_or_might_wait_is_left_to_a_fork(in_process, fields) -> None:
    code = f"""
        os.mkfifo("fifo")
        print(spawn(b"/bin/true", {fields}))
        pid = spawn(b"/bin/true")
        print(tags.of(pid) is not None, ended(pid))
    """
    assert in_process(code) == "None\nTrue 0\n"


PARENTS = """
def parent(pid):
    tasks = os.listdir("/proc/self/task")
    return [task for task in tasks if str(pid) in open(f"/proc/self/task/{task}/children").read().split()]
"""


def test_a_thread_outlives_its_program_which_may_ask_to_be_killed_with_its_parent(in_process) -> None:
    code = """
        pids = [spawn(b"/bin/sleep", b"60") for _ in range(2)]
        threads = [parent(pid) for pid in pids]
        print(len({str(os.getpid()), *sum(threads, [])}))
        for number, pid in enumerate(pids, 1):
            os.kill(pid, signal.SIGKILL)
            ended(pid)
            spawner.free(number)
        print(len(os.listdir("/proc/self/task")))
    """
    assert in_process(PARENTS + textwrap.dedent(code)) == "3\n3\n"


def test_a_thread_is_reused_once_no_process_of_its_launch_is_left(in_process) -> None:
    """Not before: within one domain, the next launch could signal the remaining processes and look into them."""
    code = """
        pid = spawn(b"/bin/sleep", b"60")
        first = parent(pid)
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        second, third = parent(spawn(b"/bin/sleep", b"60")), parent(spawn(b"/bin/sleep", b"60"))
        print(len({*first, *second, *third}))
        spawner.free(1)
        spawn(b"/no/such")
        print(parent(spawn(b"/bin/sleep", b"60")) == first)
    """
    assert in_process(PARENTS + textwrap.dedent(code)) == "3\nTrue\n"
