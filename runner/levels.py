"""How well the launcher kept a run's stages from the network: the levels, best first, and why one was not reached."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

KERNEL = "kernel"  # user, network, pid and mount namespace, seccomp, and Landlock where there is any
FILTER = "filter"  # seccomp, and no way into the memory of a process outside
SCAN = "scan"  # nothing but the scan of Python sources

LEVELS = (KERNEL, FILTER, SCAN)


class Refusal(NamedTuple):
    """A layer that could not be had: the system call, or the probe, that failed, and its errno (0 for none)."""

    layer: str
    call: str
    number: int

    def __str__(self) -> str:
        if not self.number:
            return self.call
        return f"{self.call} failed: {errno.errorcode.get(self.number, self.number)} ({os.strerror(self.number)})"


class RefusedError(Exception):
    """Raised by a layer that cannot be had here; `args` are the fields of a Refusal."""

    @property
    def refusal(self) -> Refusal:
        return Refusal(*self.args)
