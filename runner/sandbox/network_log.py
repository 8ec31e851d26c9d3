"""Refuses the socket calls that the filter reports, and counts them by stage, program and family.

Loaded by the launcher program only.
"""

from __future__ import annotations

import os
import time

from runner.processes import proc_file, process_identity
from runner.sandbox.seccomp import AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOCK_TYPE_MASK, Call, Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.sandbox.process_tree import ProcessTree

    Key = tuple[str, str, bool]  # program, address family, whether such calls leave the stage successful
    Network = list[tuple[str, str, int, bool]]  # the fields of results.NetworkCalls

MOST = 100  # entries reported of one launch
PATIENCE = 10.0  # seconds that calls wait for more, to be reported together
OTHERS = ("other programs", "any", False)
NAME_LENGTH = 100


class Tally:
    """The network calls of one launch's processes, and which of them were reported."""

    def __init__(self) -> None:
        self.due: float | None = None  # when to report new calls
        self.local_sockets = 0  # see results.AttemptResult
        self._unreported: dict[Key, int] = {}
        self._reported: list[Key] = []
        self._callers: dict[int, tuple[int | None, Key | None]] = {}  # by process: its start, and a call that is held

    def add(self, call: Call) -> bool:
        """Count one call. Return whether it fails the stage."""
        if call.family == AF_UNIX:
            # Name-service look-ups (nscd) use non-blocking sockets and manage without. multiprocessing uses blocking
            # ones, and fails.
            self.local_sockets += call.kind & os.O_NONBLOCK == 0 and call.kind & SOCK_TYPE_MASK == SOCK_STREAM
            return False
        is_internet = call.family in (AF_INET, AF_INET6)
        key: Key = (_program(call.pid), call.name, call.family < 0 or (is_internet and _is_jvm(call.pid)))
        if not key[2] and self._holds(call, key):
            return False
        self._count(key)
        return not key[2]

    def _holds(self, call: Call, key: Key) -> bool:
        """Whether it is the first call of a process, for an IPv6 stream socket: then it may stay the only one.

        Importing urllib3 makes such a call (_has_ipv6 in urllib3/util/connection.py). It is a probe unless the process
        makes another call; then both count.
        """
        pid, started = _process_of(call.pid)
        since, held = self._callers.get(pid, (None, None))
        is_first = since is None or since != started
        is_held = is_first and call.family == AF_INET6 and call.kind & SOCK_TYPE_MASK == SOCK_STREAM
        if held is not None:
            self._count(_as_probe(held) if is_first else held)
        self._callers[pid] = started, key if is_held else None
        return is_held

    def _count(self, key: Key) -> None:
        if key not in self._unreported and key not in self._reported:
            if len(self._unreported) + len(self._reported) >= MOST - 1:
                key = OTHERS
            self.due = self.due or time.monotonic() + PATIENCE
        self._unreported[key] = self._unreported.get(key, 0) + 1

    def new(self) -> Network:
        """Return the calls with keys that were never reported, and count them as reported."""
        self.due = None
        return self._report([key for key in self._unreported if key not in self._reported and key != OTHERS])

    def rest(self) -> Network:
        """Return all other calls, and count them as reported. Over MOST entries, calls are counted as OTHERS."""
        for _, held in self._callers.values():
            if held is not None:
                self._count(_as_probe(held))
        self._callers.clear()
        for key in list(self._unreported)[max(0, MOST - 1 - len(self._reported)) :]:
            if len(self._reported) + len(self._unreported) > MOST and key != OTHERS:
                self._unreported[OTHERS] = self._unreported.get(OTHERS, 0) + self._unreported.pop(key)
        return self._report(list(self._unreported))

    def _report(self, keys: list[Key]) -> Network:
        self._reported += keys
        return [(*key[:2], self._unreported.pop(key), key[2]) for key in keys]


def answer_call(listener: Listener, tree: ProcessTree, launches: dict[int, Tally], end: Callable[[int], None]) -> None:
    """Refuse a call that waits, and count it for its launch (by its key in the tree).

    If the call fails the stage, `end` gets the key. That comes before the answer, so that a program does not go on
    before TERM ends it.
    """
    call = listener.receive()
    if call is not None:
        key = tree.launch_of(call.pid, launches)
        if key is not None and launches[key].add(call):
            end(key)
        listener.refuse(call)


def _as_probe(key: Key) -> Key:
    return key[0], key[1], True


def _is_jvm(pid: int) -> bool:
    """Whether a process is a JVM, which opens internet sockets even for programs that only read and write files."""
    maps = proc_file(f"{pid}/maps", -1) or b""
    return any(line.rstrip().endswith(b"/libjvm.so") for line in maps.splitlines())


def _process_of(thread: int) -> tuple[int, int | None]:
    """Return the process of a thread, and its start (see processes.process_identity). An exec changes neither."""
    status = proc_file(f"{thread}/status")
    pid = thread if status is None else int(status.partition(b"\nTgid:")[2].split(None, 1)[0])
    return pid, process_identity(pid)


def _program(pid: int) -> str:
    """Return the name of the file that a process executes, or else of the process itself, printable for a log."""
    try:
        name = os.path.basename(os.readlink(b"/proc/%d/exe" % pid)).removesuffix(b" (deleted)")
    except OSError:
        name = (proc_file(f"{pid}/comm") or b"?").rstrip(b"\n")
    text = name.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)[:NAME_LENGTH]
