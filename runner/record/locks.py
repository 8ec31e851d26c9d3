"""Kernel locks on files: held by a process, gone with it, however it ends. That a lock file exists means nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from json import loads
from typing import TYPE_CHECKING

from runner.canonical import canonical
from runner.errors import Fault, LockHeldError, StateError
from runner.processes import process_identity
from runner.reading import open_regular
from runner.record import files
from runner.record.others import is_locked

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal  # `signal` itself builds enums, which a run can do without

_LAUNCHER_PATIENCE = 30.0
_POLL, _WAIT_SLICE = 0.02, 0.1
_GLANCE = 0.05  # those who only look (`is_held`) have the lock for an instant, and must not turn a run away
_HELD = (errno.EAGAIN, errno.EACCES)  # flock(2): another holds the lock
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP)
_WIDTH = 511  # of what a holder says, filled up with blanks: more than any does whose run id is of ordinary length
_UNSAID = "it has not said yet who it is"
_SAYS = 1.0  # a holder says who it is as soon as it has the lock; one that does not has been stopped


class KernelLock:
    """An exclusive lock on one file. The holder says in it who it is; whoever loses reads that.

    By the bare call, and never by a file's existence, which would outlive a `kill -9` of the holder.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        files.make_directories(os.path.dirname(path))
        self._file = -1

    def acquire(self, wait: float = 0.0, poll: float = _POLL) -> bool:
        """Take the lock, waiting up to `wait` seconds (infinity: for ever); False when another holds it."""
        deadline = time.monotonic() + wait
        while (descriptor := self._locked()) < 0:
            if (left := deadline - time.monotonic()) <= 0:
                return False
            time.sleep(min(poll, left))
        self._file = descriptor
        return True

    def _locked(self) -> int:
        """Open the file anew, for it may have been replaced, and lock it; -1 when another holds the lock."""
        if os.path.islink(self.path):
            raise StateError(Fault(self.path, "is a link, and no lock", "remove it"))
        try:
            descriptor = files.open_append(self.path)
        except StateError as error:
            if isinstance(error.__cause__, BlockingIOError):  # under a lease
                return -1
            raise
        return descriptor if _locks(descriptor, self.path) else -1

    def release(self) -> None:
        """Give the lock back, also where a fork of this process has the file open; the file stays."""
        if self._file >= 0:
            descriptor, self._file = self._file, -1
            with files.naming(self.path, "unlock"):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                finally:
                    os.close(descriptor)

    def write_holder(self, holder: dict[str, object]) -> None:
        """Say in the lock file who holds it; in one write of always the same length, so that a kill leaves it whole."""
        files.create(self.path, canonical(holder).ljust(_WIDTH) + b"\n")


class StageLock:
    """The lock of one stage, taken by a run that holds the pipeline lock, in the same directory.

    That one has shown that the file system has kernel locks.
    """

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1

    def acquire(self) -> bool:
        """Take the lock; False when another process holds it."""
        descriptor = self._open()
        if not _locks(descriptor, self.path):
            return False
        self._descriptor = descriptor
        return True

    def _open(self) -> int:
        try:
            return files.open_append(self.path)
        except StateError:
            directory = os.path.dirname(self.path)
            if os.path.lexists(directory):
                raise
            files.make_directories(directory)  # somebody removed it: what is in it means nothing
            return files.open_append(self.path)

    def release(self) -> None:
        """Give the lock back; the file stays."""
        os.close(self._descriptor)


