"""A process in user, mount and host name namespaces of its own, which calls functions there.

The runner, its launcher and the stages inherit its mounts, and what requests change in it. It has one thread, as
unshare requires. A request is a function and its arguments. The answer says whether the function returned, and holds
its result or error.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from runner.levels import RefusedError
from runner.sandbox import syscalls
from runner.sandbox.namespaces import CLONE_NEWNS, CLONE_NEWUSER, unshare
from runner.sandbox.syscalls import MS_REC, MS_SLAVE, mount

if TYPE_CHECKING:
    from collections.abc import Callable


T = TypeVar("T")

CLONE_NEWUTS = 0x4000000  # linux/sched.h
_PROGRAM = "import sys; sys.path[:0] = sys.argv[1:2]; from pytest_offpipe.faults.namespace import main; main()"


class Confined:
    """The process, as a context manager. Raises RefusedError if this user cannot create the namespaces."""

    def __init__(self) -> None:
        packages = str(Path(__file__).parents[2])  # where pytest_offpipe lies
        self._requests, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-P", "-B", "-c", _PROGRAM, packages]
            self._process = subprocess.Popen(command, stdin=theirs.fileno())
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
        """Call a function there; return its result or raise its error. Arguments and results must survive pickling.

        Changes to the arguments stay there. Paths lead to what is mounted there.
        """
        self._requests.send((function, arguments))
        return cast("T", self._result())

    def close(self) -> None:
        """End the process, with all that it mounted."""
        self._requests.close()
        self._process.wait()

    def _result(self) -> Any:
        try:
            has_returned, result = self._requests.recv()
        except (EOFError, ConnectionResetError):
            raise RuntimeError(f"process {self._process.pid}, which should confine a run, ended") from None
        if not has_returned:
            raise result
        return result


def main() -> None:
    """Enter the namespaces, report it, and serve until there are no more requests or the parent is gone."""
    answers = Connection(0)  # its launchers replace this descriptor, so no stage inherits it
    try:
        syscalls.prctl("prctl(PR_SET_PDEATHSIG)", syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS, "unshare(user, mount, host name)")
        mount("making / a slave mount", b"none", b"/", None, MS_REC | MS_SLAVE)
    except RefusedError as error:
        answers.send((False, error))
        return
    answers.send((True, None))
    while True:
        try:
            function, arguments = answers.recv()
        except EOFError:
            return
        try:
            answers.send((True, function(*arguments)))
        except Exception as error:  # noqa: BLE001 - raised again where it was requested
            error.add_note(f"in a process of its own:\n{traceback.format_exc()}")
            answers.send((False, error))
