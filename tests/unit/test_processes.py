"""A process is its number and when it started."""

import os
import subprocess

from runner.processes import is_alive, process_identity


def test_identity_stays_while_the_process_lives():
    mine = process_identity(os.getpid())
    assert mine is not None and mine == process_identity(os.getpid()) and is_alive(os.getpid(), mine)


def test_same_number_with_another_start_is_another_process():
    assert not is_alive(os.getpid(), process_identity(os.getpid()) - 1)


def test_gone_and_zombie_processes_are_not_alive():
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert process_identity(child.pid) is None
    child.wait()
    assert process_identity(child.pid) is None
