"""Kernel locks (flock), which end with their process, however that ends. That a lock file exists means nothing.

A run locks its state directory and `pipeline.lock`, which says who the holder is; it also locks each stage that it
works on. Loads built-in modules only: a run with nothing to do asks whether another is at work.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

from runner.canonical import canonical, parsed
from runner.errors import Fault, LockHeldError, StateError
from runner.paths import kind_of
from runner.processes import is_alive, process_identity
from runner.reading import read_small
from runner.record import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from runner.paths import StatePaths

    Holder = dict[str, object]  # pid, host, run, since, inode, launcher, launcherStarted

_POLL = 0.02
_LOOKS = 2  # polls in which the lock may be that of those who only look (`is_held`), for an instant
_NAMELESS = 50  # polls in which a holder may not have said who it is; counted, because a busy machine slows both down
_LAUNCHER = 30.0  # seconds that the launcher of a killed run has to end
_WIDTH = 511  # bytes of what a holder says, with blanks at the end
_LOCAL = "put stateDir and locksDir on a local file system"


def lock(path: str, *, is_directory: bool = False) -> int | None:
    """Lock a file or a directory, made if it is missing; None if another process holds the lock.

    Returns a descriptor, which holds the lock until it is closed. StateError if that cannot be locked.
    """
    files.make_directories(path if is_directory else os.path.dirname(path))
    if is_directory:
        with files.naming(path, "open"):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        if os.path.lexists(path) and not stat.S_ISREG(mode := os.lstat(path).st_mode):
            raise StateError(Fault(path, f"is {kind_of(mode)}, where a lock file is to be", "move it away"))
        descriptor = files.open_append(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise StateError.from_os(error, path, "lock", _LOCAL) from error
    return descriptor


class PipelineLock:
    """The one lock of a run with work to do, from before recovery to the seal. `previous`: what the last holder said.

    The state directory is locked because two workspaces may share it, and because lock files can be removed. The lock
    file is locked, too, for status and for earlier releases.
    """

    def __init__(self, paths: StatePaths) -> None:
        self.path = paths.pipeline_lock
        self.previous: Holder = {}
        self._state_dir = paths.state_dir
        self._descriptors: list[int] = []
        self._holder: Holder = {}
        self._held = ""  # where the last try ended

    def acquire(self) -> bool:
        """Take the lock, unless another process has it."""
        is_taken = False
        try:
            is_taken = self._lock(self.path) and self._lock(self._state_dir)
        finally:
            if not is_taken:
                self._unlock()
        return is_taken

    def _lock(self, path: str) -> bool:
        self._held = path
        descriptor = lock(path, is_directory=path == self._state_dir)
        if descriptor is None:
            return False
        self._descriptors.append(descriptor)
        return _is_in_place(descriptor, path)  # else it was replaced before it was locked, and keeps nobody out

    def take(
        self, wait: float, on_wait: Callable[[Holder], None], check: Callable[[], None] = lambda: None,
        hint: str = "wait for it with --wait",
    ) -> None:  # fmt: skip
        """Take the lock within `wait` seconds, and wait for what a killed holder left running.

        LockHeldError (exit 9) names the holder; StateError if the launcher of a killed run does not end. `on_wait` gets
        the holder, once, if this has to wait. `check` is called meanwhile, and may raise.
        """
        began, polls, has_notified = time.monotonic(), 0, False
        while not self.acquire():
            holder, polls = read_holder(self.path), polls + 1
            if polls > (_LOOKS if is_current(holder) else _NAMELESS):
                if time.monotonic() - began >= wait:
                    what = f"another run holds the lock: {describe(holder)}"
                    if self._held == self._state_dir:
                        what = "another run works in this state directory; its locks are elsewhere, or were removed"
                    raise LockHeldError(Fault(self._held, what, hint))
                if not has_notified:
                    on_wait(holder)
                    has_notified = True
            check()
            time.sleep(_POLL)
        try:
            self._await_launcher(check)
        except BaseException:
            self.release()
            raise

    def _await_launcher(self, check: Callable[[], None]) -> None:
        """Wait until the launcher of a killed holder is gone, and with it every stage that it started.

        It stays on record until then: if this process is killed meanwhile, the next one waits for it, too.
        """
        self.previous, inode = read_holder(self.path), os.fstat(self._descriptors[0]).st_ino
        is_copy = self.previous.get("inode") not in (None, inode)  # of a lock file elsewhere, as is that launcher
        pid, started = (None if is_copy else self.previous.get(name) for name in ("launcher", "launcherStarted"))
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._holder = {"launcher": pid, "launcherStarted": started}
        self.update_holder(pid=os.getpid(), host=os.uname().nodename, run=None, since=since, inode=inode)
        deadline = time.monotonic() + _LAUNCHER
        while isinstance(pid, int) and isinstance(started, int) and is_alive(pid, started):
            from signal import SIGCONT  # this module builds enums, which most runs do without

            try:
                os.kill(pid, SIGCONT)  # a launcher that was stopped does not notice its end
            except OSError:
                pass
            check()
            if time.monotonic() > deadline:
                hint = f"stages of a run that died may still be writing; end it with: kill -9 {pid}"
                raise StateError(Fault(self.path, f"the launcher of an earlier run still lives (pid {pid})", hint))
            time.sleep(_POLL)
        check()

    def update_holder(self, **fields: object) -> None:
        """Write into the lock file who holds it: in one write of a fixed length, so that a kill leaves it whole."""
        self._holder.update(fields)
        files.create(self.path, canonical(self._holder).ljust(_WIDTH) + b"\n")

    def release(self, **fields: object) -> None:
        """Give the lock back, and say so, with `fields`; also if a fork of this process has the files open."""
        if self._holder and read_holder(self.path).get("pid") == self._holder["pid"]:  # else it was replaced
            try:
                self.update_holder(**fields, ended=True)
            except StateError:
                pass  # a full disk must not fail what is done
        self._holder = {}
        self._unlock()

    def _unlock(self) -> None:
        while self._descriptors:
            descriptor = self._descriptors.pop()
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release(launcher=None, launcherStarted=None)  # all that this run started has ended


def _is_in_place(descriptor: int, path: str) -> bool:
    """Whether a locked file is still the one at its path. StateError if a second lock of it can be had."""
    is_locked = _is_locked(path)
    try:
        is_same = os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
    if is_same and not is_locked:
        raise StateError(Fault(path, "locks on this file system keep nobody out", _LOCAL))
    return is_same


# ---- who holds it ----------------------------------------------------------------------------------------------------


def is_held(paths: StatePaths) -> bool:
    """Whether a run is at work, or that cannot be ruled out. Writes nothing and waits for nothing."""
    return _is_locked(paths.pipeline_lock) or _is_locked(paths.state_dir)


def _is_locked(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def has_leftovers(paths: StatePaths) -> bool:
    """Whether something lies where only runs at work have files, or that cannot be ruled out: a run may have died."""
    try:
        if os.listdir(paths.temporary):
            return True
    except FileNotFoundError:
        pass
    except OSError:
        return True
    return os.path.lexists(paths.put_aside)  # in this order: recovery renames the one to the other


def last_holder(paths: StatePaths) -> Holder | None:
    """Return who held the lock last, None while it is held. Equal later on means that nobody held it in between."""
    return None if is_held(paths) else read_holder(paths.pipeline_lock)


def read_holder(path: str) -> Holder:
    """Return what the holder wrote into a lock file; empty if it wrote nothing, or that is damaged."""
    try:
        holder = parsed(read_small(path, 1 << 16))
    except (OSError, ValueError, RecursionError, StateError):
        return {}
    return holder if isinstance(holder, dict) else {}


def is_current(holder: Holder) -> bool:
    """Whether this can be what the present holder said: not of a process that has ended, or was killed."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or "ended" in holder:
        return False
    return holder.get("host") != os.uname().nodename or process_identity(pid) is not None


def describe(holder: Holder) -> str:
    """Return `pid 12 on HOST, run ID, since TIME`; it may have no run yet."""
    if not is_current(holder):
        return "it has not said yet who it is"
    run = f"run {holder['run']}, " if holder.get("run") else ""
    return f"pid {holder['pid']} on {holder.get('host')}, {run}since {holder.get('since')}"
