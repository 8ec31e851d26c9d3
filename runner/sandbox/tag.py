"""Which launch a process is of: told by a number that it cannot change, and that all it starts has from it.

Parents and sessions are what a process makes of them. The number is the hard limit of RLIMIT_RTTIME, set before the
stage's program begins: every clone and exec keeps it, whoever's ids the process takes on and whatever namespaces it
enters, and the launcher may read it. As a limit it is never reached. A filter of the stage's own refuses to set another
one; the launcher's cannot, since the next launch needs the next number. Hard limits can only be lowered, so each launch
has a lower one than the last; those between them are nobody's, and the launcher's own while it starts nothing.

Loaded by the launcher program only. Numbers: asm-generic/resource.h; proc(5), limits; fs/proc/base.c.
"""

from __future__ import annotations

import os
import resource

from runner.levels import TAGGED
from runner.sandbox import bpf, seccomp, syscalls

LEAST = 1 << 62  # microseconds of real-time work: 146,000 years
NUMBER_BITS, CHANCE_BYTES = 30, 4  # chance tells apart what launchers of other runs started


class Tags:
    """The tags of one launcher's launches, which are numbered from 1."""

    def __init__(self) -> None:
        self._base = LEAST + (int.from_bytes(os.urandom(CHANCE_BYTES), "big") << NUMBER_BITS)
        self._filter = seccomp.prepared(bpf.assemble_tag_filter(syscalls.machine()))

    def put_on(self, number: int) -> None:
        """Runs in the *child*: make this process, and all that comes of it, one of the launch `number`, for good."""
        self.wear(number)
        self.fasten()

    def wear(self, number: int) -> None:
        """What this process starts from now on is of the launch `number`, as it is itself; those before are past."""
        self._lower(2 * number)

    def shed(self, number: int) -> None:
        """After `wear`: be of no launch again."""
        self._lower(2 * number + 1)

    def fasten(self) -> None:
        """Keep the tag for good: this thread, and all that it starts."""
        self._filter()

    def _lower(self, distance: int) -> None:
        resource.setrlimit(bpf.RLIMIT_RTTIME, (self._base - distance, self._base - distance))

    def of(self, pid: int) -> int | None:
        """The launch that a process or thread is of, ended or not; None when it is of none, or gone."""
        try:
            limit = resource.prlimit(pid, bpf.RLIMIT_RTTIME)[1]
        except PermissionError:  # its ids are others, and root here lacks CAP_SYS_RESOURCE
            limit = _shown(pid)
        except OSError:
            return None
        number, rest = divmod(self._base - limit, 2)
        return number if not rest and 0 < number < 1 << (NUMBER_BITS - 1) else None


def _shown(pid: int) -> int:
    """The hard limit as /proc shows it to everybody, or 0."""
    try:
        with open(f"/proc/{pid}/limits", "rb", buffering=0) as file:
            fields = file.read(4096).partition(b"\nMax realtime timeout")[2].split(None, 2)
    except OSError:
        return 0
    return int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0


def open_tags(layers: dict[str, str]) -> Tags | None:
    """Where the filter is installed: tags, or None where that limit cannot be set as high (inside a stage, or by root).

    Then parents and sessions have to do; `layers` is told.
    """
    own = resource.getrlimit(bpf.RLIMIT_RTTIME)
    try:
        resource.setrlimit(bpf.RLIMIT_RTTIME, own)
        reason = "" if own[1] == resource.RLIM_INFINITY else f"RLIMIT_RTTIME is at most {own[1]} here"
    except (OSError, ValueError):
        reason = "RLIMIT_RTTIME cannot be set"
    layers["processes"] = f"by parents and sessions: {reason}" if reason else TAGGED
    return None if reason else Tags()
