"""Starts a stage's program and injects the fault of a plan: ends it, slows it, or kills it while it works.

Runs as the stage's main process, in its isolation, as `python -I -S shim.py PROGRAM ARGV...`, so it works for programs
in any language. $PIPELINE_FAULTS names the file with the plan. Imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

VARIABLE = "PIPELINE_FAULTS"
GRACE = 5.0  # seconds, as in runner.interrupts
IN_ACCESS, IN_OPEN = 1, 32  # linux/inotify.h
WATCHES = 1000  # inputs that are watched; a user may have some thousands of watches
RESET = (signal.SIGPIPE, signal.SIGXFSZ)  # which Python ignores, and a program it starts would too


def main() -> None:
    """Inject the fault; if it does not end the program, end like the program."""
    with open(os.environ[VARIABLE], "rb") as file:
        plan = json.loads(file.read())
    kind = plan["kind"]
    if kind == "slow":
        _note("fired")  # before a time limit can end it
        time.sleep(plan["seconds"])
        _become_program()
    if kind == "exit" and plan["when"] == "before":
        _note("fired")
        os._exit(plan["code"])
    reading = _Reading(plan.get("inputs", []))
    is_here, until_exec = os.pipe()  # neither is inherited by what is executed
    child = os.fork()
    if child == 0:
        _become_program()
    os.close(until_exec)
    os.read(is_here, 1)  # until the program runs: a signal sent earlier would not reach the stage
    if kind == "exit":
        status = os.waitpid(child, 0)[1]
        if status == 0:
            _note("fired")
            os._exit(plan["code"])
        _end_as(status)
    _watch(plan, child, reading)


class _Reading:
    """Measures how long ago a process first read the stage's inputs, which is when its work began.

    On a system without inotify it stays 0.
    """

    def __init__(self, inputs: list[str]) -> None:
        self._began: float | None = None
        self._events = -1
        if inputs:
            import ctypes

            libc = ctypes.CDLL(None)
            self._events = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            for path in inputs[:WATCHES]:
                libc.inotify_add_watch(self._events, os.fsencode(path), IN_ACCESS | IN_OPEN)

    def seconds(self) -> float:
        """Return for how many seconds; 0 if nothing has been read."""
        if self._began is None:
            try:
                os.read(self._events, 4096)
            except OSError:  # no event, or no inotify
                return 0.0
            self._began = time.monotonic()
        return time.monotonic() - self._began


def _watch(plan: dict[str, Any], child: int, reading: _Reading) -> NoReturn:
    """Kill or terminate the program once it has come far enough. Polls without a pause, because microseconds matter."""
    while not _has_come_to(plan, reading):
        _end_if_over(child)
    os.kill(child, signal.SIGSTOP)
    status = os.waitpid(child, os.WUNTRACED)[1]
    if not os.WIFSTOPPED(status):  # it was over before
        _end_as(status)
    _note("fired")
    if plan["kind"] == "kill":
        os.killpg(0, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    for pid in _in_other_groups():
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended, or is another user's
            os.kill(pid, signal.SIGTERM)
    os.kill(child, signal.SIGCONT)
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        _end_if_over(child)
        time.sleep(0.002)
    _note("outlasted")
    os.killpg(0, signal.SIGKILL)
    os._exit(1)  # not reached


def _in_other_groups() -> set[int]:
    """Return the processes of the program that are in another group, as those of timeout(1): the runner signals all."""
    relations = {}  # process -> its parent, group and session
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            relations[int(name)] = [*map(int, file.read().rpartition(b") ")[2].split()[1:4])]
    session = os.getsid(0)
    below = {os.getpid()}
    while more := {pid for pid, its in relations.items() if its[0] in below or its[2] == session} - below:
        below |= more
    return {pid for pid in below if relations[pid][1] != os.getpgrp()}


def _end_if_over(child: int) -> None:
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        _end_as(status)


def _has_come_to(plan: dict[str, Any], reading: _Reading) -> bool:
    after_bytes, after_seconds = plan.get("after_bytes"), plan.get("after_seconds")
    if after_seconds is not None and reading.seconds() > after_seconds:
        return True
    return after_bytes is not None and sum(map(_size, plan["partials"])) >= after_bytes


def _size(path: str) -> int:
    """Return the bytes below a path; -1 if it is missing, which is less than an empty file."""
    try:
        if not os.path.isdir(path):
            return os.stat(path).st_size
        return sum(_size(f"{path}/{name}") for name in os.listdir(path))
    except OSError:
        return -1


def _note(what: str) -> None:
    """Report an event to the test by a file beside the plan."""
    os.close(os.open(f"{os.environ[VARIABLE]}.{what}", os.O_WRONLY | os.O_CREAT, 0o666))


def _end_as(status: int) -> NoReturn:
    """End as the program did, even by a signal."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _become_program() -> NoReturn:
    for number in RESET:
        signal.signal(number, signal.SIG_DFL)
    os.environ[VARIABLE] = ""  # as in the undisturbed run: a stage may list the names of its variables
    os.execv(sys.argv[1], sys.argv[2:])  # noqa: S606 - the stage's program


if __name__ == "__main__":
    main()
