"""The processes below a launch, whatever they did to get away: signalled, found, killed.

Loaded by the launcher program only. Two kinds of system: with a subreaper and /proc (Linux), and without.
"""

from __future__ import annotations

import os

from runner.contain.calls import PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG, libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection
else:
    import _signal as signal  # `signal` itself builds enums, which costs a start of the launcher 3 ms

LOOKS = 1000  # how often SessionTree looks after processes that it killed and cannot wait for


def open_tree(*, plain: bool) -> ProcessTree | SessionTree:
    """The best that this system has, or with `plain` what every system has."""
    prctl = None if plain else getattr(libc, "prctl", None)
    if prctl is not None and os.path.exists("/proc/self/stat"):
        return ProcessTree(prctl)
    return SessionTree()


class ProcessTree:
    """With a subreaper: every descendant of a stage stays below its main process, or comes to the launcher."""

    def __init__(self, prctl: Callable[[int, int], int]) -> None:
        self._prctl = prctl
        self._children = f"/proc/self/task/{os.getpid()}/children"

    def enter_launcher(self, *, dies_with_runner: bool) -> None:
        """Take in orphans, and be woken (SIGCHLD) should the runner die while a copy of its pipe end is open.

        `dies_with_runner`: the kernel has been asked to kill the launcher then, which nothing must undo.
        """
        self._prctl(PR_SET_CHILD_SUBREAPER, 1)
        if not dies_with_runner:
            self._prctl(PR_SET_PDEATHSIG, signal.SIGCHLD)

    def enter_stage(self, launcher: int) -> None:
        """Runs in the *child*: die with the launcher, and take in the orphans of this stage (both outlive exec)."""
        self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        self._prctl(PR_SET_CHILD_SUBREAPER, 1)
        if os.getppid() != launcher:
            os._exit(127)  # it died before the first line above

    def send(self, mains: Collection[int], number: int) -> None:
        """Signal main processes and everything below them or in their sessions, stopped processes too.

        All at once, since it takes a look at every process of the machine.
        """
        if mains:
            _signal_all(_members(mains), mains, number)

    def kill_left(self, running: Collection[int], ended: Collection[int], *, childless: bool) -> dict[int, int]:
        """SIGKILL what the main processes of `ended` left; returns those processes, each with its session.

        To be called until it returns nothing: what forks while it is killed shows up as a child of ours next time.
        `childless`: wait(2) has just said that there is no child at all, which is the usual case and costs nothing.
        """
        if childless or not ended:
            return {}
        orphans = self._child_numbers().difference(running)
        if not orphans:
            return {}
        members = _members(orphans)
        _signal_all(members, orphans, signal.SIGKILL)
        return {pid: session for pid, (_, session) in members.items()} | dict.fromkeys(orphans - members.keys(), 0)

    def _child_numbers(self) -> set[int]:
        """Our children: one small read where the kernel has it (CONFIG_PROC_CHILDREN), else a look at every process."""
        try:
            with open(self._children, "rb", buffering=0) as file:
                return set(map(int, file.readall().split()))
        except FileNotFoundError:
            own = os.getpid()
            return {pid for pid, (parent, _, _) in _snapshot().items() if parent == own}


class SessionTree:
    """Without a subreaper (macOS): a stage is its session's first process group; who left that group is not found."""

    def __init__(self) -> None:
        self._looks: dict[int, int] = {}

    def enter_launcher(self, *, dies_with_runner: bool) -> None:
        """Nothing to ask this kernel for."""

    def enter_stage(self, launcher: int) -> None:
        """Runs in the *child*; a launcher that dies is noticed by nobody."""

    def send(self, mains: Collection[int], number: int) -> None:
        """Signal the process groups of stages."""
        for main in mains:
            _send(-main, number) or _send(main, number)  # before its setsid it has no group
            if number != signal.SIGKILL:
                _send(-main, signal.SIGCONT)

    def kill_left(self, running: Collection[int], ended: Collection[int], *, childless: bool) -> dict[int, int]:  # noqa: ARG002 - who left is no child of ours
        """SIGKILL the groups of `ended`; returns those not yet empty.

        The number of a group that is not empty is not given to anyone else. Whoever inherited its processes
        waits for them in its own time, so the looking ends.
        """
        left = {}
        for main in ended:
            looks = self._looks.get(main, 0)
            if main not in running and looks < LOOKS and _send(-main, signal.SIGKILL):
                self._looks[main] = looks + 1
                left[main] = main
            else:
                self._looks.pop(main, None)
        return left


def _send(pid: int, number: int) -> bool:
    """Kill(2); False when there is no such process (or, on macOS, only a zombie)."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal_all(members: dict[int, tuple[int, int]], also: Collection[int], number: int) -> None:
    """Signal each once. SIGKILL goes to whole groups first: a fork sees that or is seen by it (kernel/fork.c).

    Never to the group of the launcher itself, in which a child is until its setsid.
    """
    if number == signal.SIGKILL:
        for group in {group for group, _ in members.values()} - {os.getpgrp()}:
            _send(-group, number)
    for pid in members.keys() | also:
        _send(pid, number)
    if number != signal.SIGKILL:
        for pid in members.keys() | also:
            _send(pid, signal.SIGCONT)


def _members(roots: Collection[int]) -> dict[int, tuple[int, int]]:
    """Process -> (group, session) of the roots that are there, and of all below them or in their sessions."""
    snapshot = _snapshot()
    below: dict[int, list[int]] = {}
    for pid, (parent, _, session) in snapshot.items():
        below.setdefault(parent, []).append(pid)
        if session in roots and session != parent:
            below.setdefault(session, []).append(pid)
    found: dict[int, tuple[int, int]] = {}
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid in snapshot and pid not in found:
            found[pid] = snapshot[pid][1:]
            waiting.extend(below.get(pid, ()))
    return found


def has_ended(child: int) -> bool:
    """Whether a child has ended, whether or not somebody has waited for it."""
    if not hasattr(os, "waitid"):  # macOS before 3.13
        return False
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def parent_and_session(pid: int) -> tuple[int, int] | None:
    """Of one process, or thread, that has not ended."""
    found = _status(pid)
    return (found[0], found[2]) if found else None


def _snapshot() -> dict[int, tuple[int, int, int]]:
    """Every process that has not ended -> (parent, group, session)."""
    every = ((int(name), _status(int(name))) for name in os.listdir("/proc") if name.isdecimal())
    return {pid: status for pid, status in every if status}


def _status(pid: int) -> tuple[int, int, int] | None:
    """(parent, group, session), None for a process that ended; proc(5), stat fields 4 to 6."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(1024).rpartition(b")")[2].split(None, 4)
    except OSError:
        return None
    return (int(fields[1]), int(fields[2]), int(fields[3])) if fields and fields[0] != b"Z" else None
