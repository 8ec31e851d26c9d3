"""Processes as the system shows them. It reuses process numbers, so a number and a start identify a process.

A leaf, for the lock and for both ends of the launcher.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False  # the launcher does not load typing
if TYPE_CHECKING:
    import signal as signal  # noqa: PLC0414 - other modules import it from here
    from collections.abc import Iterator

    Relations = tuple[int, int, int]  # parent, group, session
else:
    import _signal as signal  # noqa: F401 - as above; `signal` itself builds enums, which take long to load

POLL = 0.001  # seconds


def stat_fields(pid: int) -> list[bytes] | None:
    """Return the fields of /proc/PID/stat from the third on (proc(5)); None for a process that is gone or hidden.

    A zombie counts as gone: it runs no more code, and may stay for ever in a container without an init. A process whose
    first thread is a zombie is alive as long as other threads are (field 20 counts all threads).
    """
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # Field 2, the name, may contain spaces and brackets, so split after the last bracket.
            fields = file.read(1024).rpartition(b")")[2].split(None, 20)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return None if fields[0] in {b"Z", b"X"} and int(fields[17]) < 2 else fields


def proc_file(name: str, most: int = 4096) -> bytes | None:
    """Return the first `most` bytes of a file below /proc (-1: all of them); None if it is gone or hidden."""
    try:
        with open(f"/proc/{name}", "rb", buffering=0) as file:
            return file.read(most)
    except OSError:
        return None


def all_processes() -> Iterator[int]:
    """Yield the number of each process."""
    return map(int, filter(str.isdecimal, os.listdir("/proc")))


def relations_of(pid: int) -> Relations | None:
    """Return parent, group and session; None for a process that is gone."""
    fields = stat_fields(pid)
    return (int(fields[1]), int(fields[2]), int(fields[3])) if fields else None


def has_ended(child: int) -> bool:
    """Whether a child has ended, whether or not its parent has waited for it."""
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def process_identity(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot (field 22); None if it is gone."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def is_alive(pid: int, started: int) -> bool:
    """Whether the process with this number and start (see `process_identity`) still runs."""
    return process_identity(pid) == started


def await_end(pid: int, started: int | None, patience: float) -> None:
    """Wait until a process has ended, for at most `patience` seconds. It need not be a child.

    Process 1 of a pid namespace ends after all others there (pid_namespaces(7)).
    """
    deadline = time.monotonic() + patience
    while started is not None and is_alive(pid, started) and time.monotonic() < deadline:
        time.sleep(POLL)
