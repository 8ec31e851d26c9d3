"""How well the launcher keeps a run's stages from the network: the levels, and why a level was not reached.

A leaf: the launcher reaches them, the audit log and the metrics hold them, the display words them.
"""

from __future__ import annotations

import errno
import os

KERNEL = "kernel"  # user, network, pid, ipc and mount namespace, seccomp, and Landlock where there is any
FILTER = "filter"  # seccomp, and no writing into the memory of a process outside
SCAN = "scan"  # nothing but the scan of Python sources
LEVELS = (KERNEL, FILTER, SCAN)

NONE = "none"  # the level of a run that started no stage
NAMED = "named"  # the layer `attempts` if each is recorded with its program
TAGGED = "by tags"  # the layer `processes` at best: how the launcher matches them to stages
STRICT, BEST_EFFORT = "strict", "best-effort"  # whether less than FILTER is refused where there could be more


class RefusedError(Exception):
    """A layer that could not be had: the call, or what was found by looking, and the errno (0 for none)."""

    def __init__(self, layer: str, call: str, number: int) -> None:
        super().__init__(layer, call, number)
        self.layer = layer
        self.call = call
        self.errno = number

    def __str__(self) -> str:
        if not self.errno:
            return self.call
        return f"{self.call} failed: {errno.errorcode.get(self.errno, self.errno)} ({os.strerror(self.errno)})"
