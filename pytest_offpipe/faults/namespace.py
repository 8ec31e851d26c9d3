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
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar, cast

from runner.levels import RefusedError
from runner.sandbox import syscalls
from runner.sandbox.namespaces import CLONE_NEWNS, CLONE_NEWUSER, unshare
from runner.sandbox.syscalls import MS_REC, MS_SLAVE, mount

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

CLONE_NEWUTS = 0x4000000  # linux/sched.h
_PROGRAM = (
    "import sys; sys.path[:0] = sys.argv[1:2]; from pytest_offpipe.faults.namespace import main; main(sys.argv[2])"
)


class Confined:
    """Use as a context manager; RefusedError when the system has no such namespaces for this user."""

    def __init__(self, host_name: str = "") -> None:
        """`host_name` is what it is called in there; "" leaves that as it is."""
        packages = str(Path(__file__).parents[2])  # where pytest_offpipe lies
        command = [sys.executable, "-P", "-B", "-c", _PROGRAM, packages, host_name]
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
        _send(cast("BinaryIO", self._process.stdin), (function, arguments))
        return cast("T", self._result())

    def close(self) -> None:
        """End it, with all that it mounted."""
        self._process.communicate()

    def _result(self) -> Any:
        try:
            has_returned, result = pickle.load(cast("BinaryIO", self._process.stdout))  # noqa: S301 - by our own process
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
        unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS, "unshare(user, mount, host name)")
        mount("making / a slave mount", b"none", b"/", None, MS_REC | MS_SLAVE)
        if host_name:
            name = host_name.encode()
            length = ctypes.c_size_t(len(name))
            syscalls.function("host name", f"sethostname({host_name})", "sethostname", name, length)
    except RefusedError as error:
        _send(answers, (False, error))
        return
    _send(answers, (True, None))
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
        _send(answers, result)


def _send(to: BinaryIO, value: tuple[object, object]) -> None:
    to.write(pickle.dumps(value))
    to.flush()
