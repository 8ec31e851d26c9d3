"""Kernel locks (flock), which end with their process, however it ends. The existence of a lock file means nothing.

A run locks its state directory, `pipeline.lock`, which names the holder, and each stage that it works on. Loads
built-in modules only: a run with nothing to do checks whether another run is at work.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

from runner.canonical import canonical, parsed
from runner.errors import Fault, LockHeldError, StateError
from runner.paths import StatePaths, kind_of
from runner.processes import is_alive, process_identity, signal
from runner.reading import read_small
from runner.record import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    Holder = dict[str, object]  # pid, host, run, since, inode, launcher, launcherStarted

_POLL = 0.02  # seconds
_PROBE_POLLS = 2  # a process in `is_held` may have the lock for an instant, so the first polls prove nothing
_NAMELESS_POLLS = 50  # for a new holder to write its name; not seconds, because a busy machine slows both down
_LAUNCHER = 30.0  # seconds that the launcher of a killed run has to end
_WIDTH = 511  # bytes of a holder's JSON, padded with blanks
_LOCAL = "put stateDir and locksDir on a local file system"


def lock(path: str, *, is_directory: bool = False) -> int | None:
    """Lock a file or a directory, which is created if it is missing; None if another process holds the lock.

    Returns a descriptor, which keeps the lock until it is closed. StateError if the path cannot be locked.
    """
    files.make_directories(path if is_directory else os.path.dirname(path))
    if is_directory:
        with files.naming(path, "open"):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        if os.path.lexists(path) and not stat.S_ISREG(mode := os.lstat(path).st_mode):
            raise StateError(Fault(path, f"is {kind_of(mode)}, not a lock file", "move it away"))
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
    """The lock of a run with work to do, from before recovery to its last record. `previous`: the holder before it.

    The state directory is locked because two workspaces may share it, and because lock files can be removed. The lock
    file is locked, too, because workers of a cluster try to lock it.
    """

    def __init__(self, paths: StatePaths) -> None:
        self.path = paths.pipeline_lock
        self.previous: Holder = {}
        self._state_dir = paths.state_dir
        self._descriptors: list[int] = []
        self._holder: Holder = {}
        self._failed_at = ""  # the path at which the last try failed

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
        self._failed_at = path
        descriptor = lock(path, is_directory=path == self._state_dir)
        if descriptor is None:
            return False
        self._descriptors.append(descriptor)
        return _is_in_place(descriptor, path)  # if it was replaced before it was locked, it keeps nobody out

    def take(
        self,
        wait: float,
        on_wait: Callable[[Holder], None],
        check: Callable[[], None] = lambda: None,
        hint: str = "wait for it with --wait",
    ) -> None:
        """Take the lock within `wait` seconds, then wait until the processes of a killed holder have ended.

        LockHeldError (exit 9) names the holder; StateError if the launcher of a killed run does not end. `on_wait` is
        called once, with the holder, if this has to wait. `check` is called at each poll, and may raise.
        """
        began, polls, has_notified = time.monotonic(), 0, False
        while not self.acquire():
            holder, polls = read_holder(self.path), polls + 1
            if polls > (_PROBE_POLLS if is_current(holder) else _NAMELESS_POLLS):
                if time.monotonic() - began >= wait:
                    what = f"another run holds the lock: {describe(holder)}"
                    if self._failed_at == self._state_dir:
                        what = "another run works in this state directory; its locks are elsewhere, or were removed"
                    raise LockHeldError(Fault(self._failed_at, what, hint))
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
        """Wait until the launcher of a killed holder has ended, and with it every stage that it started.

        The lock file names it until then: if this process is killed meanwhile, the next one waits for it, too.
        """
        self.previous, inode = read_holder(self.path), os.fstat(self._descriptors[0]).st_ino
        is_copy = self.previous.get("inode") != inode  # of another lock file, whose launcher is not ours
        pid, started = (None if is_copy else self.previous.get(name) for name in ("launcher", "launcherStarted"))
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._holder = {"launcher": pid, "launcherStarted": started}
        self.update_holder(pid=os.getpid(), host=os.uname().nodename, run=None, since=since, inode=inode)
        deadline = time.monotonic() + _LAUNCHER
        while isinstance(pid, int) and isinstance(started, int) and is_alive(pid, started):
            try:
                os.kill(pid, signal.SIGCONT)  # a stopped launcher does not notice that its run has ended
            except OSError:
                pass
            check()
            if time.monotonic() > deadline:
                hint = f"stages of a run that died may still be writing; end it with: kill -9 {pid}"
                raise StateError(Fault(self.path, f"the launcher of an earlier run is still alive (pid {pid})", hint))
            time.sleep(_POLL)
        check()

    def update_holder(self, **fields: object) -> None:
        """Write the holder into the lock file, in one write of a fixed length, so that a kill leaves it whole."""
        self._holder.update(fields)
        files.create(self.path, canonical(self._holder).ljust(_WIDTH) + b"\n")

    def release(self, **fields: object) -> None:
        """Release the lock, even if a forked process has it open; write `fields` and the end into the lock file."""
        if self._holder and read_holder(self.path).get("pid") == self._holder["pid"]:  # else the file was replaced
            try:
                self.update_holder(**fields, ended=True)
            except StateError:
                pass  # a full disk must not fail a run that is over
        self._holder = {}
        self._unlock()

    def _unlock(self) -> None:
        while self._descriptors:
            descriptor = self._descriptors.pop()
            try:
                with files.naming(self.path, "unlock"):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release(launcher=None, launcherStarted=None)  # every process that this run started has ended


def _is_in_place(descriptor: int, path: str) -> bool:
    """Whether a locked file is still the one at its path. StateError if it can be locked a second time."""
    with files.naming(path, "lock"):
        is_locked = _is_locked(path)
    try:
        is_same = os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
    if is_same and not is_locked:
        raise StateError(Fault(path, "locks on this file system do not keep other processes out", _LOCAL))
    return is_same


# ---- the holder ------------------------------------------------------------------------------------------------------


def is_held(paths: StatePaths) -> bool:
    """Whether a run is at work, or may be. Writes nothing, and never waits."""
    try:
        return _is_locked(paths.pipeline_lock) or _is_locked(paths.state_dir)
    except OSError:
        return True


def _is_locked(path: str) -> bool:
    """Whether another descriptor has the lock of a file or directory. OSError if that cannot be known."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def has_leftovers(paths: StatePaths) -> bool:
    """Whether a run left temporary files, or may have left some: if no run is at work, one may have died."""
    try:
        return bool(os.listdir(paths.temporary))
    except FileNotFoundError:
        return False
    except OSError:
        return True


def last_holder(paths: StatePaths) -> Holder | None:
    """Return the last holder, None while the lock is held. If it is the same later, no run held the lock in between."""
    return None if is_held(paths) else read_holder(paths.pipeline_lock)


def read_holder(path: str) -> Holder:
    """Return the holder that a lock file names; {} if it names none, or is damaged."""
    try:
        holder = parsed(read_small(path, 1 << 16))
    except (OSError, ValueError, RecursionError, StateError):
        return {}
    return holder if isinstance(holder, dict) else {}


def is_current(holder: Holder) -> bool:
    """Whether this can be the present holder: it is not a process that has ended."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or "ended" in holder:
        return False
    return holder.get("host") != os.uname().nodename or process_identity(pid) is not None


def describe(holder: Holder) -> str:
    """Return `pid 12 on HOST, run ID, since TIME`, without the run if it does not have one yet."""
    if not is_current(holder):
        return "it has not written its process id yet"
    run = f"run {holder['run']}, " if holder.get("run") else ""
    return f"pid {holder['pid']} on {holder.get('host')}, {run}since {holder.get('since')}"