class PipelineLock(KernelLock):
    """The one lock of a run with work to do: from before recovery to the seal. `previous` is who held it before.

    A lock file can be removed, or be another one in a workspace that shares the state directory by a link. So the
    state directory itself is locked too: whoever can reach what it holds meets that lock.
    """

    def __init__(self, path: str, state_dir: str) -> None:
        super().__init__(path)
        self.previous: dict[str, object] | None = None
        self._state_dir = state_dir
        self._descriptor = -1
        self._said: dict[str, object] | None = None
        self._elsewhere = False

    def acquire(self, wait: float = 0.0, poll: float = _POLL) -> bool:
        """Take both locks, waiting up to `wait` seconds; False when another holds one of them."""
        deadline = time.monotonic() + wait
        while super().acquire(max(0.0, deadline - time.monotonic()), poll):
            try:
                if in_place := self._is_in_place():  # else it was replaced before it was locked, and holds nobody off
                    self._elsewhere = not self._lock_state(deadline, poll)
            except BaseException:
                super().release()
                raise
            if in_place and not self._elsewhere:
                return True
            super().release()
            if in_place:
                return False
        return False

    def _is_in_place(self) -> bool:
        """Whether the file that was locked is the one at the path: then a second lock of it cannot be had."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StateError.from_os(error, self.path, "open") from error
        return is_locked(descriptor)

    def _lock_state(self, deadline: float, poll: float) -> bool:
        files.make_directories(self._state_dir)
        while True:
            with files.naming(self._state_dir, "open"):
                descriptor = os.open(self._state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _locks(descriptor, self._state_dir):
                self._descriptor = descriptor
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(poll)

    def take(
        self, wait: float, on_wait: Callable[[dict[str, object]], None], check: Callable[[], None] = lambda: None
    ) -> None:
        """Take the lock, or raise LockHeldError (exit 9) that says who holds it since when.

        `wait` is in seconds; `on_wait` gets the holder once, before the waiting begins. `check` is called while it
        lasts and may raise to end it: a signal that is only noted would not wake a thread that waits for ever.
        """
        if self.acquire() or self.acquire(_GLANCE, _GLANCE / 50):
            return
        deadline = time.monotonic() + _SAYS
        while (who := describe(holder := read_holder(self.path))) == _UNSAID and time.monotonic() < deadline:
            if self.acquire(_POLL):
                return
            check()
        if wait > 0:
            on_wait(holder)
            deadline = time.monotonic() + wait
            while (left := deadline - time.monotonic()) > 0:
                if self.acquire(min(left, _WAIT_SLICE)):
                    return
                check()
            who = describe(read_holder(self.path))
        hint = "wait for it with --wait"
        if self._elsewhere:
            what = "another run works in this state directory; its locks are elsewhere, or were removed"
            raise LockHeldError(Fault(self._state_dir, what, hint))
        raise LockHeldError(Fault(self.path, f"another run holds the lock: {who}", hint))

    def write_holder(self, holder: dict[str, object]) -> None:
        """Say in the lock file who holds it, and which file that is."""
        self._said = {**holder, "inode": os.fstat(self._file).st_ino}
        super().write_holder(self._said)

    def is_of_here(self, holder: dict[str, object]) -> bool:
        """Whether what this lock file says was said in it, not in one that it is a copy of.

        Of what a copy tells nobody here has to wait for: that run may be at work, and lives elsewhere.
        """
        return holder.get("inode") in (None, os.fstat(self._file).st_ino)

    def forget_launcher(self) -> None:
        """Note that all that was started has ended: nobody has to wait for the launcher, which others may use."""
        if self._said is not None:
            self._said = {**self._said, "launcher": None, "launcherStarted": None}

    def release(self) -> None:
        """Give the lock back, and say so: who finds it taken next must not hear of this holder."""
        if self._said is not None and read_holder(self.path).get("pid") == self._said.get("pid"):  # or it was replaced
            try:
                super().write_holder({**self._said, "ended": True})
            except StateError:
                pass  # what a full disk does to this text is no reason to fail what is done
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().release()

    def await_launcher(
        self, still_there: Callable[[int, int], bool], check: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """Wait until the launcher of a holder that was killed is gone, and with it every stage that it started.

        `still_there(pid, started)` tells whether that very process lives; `check` as for `take`. StateError when it
        does not end.
        """
        holder = read_holder(self.path)
        pid, started = holder.get("launcher"), holder.get("launcherStarted")
        if not isinstance(pid, int) or not isinstance(started, int):
            return
        deadline = clock() + _LAUNCHER_PATIENCE
        if still_there(pid, started):
            with suppress(OSError):  # gone just now, or another user's: the waiting will tell
                os.kill(pid, signal.SIGCONT)  # somebody may have stopped it: it is to see its end
        while still_there(pid, started):
            check()
            if clock() > deadline:
                hint = f"stages of a run that died may still be writing; end it with: kill -9 {pid}"
                raise StateError(Fault(self.path, f"the launcher of an earlier run still lives (pid {pid})", hint))
            time.sleep(_POLL)


def _locks(descriptor: int, path: str) -> bool:
    """Take the lock of an open file, and return whether it was free. Where it was not, or on an error, it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _HELD:
            return False
        if error.errno in _NO_LOCKS:
            hint = "put stateDir and locksDir on a local file system"
            raise StateError(Fault(path, "this file system has no kernel locks", hint)) from error
        raise StateError.from_os(error, path, "lock") from error
    return True


def read_holder(path: str) -> dict[str, object]:
    """Return what the holder wrote into a lock file: pid, host, run, since, launcher; empty when nobody did."""
    try:
        with open(open_regular(path), "rb") as lock:
            holder = loads(lock.read(1 << 16))
    except (OSError, ValueError, RecursionError, StateError):
        return {}
    return holder if isinstance(holder, dict) else {}


def is_current(holder: dict[str, object]) -> bool:
    """Whether what a lock file says can be of who holds the lock now: not of one that has ended or was killed."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or "ended" in holder:
        return False
    return holder.get("host") != os.uname().nodename or process_identity(pid) is not None


def describe(holder: dict[str, object]) -> str:
    """Return `pid 12 on HOST, run ID, since TIME`, as far as the holder said; it may have no run yet."""
    if not is_current(holder):
        return _UNSAID
    run = f"run {holder['run']}, " if holder.get("run") else ""
    return f"pid {holder['pid']} on {holder.get('host')}, {run}since {holder.get('since')}"
