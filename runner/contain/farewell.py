"""A stage that is as good as over says so, and the next one may start while the kernel takes its memory apart.

That comes before the end that wait(2) tells of, and takes about a tenth of the time of a short stage. Only a fork of
the launcher knows that nothing of the program can happen any more: see ending. It says it by a FIFO
in the launcher's own /proc, which ends with its namespace: a descriptor for it would be more than an interpreter has,
and a name in a directory of the user's one more file there. So it is said at level `kernel` only.

Used by the launcher program and its forks only.
"""

from __future__ import annotations

import os
import struct
import sys

# As a stage may have others:
from os import O_NONBLOCK, O_WRONLY, P_ALL, WEXITED, WNOHANG, WNOWAIT, fstat, waitid, write
from os import open as open_
from resource import RUSAGE_SELF, getrusage

from runner.contain import calls
from runner.contain.calls import MNT_DETACH, MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT, close_range
from runner.levels import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PLACE = b"/proc/fs/nfsd"  # empty in every new /proc, and made for a mount (fs/proc/root.c): it covers nothing
FIFO = PLACE + b"/farewells"
FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC
LITTLE = 64 * 1024  # KiB of memory, the unit of getrusage(2) on Linux: that is taken apart in some milliseconds
FEW = 64  # descriptors that a process may have open
NUMBER = struct.Struct(">I")


def make_fifo() -> None:
    """Make the FIFO, once /proc is the launcher's own. Where stages could remove it there will be none."""
    try:
        calls.mount("mounting on /proc/fs/nfsd", b"none", PLACE, b"ramfs", FLAGS, b"mode=755")
    except RefusedError:
        return
    try:
        os.mkfifo(FIFO, 0o600)
        calls.mount("protecting /proc/fs/nfsd", b"none", PLACE, None, MS_REMOUNT | MS_BIND | MS_RDONLY | FLAGS)
    except (RefusedError, OSError):
        calls.libc.umount2(PLACE, MNT_DETACH)  # where not even that can be done it stays: nobody else can reach it


def open_farewells() -> Farewells | None:
    """Return those of this launcher, where there is its FIFO, and where it need not be stingy with descriptors."""
    if 0 <= os.sysconf("SC_OPEN_MAX") < FEW:
        return None
    try:
        return Farewells(os.open(FIFO, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return None


class Farewells:
    """Those of the forks of this process; something was said when `descriptor`, of a FIFO, is readable."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._identity = _identity(descriptor)

    def heard(self) -> set[int]:
        """Return the ids of launches that were said, be it by others, who can say what they like."""
        try:
            said = os.read(self.descriptor, 65536)
        except BlockingIOError:
            return set()  # a stage has read there
        if len(said) % NUMBER.size:
            return set()  # a stage has written there
        return {number for (number,) in NUMBER.iter_unpack(said)}

    def of(self, number: int) -> Callable[[], None]:
        """Runs in a *stage* that begins, the launch with this id: return what it calls when it ends.

        With every signal blocked, since a terminal that is closed may send one. It says it where this is the process,
        and the only one, with little to take apart and no file among that. Then there is no descriptor left, and so no
        lock on what was open, and nothing remains but to exit.
        """
        may_say = [] if "mmap" in sys.modules else [True]  # of a later import the ending thinks the worst
        os.register_at_fork(after_in_child=may_say.clear)  # its number may be the same in a namespace

        def bid() -> None:
            if may_say and _is_soon_gone():
                close_range(0)
                self._say(number)

        return bid

    def _say(self, number: int) -> None:
        try:
            fifo = open_(FIFO, O_WRONLY | O_NONBLOCK)
            if _identity(fifo) == self._identity:  # the stage may have another root directory by now
                write(fifo, NUMBER.pack(number))
        except OSError:
            pass  # nobody listens, or cannot be got to


def _is_soon_gone() -> bool:
    try:
        waitid(P_ALL, 0, WEXITED | WNOHANG | WNOWAIT)
    except ChildProcessError:
        return getrusage(RUSAGE_SELF).ru_maxrss < LITTLE
    return False


def _identity(descriptor: int) -> tuple[int, int]:
    status = fstat(descriptor)
    return status.st_dev, status.st_ino
