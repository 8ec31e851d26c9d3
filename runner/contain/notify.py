"""Who asked for a socket: calls that the filter hands on are refused, and counted by stage, program and family.

Loaded by the launcher program only.
"""

from __future__ import annotations

import os
import select

from runner.contain.bpf import AF_UNIX, SOCK_STREAM, SOCK_TYPE_MASK
from runner.contain.tree import has_ended, parent_and_session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from runner.contain.seccomp import Call, Listener

AT_ONCE = 64  # calls answered before the launcher looks after its other duties
MOST = 100  # of programs and families told apart, per launch
OTHERS = ("other programs", "any")
NAME_LENGTH = 100
SOCK_NONBLOCK = os.O_NONBLOCK  # socket(2)


class Attempts:
    """What the processes of one launch asked for."""

    __slots__ = ("counts", "local")

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}  # (program, family) -> calls
        self.local = 0  # calls for AF_UNIX, which are no attempt to get out, but may be why a program failed

    def add(self, program: str, family: str) -> None:
        key = (program, family)
        if key not in self.counts and len(self.counts) >= MOST - 1:
            key = OTHERS
        self.counts[key] = self.counts.get(key, 0) + 1

    def as_report(self) -> list[tuple[str, str, int]]:
        return [(program, family, count) for (program, family), count in self.counts.items()]


class Watch:
    """Answers the listener; `poll` on its descriptor tells when."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.descriptor = listener.descriptor
        self._poll = select.poll()
        self._poll.register(listener.descriptor, select.POLLIN)

    def answer(self, launches: dict[int, Attempts]) -> None:
        """Refuse what waits, AT_ONCE at most, and count it for the launch (by its main process) that it comes from."""
        for _ in range(AT_ONCE):
            if not self._poll.poll(0):
                return
            call = self._listener.receive()
            if call is not None:
                self._count(call, launches)
                self._listener.refuse(call)

    def _count(self, call: Call, launches: dict[int, Attempts]) -> None:
        main = _main_of(call.pid, launches)
        if main is None:
            return
        if call.family == AF_UNIX:
            # Name-service look-ups (nscd) never block, and do without; multiprocessing blocks, and does not.
            launches[main].local += call.kind & SOCK_NONBLOCK == 0 and call.kind & SOCK_TYPE_MASK == SOCK_STREAM
        else:
            launches[main].add(_program(call.pid), call.family_name)


def _main_of(pid: int, mains: Collection[int]) -> int | None:
    """The main process above this process or thread: by its session, else by its parents.

    Main processes take in their orphans, so who has no main above him was left by one that ended. None: by nobody.
    """
    while pid > 1 and pid not in mains:
        found = parent_and_session(pid)
        if found is None:
            break
        parent, session = found
        if session in mains:
            return session
        pid = parent
    if pid in mains:
        return pid
    return next((main for main in mains if has_ended(main)), None)


def _program(pid: int) -> str:
    """The name of the file that a process executes, fit for a log; what it calls itself where that cannot be read."""
    try:
        name = os.path.basename(os.readlink(b"/proc/%d/exe" % pid)).removesuffix(b" (deleted)")
    except OSError:
        try:
            with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
                name = file.read().rstrip(b"\n")
        except OSError:
            return "?"
    text = name.decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)[:NAME_LENGTH]
