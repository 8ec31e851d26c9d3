"""System calls that Python has no name for."""

import os

from runner.sandbox import syscalls


def test_every_descriptor_is_closed_but_those_that_are_kept():
    pid = os.fork()
    if pid == 0:
        numbers = [os.dup2(0, number) for number in (100, 101, 102, 103, 104)]
        syscalls.close_all_but((0, 1, 2, 100, 103))
        os._exit(sum(1 << at for at, number in enumerate(numbers) if os.path.exists(f"/proc/self/fd/{number}")))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0b01001
