from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from pipeline_bench import ROOT

START = """
import os, signal
from runner.levels import RefusedError
from runner.sandbox import syscalls
from runner.sandbox.namespaces import CLONE_NEWUSER, Maps
before = os.listdir("/proc/self/fd")
maps = Maps()
"""


def run(work: str, then: str) -> str:
    """Run `work` in a child whose maps are written, then print what `then` is; the parent must leave nothing open."""
    code = f"{START}\ndef work():\n    {work}\n    return 0\npid = syscalls.fork_for(work)\nmaps.write(pid)\n"
    code += f"print({then})\nassert os.listdir('/proc/self/fd') == before\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False
    )
    if "unshare" in done.stderr:
        pytest.skip("no user namespace can be made here")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_child_has_the_ids_that_it_had_before_in_its_user_namespace() -> None:
    work = "maps.enter(CLONE_NEWUSER, 'unshare'); assert (os.getuid(), os.getgid()) == (%d, %d)"
    assert run(work % (os.getuid(), os.getgid()), "os.waitpid(pid, 0)[1]") == "0"


@pytest.mark.parametrize("asks", ["pass", "os.write(maps.descriptors[1], b'-')"], ids=["before", "after"])
def test_a_child_that_is_killed_before_or_after_it_asks_is_not_waited_for(asks: str) -> None:
    work = f"{asks}; os.kill(os.getpid(), signal.SIGKILL)"
    assert run(work, "os.waitpid(pid, 0)[1]") == str(int(signal.SIGKILL))
