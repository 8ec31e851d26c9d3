"""System calls that Python has no name for."""

import os

import pytest

from runner.sandbox import syscalls


@pytest.mark.parametrize("libc", ["of this system", "before glibc 2.34"])
def test_every_descriptor_is_closed_but_those_that_are_kept(monkeypatch, libc):
    if libc != "of this system":
        monkeypatch.setattr(syscalls, "_close_range", lambda *_: -1)
    pid = os.fork()
    if pid == 0:
        numbers = [os.dup2(0, number) for number in (100, 101, 102, 103, 104)]
        syscalls.close_all_but((0, 1, 2, 100, 103))
        os._exit(sum(1 << at for at, number in enumerate(numbers) if os.path.exists(f"/proc/self/fd/{number}")))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0b01001
