"""When a file's time stamps tell all: git's rule for racily clean entries. Imports nothing."""

from __future__ import annotations

TICK_NS = 20_000_000  # kernels stamp files with a clock that moves every 1 to 10 ms
COARSE_NS = 2_000_000_000  # FAT stamps even seconds, ext3 and some network file systems whole ones


def is_settled(modified: int, changed: int, began: int) -> bool:
    """Whether any write after `began` must show in these stamps (all in ns): mtime, ctime.

    A write sets both time stamps to the present of the file system's clock, so it shows unless the stamps already
    lie in the tick in which looking began. A ctime cannot be set by hand; an mtime can, even far into the future,
    where no write would put it. A ctime of a whole second is taken for a clock that knows nothing finer.
    """
    margin = TICK_NS if changed % 1_000_000_000 else COARSE_NS
    return changed < began - margin and not began - margin <= modified <= began + margin
