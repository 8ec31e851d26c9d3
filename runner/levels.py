"""How well the launcher kept a run's stages from the network: the levels, best first, and why one was not reached."""

from __future__ import annotations

import errno
import os

KERNEL = "kernel"  # user, network, pid and mount namespace, seccomp, and Landlock where there is any
FILTER = "filter"  # seccomp, and no way into the memory of a process outside
SCAN = "scan"  # nothing but the scan of Python sources

LEVELS = (KERNEL, FILTER, SCAN)


class Refusal:
    """A layer that could not be had: the system call, or the probe, that failed, and its errno (0 for none)."""

    __slots__ = ("call", "layer", "number")

    def __init__(self, layer: str, call: str, number: int) -> None:
        self.layer = layer
        self.call = call
        self.number = number

    def __str__(self) -> str:
        if not self.number:
            return self.call
        return f"{self.call} failed: {errno.errorcode.get(self.number, self.number)} ({os.strerror(self.number)})"


class RefusedError(Exception):
    """Raised by a layer that cannot be had here; `args` are the fields of a Refusal."""

    @property
    def refusal(self) -> Refusal:
        return Refusal(*self.args)
