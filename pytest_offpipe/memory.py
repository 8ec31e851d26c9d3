"""The peak memory of all processes of an attempt together, by sampling."""

from __future__ import annotations

import re
import threading
import time
from glob import glob
from typing import TYPE_CHECKING

from runner.processes import proc_file

if TYPE_CHECKING:
    from collections.abc import Iterator

PAUSE = 0.02  # seconds between two samples,
SHARE = 10  # and so many times those that a sample takes: the kernel stops a process that it measures
_PSS = re.compile(rb"^Pss: +(\d+) kB$", re.MULTILINE)


class MemoryMeter:
    """Samples the memory of the attempts of a launcher. `peak` is the most so far, in bytes.

    A sample adds up the proportional set sizes (PSS) of all processes of the attempt: a page that several share counts
    once. A peak between two samples is not seen. But the kernel counts that of each process, so `peak` is at least the
    most that a single one had.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._has_ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, launcher: int) -> None:
        """Begin to sample the processes below a launcher. Its own start may fork, so no thread runs before."""
        self._has_ended.clear()
        self._thread = threading.Thread(target=self._sample, args=(launcher,), daemon=True)
        self._thread.start()

    def end(self, largest: int = 0) -> None:
        """End it, if it has begun; `largest` is the most bytes of a single process. May be called again."""
        self.peak = max(self.peak, largest)
        if self._thread:
            self._has_ended.set()
            self._thread.join()
            self._thread = None

    close = end

    def _sample(self, launcher: int) -> None:
        while True:
            began = time.monotonic()
            self.peak = max(self.peak, sum(map(_set_size, _below(launcher))))
            if self._has_ended.wait(max(PAUSE, SHARE * (time.monotonic() - began))):
                break


def _below(pid: int) -> Iterator[int]:
    """Yield all processes below this one."""
    pending = [pid]
    while pending:
        for path in glob(f"/proc/{pending.pop()}/task/*/children"):
            children = [*map(int, (proc_file(path.removeprefix("/proc/")) or b"").split())]
            yield from children
            pending += children


def _set_size(pid: int) -> int:
    """Return the bytes of a process, where one of several that share a page counts its part; 0 if it is gone."""
    size = _PSS.search(proc_file(f"{pid}/smaps_rollup") or b"")
    return int(size[1]) << 10 if size else 0
