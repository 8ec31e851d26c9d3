"""Starts a program without a copy of the launcher: by posix_spawn(3), from a thread inside the stage's walls.

A stage's walls (the filter that protects its tag, its Landlock domain) belong to a thread, and all that it starts
inherits them. So each launch has a thread to itself until no process of the launch is left: within one domain, the
processes of two launches could reach each other. Only code of the C library runs between the thread and the program's
first instruction.

The launcher waits until the kernel has loaded the program (vfork), and meanwhile enforces no time limit, even if the
file system does not answer. Streams that might block (a FIFO, a file under a lease), and all starts that fail, are left
to a fork, which waits in its own process and reports why it failed.

Loaded by the launcher program only, and used at level `kernel` only: at other levels our code has to run in the stage's
process, to make it die with the launcher and be a subreaper. Flags: spawn.h, where glibc and musl agree.
"""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
import stat
from _queue import SimpleQueue  # queue's own, which loads more

from runner.levels import RefusedError
from runner.sandbox.child import open_streams
from runner.sandbox.syscalls import libc, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from runner.sandbox.isolate import Isolation
    from runner.sandbox.process_tree import ProcessTree, Tags
    from runner.sandbox.protocol import Request

SETSIGDEF, SETSIGMASK, SETSID = 0x04, 0x08, 0x80
OWN_SIGNALS = (32, 33, 34)  # of the C library: nptl's, and one more of musl's
OPAQUE = 1024  # bytes; glibc's posix_spawnattr_t takes 336, posix_spawn_file_actions_t 80
SIGNAL_SET = 128  # bytes of a sigset_t


class Spawner:
    """Starts programs for one launcher."""

    def __init__(self, tree: ProcessTree, tags: Tags, isolation: Isolation) -> None:
        self._tree = tree
        self._tags = tags
        self._isolation = isolation
        self._attributes = Attributes()
        self._free: list[WalledThread] = []
        self._taken: dict[int, WalledThread] = {}  # by the number of a launch

    def spawn(self, request: Request) -> tuple[int, int] | None:
        """Start the program of a stage; return its process and its launch's number, or None if a fork has to try."""
        if any(request[field] is not None for field in ("view", "affinity", "address_space", "file_size")):
            return None
        opened: list[int] = []
        try:
            streams = open_streams(request, opened, os.O_NONBLOCK | os.O_NOCTTY)
            files = opened if request["stdin"] else opened[1:]
            if not all(stat.S_ISREG(os.fstat(descriptor).st_mode) for descriptor in files):
                return None  # it might block, for example a FIFO
            for descriptor in opened:
                os.set_blocking(descriptor, True)
            os.chdir(request["cwd"])
            return self._spawn_inside(request, streams)
        except (OSError, RuntimeError, RefusedError):  # RuntimeError: a thread could not start
            return None  # a fork succeeds, or reports why not
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def free(self, number: int) -> None:
        """Free the thread of the launch with this number, which has no process left."""
        if number in self._taken:
            self._free.append(self._taken.pop(number))

    def _spawn_inside(self, request: Request, streams: list[int]) -> tuple[int, int]:
        thread = self._free.pop() if self._free else WalledThread(self._enter)
        program, argv, env = request["program"], request["argv"], request["env"]
        number = self._tree.begin()
        self._tags.set(number)
        try:
            pid = thread.run(lambda: self._attributes.spawn(program, argv, env, streams))
        except BaseException:
            self._free.append(thread)
            raise
        finally:
            self._tags.unset(number)
        self._taken[number] = thread
        return pid, number

    def _enter(self) -> None:
        self._tags.lock()
        self._isolation.enter()


class WalledThread:
    """One thread that does one piece of work at a time. It lives as long as the launcher.

    If it ended, the kernel would kill the programs that it started with PR_SET_PDEATHSIG, prctl(2).
    """

    def __init__(self, enter: Callable[[], object]) -> None:
        """Start a thread that calls `enter`. Raises the error of `enter`, and RuntimeError if no thread can start."""
        self._work: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        self._results: SimpleQueue[Any] = SimpleQueue()
        _thread.start_new_thread(self._live, ())
        self.run(enter)

    def run(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the work returns
        """Let the thread do this work, and wait; return its result, or raise its error."""
        self._work.put(work)
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def _live(self) -> None:
        """Runs in the *thread*, with all signals blocked: no SIGCHLD must wake it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            work = self._work.get()
            try:
                self._results.put(work())
            except BaseException as error:  # noqa: BLE001 - `run` raises it
                self._results.put(error)


class Attributes:
    """Attributes of posix_spawn: a session of its own, no signal blocked. This process ignores no signal.

    They also reset the C library's own signals. Once a process has threads, its posix_spawn leaves these ignored in the
    program unless they are reset (glibc's spawni.c, musl's posix_spawn.c). Python's os.posix_spawn refuses their
    numbers, so this is done by ctypes.
    """

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(OPAQUE)
        none = ctypes.create_string_buffer(SIGNAL_SET)
        # As bits: sigaddset refuses the C library's own signals. These machines are little-endian.
        own = sum(1 << (number - 1) for number in OWN_SIGNALS).to_bytes(SIGNAL_SET, "little")
        _check(libc.posix_spawnattr_init(self._buffer))
        _check(libc.posix_spawnattr_setsigmask(self._buffer, none))
        _check(libc.posix_spawnattr_setsigdefault(self._buffer, own))
        _check(libc.posix_spawnattr_setflags(self._buffer, ctypes.c_short(SETSIGDEF | SETSIGMASK | SETSID)))

    def spawn(self, program: bytes, argv: Sequence[bytes], env: Mapping[bytes, bytes], streams: Sequence[int]) -> int:
        """Execute `program` with these as descriptors 0, 1, 2 in a new process; return that. OSError if it fails."""
        actions = ctypes.create_string_buffer(OPAQUE)
        _check(libc.posix_spawn_file_actions_init(actions))
        try:
            for number, descriptor in enumerate(streams):
                _check(libc.posix_spawn_file_actions_adddup2(actions, descriptor, number))
            pid = ctypes.c_int()
            words, variables = _strings(argv), _strings([b"%s=%s" % pair for pair in env.items()])
            _check(libc.posix_spawn(ctypes.byref(pid), program, actions, self._buffer, words, variables))
        finally:
            libc.posix_spawn_file_actions_destroy(actions)
        return pid.value


def _strings(words: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    """Return words as an array of C strings, ended by NULL. OSError for a word with a NUL."""
    if b"\0" in b"".join(words):
        raise OSError(errno.EINVAL, "a word with NUL")
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))
