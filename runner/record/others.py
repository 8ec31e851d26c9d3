"""Whether others are at work in a state directory: who holds its locks, and what only a run at work has there.

Loads built-in modules only: a run with nothing to do asks this too.
"""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.paths import StatePaths


def is_held(*paths: str, doubtful: bool = False) -> bool:
    """Whether some process holds one of the locks now; writes nothing and waits for nothing.

    `doubtful` is what to answer for one that is there and cannot be opened.
    """
    return any(_is_held(path, doubtful) for path in paths)


def is_locked(descriptor: int) -> bool:
    """Whether somebody has an exclusive lock on an open file, which is closed afterwards."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def has_leftovers(paths: StatePaths, *, doubtful: bool = False) -> bool:
    """Whether something lies where only what is going on has files: maybe of a run that was killed behind its end.

    Nothing else would make the next run take the lock and recover, were all stages up to date. `doubtful` as above.
    """
    try:
        left = bool(os.listdir(paths.temporary))
    except FileNotFoundError:
        left = False
    except OSError:
        left = doubtful
    return left or os.path.lexists(paths.put_aside)  # in this order: recovery renames the one to the other


def _is_held(path: str, doubtful: bool) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return doubtful
    return is_locked(descriptor)
