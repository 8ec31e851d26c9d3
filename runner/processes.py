"""Who a process number belongs to: numbers are used again, a number with its start time is not (until a reboot).

A leaf, so that the lock's record and the launcher's client can both ask.
"""

from __future__ import annotations

import os
import time

POLL = 0.001  # seconds


def process_identity(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (proc(5), stat field 22); None when it is gone.

    A zombie counts as gone: it runs nothing any more, and in a container without an init it may stay for ever. But not
    while other threads of it live (field 20 counts all): then only its first one is a zombie.
    Where there is no /proc, 0 for any process that exists.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, field 2, may hold spaces and brackets itself: count from its last bracket.
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if os.path.exists("/proc/self/stat") else _identity_without_proc(pid)
    return None if fields[0] in {b"Z", b"X"} and int(fields[17]) < 2 else int(fields[19])


def is_alive(pid: int, started: int) -> bool:
    """Whether the process that was `pid` when it started at `started` (see `process_identity`) still runs."""
    return process_identity(pid) == started


def await_end(pid: int, started: int | None, patience: float) -> None:
    """Wait until that very process has ended, though it is no child of ours; no longer than `patience` seconds.

    Process 1 of a pid namespace ends after all others there (pid_namespaces(7)).
    """
    deadline = time.monotonic() + patience
    while started is not None and is_alive(pid, started) and time.monotonic() < deadline:
        time.sleep(POLL)


def _identity_without_proc(pid: int) -> int | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it exists, and is another user's
    return 0
