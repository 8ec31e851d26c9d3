"""Refuses the socket calls that the filter reports, and counts them by stage, program and family.

Loaded by the launcher program only.
"""

from __future__ import annotations

import os
import time

from runner.sandbox.seccomp import AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOCK_TYPE_MASK, Call, Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
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

    def add(self, call: Call) -> None:
        """Count one call."""
        if call.family == AF_UNIX:
            # Name-service look-ups (nscd) use non-blocking sockets and manage without. multiprocessing uses blocking
            # ones, and fails.
            self.local_sockets += call.kind & os.O_NONBLOCK == 0 and call.kind & SOCK_TYPE_MASK == SOCK_STREAM
            return
        is_harmless = call.family < 0 or (call.family in (AF_INET, AF_INET6) and _is_jvm(call.pid))
        key: Key = (_program(call.pid), call.name, is_harmless)
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
        for key in list(self._unreported)[max(0, MOST - 1 - len(self._reported)) :]:
            if len(self._reported) + len(self._unreported) > MOST and key != OTHERS:
                self._unreported[OTHERS] = self._unreported.get(OTHERS, 0) + self._unreported.pop(key)
        return self._report(list(self._unreported))

    def _report(self, keys: list[Key]) -> Network:
        self._reported += keys
        return [(*key[:2], self._unreported.pop(key), key[2]) for key in keys]


def answer_call(listener: Listener, tree: ProcessTree, launches: dict[int, Tally]) -> None:
    """Refuse a call that waits, and count it for its launch (by its key in the tree)."""
    call = listener.receive()
    if call is not None:
        key = tree.launch_of(call.pid, launches)
        if key is not None:
            launches[key].add(call)
        listener.refuse(call)


def _is_jvm(pid: int) -> bool:
    """Whether a process is a JVM, which opens internet sockets even for programs that only read and write files."""
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return any(line.rstrip().endswith(b"/libjvm.so") for line in file)
    except OSError:
        return False


def _program(pid: int) -> str:
    """Return the name of the file that a process executes, or else of the process itself, printable for a log."""
    try:
        name = os.path.basename(os.readlink(b"/proc/%d/exe" % pid)).removesuffix(b" (deleted)")
    except OSError:
        try:
            with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
                name = file.read().rstrip(b"\n")
        except OSError:
            return "?"
    text = name.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)[:NAME_LENGTH]
