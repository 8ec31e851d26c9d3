"""Refuses the calls for sockets that the filter passes on, and counts them by stage, program and family.

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
MOST = 100  # entries reported of one launch
PATIENCE = 10.0  # seconds to wait for more calls, which are then reported together
OTHERS = ("other programs", "any", False)
NAME_LENGTH = 100
SOCK_NONBLOCK = os.O_NONBLOCK  # socket(2)


class Tally:
    """Which networks the processes of one launch asked for, and which of them were reported."""

    __slots__ = ("_reported", "_unreported", "due", "local_sockets")

    def __init__(self) -> None:
        self.due: float | None = None  # when to report what is new
        self.local_sockets = 0  # see launch.Exit
        self._unreported: dict[Key, int] = {}
        self._reported: list[Key] = []

    def add(self, call: Call) -> None:
        """Count one call."""
        is_internet = not call.way and call.family in (AF_INET, AF_INET6)
        key: Key = (_program(call.pid), call.family_name, bool(call.way) or (is_internet and _is_jvm(call.pid)))
        if key not in self._unreported and key not in self._reported:
            if len(self._unreported) + len(self._reported) >= MOST - 1:
                key = OTHERS
            self.due = self.due or time.monotonic() + PATIENCE
        self._unreported[key] = self._unreported.get(key, 0) + 1

    def new(self) -> Network:
        """Return, and count as reported, what was never reported before."""
        self.due = None
        return self._report([key for key in self._unreported if key not in self._reported and key != OTHERS])

    def rest(self) -> Network:
        """Return, and count as reported, everything else; what would be over MOST in all goes into OTHERS."""
        for key in list(self._unreported)[max(0, MOST - 1 - len(self._reported)) :]:
            if len(self._reported) + len(self._unreported) > MOST and key != OTHERS:
                self._unreported[OTHERS] = self._unreported.get(OTHERS, 0) + self._unreported.pop(key)
        return self._report(list(self._unreported))

    def _report(self, keys: list[Key]) -> Network:
        self._reported += keys
        return [
            (program, family, self._unreported.pop((program, family, is_jvm)), is_jvm)
            for program, family, is_jvm in keys
        ]


class Watch:
    """Answers the listener's calls, which `poll` on its descriptor announces."""

    def __init__(self, listener: Listener, tree: ProcessTree) -> None:
        self._listener = listener
        self._tree = tree
        self.descriptor = listener.descriptor
        self._poll = select.poll()
        self._poll.register(listener.descriptor, select.POLLIN)

    def answer(self, launches: dict[int, Tally]) -> None:
        """Refuse waiting calls, AT_ONCE at most, and count each for its launch (by its key in the tree)."""
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
    """Whether a process is a JVM, which opens internet sockets even for programs that only read and write files."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return any(line.rstrip().endswith(b"/libjvm.so") for line in file)
    except OSError:
        return False


def _program(pid: int) -> str:
    """Return the name of the file that a process executes, fit for a log; else the name that it gave itself."""
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
