"""A stage's processes are known by their tag, whatever they do. Each test runs in its own process."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import textwrap

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START = """
import os, resource, subprocess, sys
from runner.sandbox import syscalls
from runner.sandbox.process_tree import Tags, open_tags
syscalls.prctl("no_new_privs", syscalls.PR_SET_NO_NEW_PRIVS, 1)
tags = open_tags({})
def tagged(*argv, number=7):
    '''Start a program as a launch; it is told of by its first line, and ended by the end of its input.'''
    def become():
        tags.set(number)
        tags.lock()
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=become)
"""


def in_process(code):
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        cwd=ROOT, capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_process_its_children_and_its_threads_have_the_tag_and_others_none():
    code = """
        inner = "import threading as t; t.Thread(target=lambda: input(print(t.get_native_id(), flush=True))).start()"
        main = tagged("sh", "-c", 'exec 3<&0; "$@" <&3 & wait', "sh", sys.executable, "-c", inner)
        other = tagged("sh", "-c", "exec 3<&0; setsid sh -c 'echo $$; exec cat' <&3 & wait", number=8)
        thread, away = int(main.stdout.readline()), int(other.stdout.readline())
        assert [tags.of(pid) for pid in (main.pid, thread, other.pid, away)] == [7, 7, 8, 8]
        assert tags.of(os.getpid()) is tags.of(1) is tags.of(0x7FFFFFF0) is None
        assert Tags().of(main.pid) is None, "another launcher's"
        main.communicate(), other.communicate()
    """
    in_process(code)


def test_a_process_that_has_ended_has_its_tag_until_it_is_waited_for():
    code = """
        main = tagged("true")
        os.waitid(os.P_PID, main.pid, os.WEXITED | os.WNOWAIT)
        assert tags.of(main.pid) == 7
        main.wait()
        assert tags.of(main.pid) is None
    """
    in_process(code)


def test_a_stage_can_set_all_limits_but_its_tag():
    code = """
        inner = '''if True:
            import ctypes, os, resource
            for number in range(16):
                try:
                    resource.setrlimit(number, resource.getrlimit(number))
                except (OSError, ValueError):
                    print(number)
            pair = (ctypes.c_ulong * 2)(1 << 61, 1 << 61)
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.syscall(SETRLIMIT, 15, pair) == -1 and ctypes.get_errno() == 1
            '''
        number = syscalls.NUMBERS[syscalls.machine()]["setrlimit"]
        main = tagged(sys.executable, "-c", inner.replace("SETRLIMIT", str(number)))
        print(main.communicate()[0], main.returncode)
    """
    assert in_process(code).split() == ["15", "0"]


@pytest.mark.parametrize(
    "flags", [0x8000, 0x8000 | 0x10000000, 0x40000000 | 0x10000000], ids=["sibling", "both", "user"]
)
def test_no_kind_of_clone_loses_the_tag(flags):
    if platform.machine() != "x86_64":
        pytest.skip("the call is spelled for x86_64")
    code = f"""
        inner = '''if True:
            import ctypes, os, signal
            pid = ctypes.CDLL(None).syscall(56, {flags} | signal.SIGCHLD, 0, 0, 0, 0)
            if pid == 0:
                os.setsid()
                print(os.readlink("/proc/self"), flush=True)
                os.execvp("cat", ["cat"])
            if pid < 0:
                print(0)
            else:
                os.waitid(os.P_PID, pid, os.WEXITED) if not {flags} & 0x8000 else None
            '''
        main = tagged(sys.executable, "-c", inner)
        clone = int(main.stdout.readline())
        print("lacks" if not clone else tags.of(clone))
        main.stdin.close()
        main.wait()
    """
    output = in_process(code).strip()
    if output == "lacks":
        pytest.skip("this clone is refused here")
    assert output == "7"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="takes on other ids, which needs root")
def test_reads_the_tag_of_a_process_with_other_ids_even_without_privileges():
    code = """
        main = tagged("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "sh", "-c", "echo $$; exec cat")
        pid = int(main.stdout.readline())
        assert tags.of(pid) == 7
        import ctypes
        from runner.sandbox.privileges import CAPABILITY_VERSION_3
        none = bytes(24), __import__("struct").pack("=Ii", CAPABILITY_VERSION_3, 0)
        syscalls.call("capset", none[1], none[0])
        try:
            resource.prlimit(pid, 15)
        except PermissionError:
            print(tags.of(pid))
        main.communicate()
    """
    assert in_process(code) == "7\n"


def test_there_are_no_tags_where_the_limit_cannot_be_set():
    code = """
        inner = "from runner.sandbox.process_tree import open_tags; layers = {}; print(open_tags(layers), layers)"
        main = tagged(sys.executable, "-c", inner)
        print(main.communicate()[0], end="")
        resource.setrlimit(15, (1 << 40, 1 << 40))
        layers = {}
        print(open_tags(layers), layers)
    """
    inside, limited = in_process(code).strip().splitlines()
    start = "None {'processes': 'by parents and sessions: RLIMIT_RTTIME "
    assert (inside, limited) == (start + "cannot be set'}", f"{start}is at most {1 << 40} here'}}")
