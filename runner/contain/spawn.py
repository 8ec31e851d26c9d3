"""A program started without a copy of the launcher: by posix_spawn(3), from a thread that is inside the stage's walls.

What the program of a stage could not put up itself (the filter that fastens its tag, its Landlock domain) belongs to a
thread, and what that starts has it too. So each start has a thread, which enters them and starts the program, and the
launcher stays outside. Between that and the program's first instruction runs nothing but the C library's code. The
thread stays, asleep, until the program has ended: one that asks to be killed with its parent (PR_SET_PDEATHSIG) would
be killed by the end of the thread that started it, prctl(2).

Until the kernel has loaded the program the launcher waits (vfork), and keeps no time limit: a file system that does not
answer holds it up that long. Streams that might wait (a FIFO, a file under a lease), and whatever fails, are left to a
fork, which waits by itself and tells what it failed by.

Loaded by the launcher program only, and used at level `kernel` only: elsewhere code of ours has to run in the stage's
process, and ask that it is killed with the launcher and given its orphans.
"""

from __future__ import annotations

import _thread
import errno
import os
import stat

from runner.contain.child import IGNORED
from runner.contain.posix_spawn import Attributes
from runner.levels import RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.contain.child import Request
    from runner.contain.isolate import Isolation
    from runner.contain.tag import Tags
    from runner.contain.tree import ProcessTree, SessionTree


class Spawner:
    """Starts programs for one launcher."""

    def __init__(self, tree: ProcessTree | SessionTree, tags: Tags, isolation: Isolation) -> None:
        self._tree = tree
        self._tags = tags
        self._isolation = isolation
        self._attributes = Attributes(IGNORED)
        self._asleep: dict[int, _thread.LockType] = {}  # process -> what its thread waits for

    def spawn(self, request: Request) -> int | None:
        """Start the program of a stage and return its process; None where a fork has to try."""
        if request["affinity"] is not None or request["address_space"] is not None:
            return None
        opened: list[int] = []
        try:
            streams = _open_streams(request, opened)
            os.chdir(request["cwd"])
            number = self._tree.begin()
            self._tags.wear(number)
            try:
                return self._spawn_inside(request, streams)
            finally:
                self._tags.shed(number)
        except (OSError, RuntimeError):  # Python's word for a thread that could not be started is the second one
            return None
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def ended(self, pid: int) -> None:
        """Let the thread go that started this process, which has been waited for."""
        if pid in self._asleep:
            self._asleep.pop(pid).release()

    def _spawn_inside(self, request: Request, streams: list[int]) -> int | None:
        found: list[int] = []
        over, ended = _thread.allocate_lock(), _thread.allocate_lock()
        over.acquire()
        ended.acquire()

        def work() -> None:
            try:
                self._tags.fasten()
                self._isolation.enter_thread()
                program, argv, env = request["program"], request["argv"], request["env"]
                found.append(self._attributes.spawn(program, argv, env, streams))
            except (OSError, RuntimeError, RefusedError):
                pass  # the fork will tell, or succeed
            finally:
                over.release()
            if found:
                ended.acquire()

        _thread.start_new_thread(work, ())
        over.acquire()
        if not found:
            return None
        self._asleep[found[0]] = ended
        return found[0]


def _open_streams(request: Request, opened: list[int]) -> list[int]:
    """Open what is to be descriptors 0, 1 and 2, as child.fork_stage does, but never wait. OSError where it might."""
    stdin, log, stdout = request["stdin"], request["log"], request["stdout"]
    opened.append(os.open("/dev/null", os.O_RDONLY) if stdin is None else _open_file(stdin, os.O_RDONLY))
    opened.append(_open_file(log, os.O_WRONLY | os.O_APPEND))
    if stdout is not None:
        opened.append(_open_file(stdout, os.O_WRONLY | os.O_APPEND))
    return [opened[0], opened[-1], opened[1]]


def _open_file(path: bytes, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENODEV, "is no file")
    os.set_blocking(descriptor, True)
    return descriptor
