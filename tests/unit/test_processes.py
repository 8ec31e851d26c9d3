"""A process is identified by its number and its start time."""

import os
import subprocess
import sys
import time
from pathlib import Path

from runner.processes import await_end, is_alive, proc_file, process_identity

LONG = 60.0


def test_identity_stays_while_the_process_lives():
    identity = process_identity(os.getpid())
    assert identity is not None and identity == process_identity(os.getpid()) and is_alive(os.getpid(), identity)


def test_same_number_with_another_start_is_another_process():
    assert not is_alive(os.getpid(), process_identity(os.getpid()) - 1)


def test_gone_and_zombie_processes_are_not_alive():
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_identity(child.pid) is None
    child.wait()
    assert process_identity(child.pid) is None


def test_a_process_whose_first_thread_has_ended_lives_as_long_as_the_others():
    code = "import ctypes, threading; threading.Thread(target=input).start(); ctypes.CDLL(None).pthread_exit(None)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        identity = process_identity(child.pid)
        deadline = time.monotonic() + LONG
        while b") Z " not in Path(f"/proc/{child.pid}/stat").read_bytes():
            assert time.monotonic() < deadline
        assert is_alive(child.pid, identity)
        child.kill()


def test_waits_for_the_end_of_a_process_within_a_limit():
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        identity = process_identity(child.pid)
        await_end(child.pid, identity, 0.01)
        assert is_alive(child.pid, identity)
        child.kill()
        await_end(child.pid, identity, LONG)
        assert not is_alive(child.pid, identity)
    await_end(child.pid, identity, LONG)
    await_end(child.pid, None, LONG)


def test_a_file_of_proc_is_none_once_its_process_is_gone():
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert proc_file(f"{ended.pid}/status") is None
    assert proc_file("self/comm", 3) == Path("/proc/self/comm").read_bytes()[:3]
