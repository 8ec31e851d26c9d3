"""Who asked for a socket: calls that the filter hands on are refused, and counted by stage, program and family.

Loaded by the launcher program only.
"""

from __future__ import annotations

import os
import select
import time

from runner.sandbox.seccomp import AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOCK_TYPE_MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.sandbox.process_tree import ProcessTree
    from runner.sandbox.seccomp import Call, Listener

    Key = tuple[str, str, bool]  # program, address family, whether that fails no stage
    Network = list[tuple[str, str, int, bool]]  # the fields of results.NetworkCalls

AT_ONCE = 64  # calls answered before the launcher looks after its other duties
MOST = 100  # of what is told of one launch
PATIENCE = 10.0  # seconds in which more of the same may come, to be told of together
OTHERS = ("other programs", "any", False)
NAME_LENGTH = 100
SOCK_NONBLOCK = os.O_NONBLOCK  # socket(2)


class Tally:
    """Which networks the processes of one launch asked for, and what of that has been told."""

    __slots__ = ("_told", "_untold", "due", "local_sockets")

    def __init__(self) -> None:
        self.due: float | None = None  # when to tell of what is new
        self.local_sockets = 0  # see launch.Exit
        self._untold: dict[Key, int] = {}
        self._told: list[Key] = []

    def add(self, call: Call) -> None:
        """Count one call."""
        is_internet = not call.way and call.family in (AF_INET, AF_INET6)
        key: Key = (_program(call.pid), call.family_name, bool(call.way) or (is_internet and _is_jvm(call.pid)))
        if key not in self._untold and key not in self._told:
            if len(self._untold) + len(self._told) >= MOST - 1:
                key = OTHERS
            self.due = self.due or time.monotonic() + PATIENCE
        self._untold[key] = self._untold.get(key, 0) + 1

    def new(self) -> Network:
        """Return, and take for told, what was never told of before."""
        self.due = None
        return self._tell([key for key in self._untold if key not in self._told and key != OTHERS])

    def rest(self) -> Network:
        """Return, and take for told, everything else; what would be more than MOST in all as OTHERS."""
        for key in list(self._untold)[max(0, MOST - 1 - len(self._told)) :]:
            if len(self._told) + len(self._untold) > MOST and key != OTHERS:
                self._untold[OTHERS] = self._untold.get(OTHERS, 0) + self._untold.pop(key)
        return self._tell(list(self._untold))

    def _tell(self, keys: list[Key]) -> Network:
        self._told += keys
        return [
            (program, family, self._untold.pop((program, family, is_jvm)), is_jvm) for program, family, is_jvm in keys
        ]


class Watch:
    """Answers the listener; `poll` on its descriptor tells when."""

    def __init__(self, listener: Listener, tree: ProcessTree) -> None:
        self._listener = listener
        self._tree = tree
        self.descriptor = listener.descriptor
        self._poll = select.poll()
        self._poll.register(listener.descriptor, select.POLLIN)

    def answer(self, launches: dict[int, Tally]) -> None:
        """Refuse what waits, AT_ONCE at most, and count it for the launch (a key of the tree's) that it comes from."""
        for _ in range(AT_ONCE):
            if not self._poll.poll(0):
                return
            call = self._listener.receive()
            if call is not None:
                self._count(call, launches)
                self._listener.refuse(call)

    def _count(self, call: Call, launches: dict[int, Tally]) -> None:
        key = self._tree.launch_of(call.pid, launches)
        if key is None:
            return
        if call.family == AF_UNIX and not call.way:
            # Name-service look-ups (nscd) never block, and do without; multiprocessing blocks, and does not.
            launches[key].local_sockets += call.kind & SOCK_NONBLOCK == 0 and call.kind & SOCK_TYPE_MASK == SOCK_STREAM
        else:
            launches[key].add(call)


def _is_jvm(pid: int) -> bool:
    """Whether it is a JVM, which opens sockets of the internet also for a program that only reads and writes files."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return any(line.rstrip().endswith(b"/libjvm.so") for line in file)
    except OSError:
        return False


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
