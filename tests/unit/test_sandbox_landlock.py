from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from runner.levels import RefusedError
from runner.sandbox.landlock import FS_REFER, Landlock, handled

ROOT = Path(__file__).resolve().parents[2]


def landlock_or_skip() -> Landlock:
    try:
        return Landlock()
    except RefusedError as error:
        pytest.skip(f"no Landlock here: {error}")


def in_a_domain(program: str, cwd: Path) -> str:
    """Return what `program` prints in a process that has entered a domain as a stage does."""
    start = "import os, sys; sys.path.insert(0, sys.argv[1])\nfrom runner.sandbox import syscalls\n"
    start += "from runner.sandbox.landlock import Landlock\n"
    start += "syscalls.prctl('', syscalls.PR_SET_NO_NEW_PRIVS, 1); Landlock().enter()\n"
    done = subprocess.run(
        [sys.executable, "-c", start + program, str(ROOT)], cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_requests_no_rights_that_a_version_does_not_know() -> None:
    assert [len(handled(abi)) for abi in (2, 3, 4, 5, 6, 7, 99)] == [1, 1, 2, 2, 3, 3, 3]
    assert all(any(handled(abi)) for abi in range(2, 10))


def test_old_versions_restrict_renames_only_to_allow_them_again() -> None:
    assert all(handled(abi)[0] & FS_REFER for abi in (2, 3))
    assert all(handled(abi)[0] == 0 for abi in (4, 5, 6, 7)), "otherwise nobody could mount"


def test_files_are_not_restricted(tmp_path) -> None:
    landlock_or_skip()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    program = "open('a/x', 'w').write('1'); os.rename('a/x', 'b/y'); os.link('b/y', 'a/z'); os.mkfifo('f')\n"
    assert in_a_domain(program + "print(sorted(os.listdir('a')), os.listdir('b'))", tmp_path) == "['z'] ['y']\n"


def test_the_memory_of_a_process_outside_is_closed(tmp_path) -> None:
    landlock_or_skip()
    program = (
        "try: os.open(f'/proc/{os.getppid()}/mem', os.O_RDWR)\nexcept PermissionError: print('closed')\n"
        "print(os.open('/proc/self/mem', os.O_RDWR) > 0)"
    )
    assert in_a_domain(program, tmp_path) == "closed\nTrue\n"


def test_signals_stay_inside(tmp_path) -> None:
    if "signals" not in landlock_or_skip().layer:
        pytest.skip("this kernel's Landlock has no scope for signals (ABI 6)")
    program = (
        "try: os.kill(os.getppid(), 0)\nexcept PermissionError: print('refused')\n"
        "pid = os.fork()\n"
        "if not pid: import signal; signal.pause()\n"
        "os.kill(pid, 9); print(os.waitpid(pid, 0)[1])"
    )
    assert in_a_domain(program, tmp_path) == "refused\n9\n"
