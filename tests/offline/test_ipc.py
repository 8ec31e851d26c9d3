"""At level `kernel` no stage reaches what a program outside shares by System V or POSIX IPC."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from harmless_lives import bench_as_user

# Creates or opens one of each kind; prints the results: a number, or -1 for none.
ASKS = """
import ctypes, json, sys
create = 0o1600 if sys.argv[1] == "make" else 0
key = int(sys.argv[2])
libc = ctypes.CDLL(None)
queue = getattr(libc, "mq_open", None) or ctypes.CDLL("librt.so.1").mq_open
flags = 0o102 if create else 2  # O_RDWR | O_CREAT
print(json.dumps({
    "queue": libc.msgget(key, create), "semaphores": libc.semget(key, int(bool(create)), create),
    "memory": libc.shmget(key, 4096 if create else 0, create),
    "POSIX queue": queue(b"/offpipe-%d" % key, flags, 0o600, None),
}), flush=True)
if sys.argv[1] == "make":
    sys.stdin.read()
    libc.msgctl(libc.msgget(key, 0), 0, None)
    libc.semctl(libc.semget(key, 0, 0), 0, 0, 0)
    libc.shmctl(libc.shmget(key, 0, 0), 0, None)
    getattr(libc, "mq_unlink", lambda _name: None)(b"/offpipe-%d" % key)
"""


@pytest.mark.parametrize("user", ["root", "unprivileged"])
def test_no_stage_reaches_ipc_of_a_program_outside(user):
    with bench_as_user("kernel", user) as bench:
        bench.write("asks.py", ASKS)
        key = str(os.getpid() + 1)
        command = [*bench.owner.prefix, bench.owner.interpreter, str(bench.root / "asks.py")]
        with subprocess.Popen(
            [*command, "make", key], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as outside:
            assert outside.stdout is not None
            made = {kind for kind, number in json.loads(outside.stdout.readline()).items() if number >= 0}
            there = json.loads(subprocess.run([*command, "ask", key], capture_output=True, check=True).stdout)
            assert {"queue", "semaphores", "memory"} <= made and {kind for kind in there if there[kind] >= 0} == made
            bench.define({"name": "asks", "processor": "asks.py", "args": ["ask", key], "stdout": "out",
                          "outputs": {"out": "found"}})  # fmt: skip
            bench.succeed()
        assert set(json.loads(bench.read("found")).values()) == {-1}
        assert bench.records("run.start")[0]["data"]["isolation"]["ipcNamespace"].startswith("ipc:[")
