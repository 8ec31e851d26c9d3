"""The levels of the offline guard, and the error of a layer that is not available.

A leaf: the launcher reaches a level, the audit log and the metrics hold it, and the display shows it.
"""

from __future__ import annotations

import errno
import os

KERNEL = "kernel"  # user, network, pid, ipc and mount namespaces, seccomp, and Landlock where the kernel has it
FILTER = "filter"  # seccomp, and no writing to the memory of processes outside
SCAN = "scan"  # only the scan of Python sources
LEVELS = (KERNEL, FILTER, SCAN)

NONE = "none"  # the level of a run that started no stage
NAMED = "named"  # the layer `attempts`, if each attempt is recorded with its program
TAGGED = "by tags"  # the layer `processes`, if tags tell to which stage each process belongs
STRICT = "strict"  # refuses a level below FILTER
POSSIBLE = "possible"  # the layer `views`, if sealed stages get views of their own
MAKING_VIEW = "making its view"  # what a sealed stage could not start by


class RefusedError(Exception):
    """A layer is not available: the call that failed and its errno, or a reason and 0."""

    def __init__(self, call: str, number: int) -> None:
        super().__init__(call, number)
        self.call = call
        self.errno = number

    def __str__(self) -> str:
        if not self.errno:
            return self.call
        return f"{self.call} failed: {errno.errorcode.get(self.errno, self.errno)} ({os.strerror(self.errno)})"
