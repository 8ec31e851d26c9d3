"""A process of ours in user, mount and host name namespaces, which calls functions there.

It is a program of one thread, with nothing mounted anywhere else, so that the runner, its launcher and the stages all
see what it sees. A request is a function, by its name, and its arguments. The answer is whether the function returned,
and what it returned or raised. Both are pickles.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from runner.levels import RefusedError
from runner.sandbox import syscalls
from runner.sandbox.namespaces import CLONE_NEWNS, CLONE_NEWUSER, unshare
from runner.sandbox.syscalls import MS_REC, MS_SLAVE, mount

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Self


T = TypeVar("T")

PACKAGES = str(Path(__file__).parents[2])  # where pytest_offpipe lies
CLONE_NEWUTS = 0x4000000  # linux/sched.h

_PROGRAM = """\
import sys
sys.path.insert(0, sys.argv[1])
from pytest_offpipe.faults.namespace import main
main(sys.argv[2])
"""


class Confined:
    """Use as a context manager; RefusedError when the system has no such namespaces for this user."""

    def __init__(self, host_name: str = "") -> None:
        """`host_name` is what it is called in there; "" leaves that as it is."""
        command = [sys.executable, "-P", "-B", "-c", _PROGRAM, PACKAGES, host_name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Return what `function` returns in there, or raise what it raises; all of it has to survive pickling.

        What it changes of its arguments stays in there. Paths mean what is mounted there.
        """
        requests = self._process.stdin
        assert requests is not None
        requests.write(pickle.dumps((function, arguments)))
        requests.flush()
        return cast(T, self._result())

    def close(self) -> None:
        """End it, with all that it mounted."""
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()
        self._process.wait()

    def _result(self) -> Any:
        answers = self._process.stdout
        assert answers is not None
        try:
            has_returned, result = pickle.load(answers)  # noqa: S301 - written by our own process
        except EOFError:
            raise RuntimeError(f"process {self._process.pid}, which was to confine a run, ended") from None
        if not has_returned:
            raise result
        return result


def main(host_name: str) -> None:
    """Enter the namespaces, say so, and serve until there are no more requests, or whoever started this is gone."""
    answers = os.fdopen(os.dup(1), "wb")  # which is nobody else's then
    os.dup2(2, 1)
    try:
        syscalls.prctl("driver", "prctl(PR_SET_PDEATHSIG)", syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        _enter(host_name)
    except RefusedError as error:
        _answer(answers, (False, error))
        return
    _answer(answers, (True, None))
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by Confined
        except EOFError:
            return
        try:
            result = (True, function(*arguments))
        except Exception as error:  # noqa: BLE001 - told to who asked
            error.add_note(f"in a process of its own:\n{traceback.format_exc()}")
            result = (False, error)
        _answer(answers, result)


def _answer(answers: BinaryIO, result: tuple[bool, Any]) -> None:
    answers.write(pickle.dumps(result))
    answers.flush()


def _enter(host_name: str) -> None:
    unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS, "unshare(user, mount, host name)")
    mount("making / a slave mount", b"none", b"/", None, MS_REC | MS_SLAVE)
    if host_name:
        name = host_name.encode()
        syscalls.function("host name", f"sethostname({host_name})", "sethostname", name, ctypes.c_size_t(len(name)))
