"""A stage that is as good as over says so, and the next one may start while the kernel takes its memory apart.

That comes before the end that wait(2) tells of, and takes about a tenth of the time of a short stage. Only a fork of
the launcher can say it, which knows that nothing of the program can happen any more: see ending. It says it by a FIFO
in the launcher's own /proc, which ends with its namespace: a descriptor for it would be more than an interpreter has,
and a name in a directory of the user's one more file there. So it is said at level `kernel` only.

Loaded by the launcher program only.
"""

from __future__ import annotations

import os
from os import O_NONBLOCK, O_WRONLY, WNOHANG, closerange, waitpid, write  # as a stage may have others
from os import open as open_
from resource import RUSAGE_SELF, getrusage

from runner.contain import calls
from runner.contain.calls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT
from runner.levels import RefusedError

PLACE = b"/proc/fs/nfsd"  # empty in every /proc, and made for a mount (fs/proc/root.c): it covers nothing
FIFO = PLACE + b"/farewells"
FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC
LITTLE = 64 * 1024  # KiB of memory, the unit of getrusage(2) here: that is taken apart in some milliseconds
FEW = 64  # descriptors
NUMBER_BYTES = 4


def make_fifo() -> None:
    """To be called once /proc is the launcher's own. Where there can be none nothing will be said."""
    try:
        calls.mount("mounting on /proc/fs/nfsd", b"none", PLACE, b"ramfs", FLAGS, b"mode=755")
        os.mkfifo(FIFO, 0o600)
        calls.mount("protecting /proc/fs/nfsd", b"none", PLACE, None, MS_REMOUNT | MS_BIND | MS_RDONLY | FLAGS)
    except (RefusedError, OSError):
        pass


def open_farewells() -> Farewells | None:
    """Return those of this launcher, where there is its FIFO, and where it need not be stingy with descriptors."""
    if os.sysconf("SC_OPEN_MAX") < FEW:
        return None
    try:
        return Farewells(os.open(FIFO, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return None


class Farewells:
    """Those of the launches of this process and its forks; something was said when `descriptor` is readable."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def heard(self) -> set[int]:
        """Return the ids of launches. Where a stage that does not end says something, its run starts more at once."""
        try:
            said = os.read(self.descriptor, 65536)
        except BlockingIOError:
            return set()  # it has read there, too
        starts = range(0, len(said), NUMBER_BYTES)
        return {int.from_bytes(said[start : start + NUMBER_BYTES], "big") for start in starts}

    def bid(self, launch: int) -> None:
        """Runs in a *stage* that ends now: say so, if there is no process but this one, and little to take apart.

        Without a descriptor from here on, and so without the locks on what it had open. Raises OSError.
        """
        if not _has_child() and getrusage(RUSAGE_SELF).ru_maxrss < LITTLE:
            closerange(0, 1 << 20)
            write(open_(FIFO, O_WRONLY | O_NONBLOCK), launch.to_bytes(NUMBER_BYTES, "big"))


def _has_child() -> bool:
    try:
        waitpid(-1, WNOHANG)
    except ChildProcessError:
        return False
    return True
