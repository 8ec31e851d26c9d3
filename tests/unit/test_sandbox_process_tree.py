"""The processes below a main process are found, whichever lists the kernel has."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.processes import relations_of
from runner.sandbox.process_tree import ProcessTree


@pytest.fixture
def family():
    """A shell in its own session with one child."""
    shell = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    yield shell.pid, int(shell.stdout.readline())
    os.killpg(shell.pid, 9)
    shell.wait()
    shell.stdout.close()


def test_parent_group_and_session_are_read():
    assert relations_of(os.getpid()) == (os.getppid(), os.getpgrp(), os.getsid(0))


def test_names_may_have_brackets_and_spaces(tmp_path):
    program = tmp_path / "a) R 1 (b"
    program.write_text("#!/bin/sh\nread x\n")
    program.chmod(0o755)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as child:
        assert relations_of(child.pid)[0] == os.getpid()
        child.communicate(b"\n")


def test_members_are_the_main_processes_and_all_below_them(family):
    shell, child = family
    tree = ProcessTree()
    assert tree._members({shell}, ()) == {shell: (shell, shell), child: (shell, shell)}
    assert tree._members({child}, ()) == {child: (shell, shell)}
    assert tree._members({0x7FFFFFFF}, ()) == {}


def test_children_are_found_without_the_kernels_list_of_them(family):
    tree = ProcessTree()
    tree._list = "/proc/self/no-such-list"
    children = tree._child_numbers()
    assert family[0] in children and family[1] not in children


LEADERLESS = """
import os, sys, threading
def go_on():
    print(os.getpid(), flush=True)
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=go_on).start()
import ctypes
ctypes.CDLL(None).syscall({exit}, 0)
"""
EXIT = {"x86_64": 60, "aarch64": 93}  # exit(2): of one thread


def test_a_process_whose_first_thread_has_ended_goes_on():
    code = LEADERLESS.format(exit=EXIT[os.uname().machine])
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as main:
        assert int(main.stdout.readline()) == main.pid
        while Path(f"/proc/{main.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass
        assert relations_of(main.pid)[0] == os.getpid()
        main.stdin.close()
        os.waitid(os.P_PID, main.pid, os.WEXITED | os.WNOWAIT)
        assert relations_of(main.pid) is None


def test_a_caller_belongs_to_the_main_process_above_it():
    """A shell has a child in its session and one that left it; both wait for a line that never comes.

    They read the shell's own input. In the background, theirs would be /dev/null, and they would end.
    """
    script = "exec 3<&0; cat <&3 & echo $!; setsid cat <&3 & echo $!; wait"
    with subprocess.Popen(
        ["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as main:
        assert main.stdout is not None and main.stdin is not None
        children = [int(main.stdout.readline()) for _ in range(2)]
        mains = [main.pid, os.getpid()]
        assert [ProcessTree().launch_of(pid, [main.pid]) for pid in (main.pid, *children)] == [main.pid] * 3
        assert all(
            ProcessTree().launch_of(child, order) == main.pid
            for child, order in itertools.product(children, (mains, mains[::-1]))
        )
        main.kill()


def test_a_caller_that_has_ended_belongs_to_no_launch():
    done = subprocess.Popen(["true"])
    done.wait()
    assert ProcessTree().launch_of(done.pid, [done.pid + 1, os.getpid()]) is None
