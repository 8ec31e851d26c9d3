"""A program started without a copy of the launcher: by posix_spawn(3), from a thread that is inside the stage's walls.

Each launch has such a thread (cell) to itself until nothing of it is left. Between that and the program's first
instruction runs nothing but the C library's code.

Until the kernel has loaded the program the launcher waits (vfork), and keeps no time limit: a file system that does not
answer holds it up that long. Streams that might wait (a FIFO, a file under a lease), and whatever fails, are left to a
fork, which waits by itself and tells what it failed by.

Loaded by the launcher program only, and used at level `kernel` only: elsewhere code of ours has to run in the stage's
process, and ask that it is killed with the launcher and given its orphans.
"""

from __future__ import annotations

import errno
import os
import stat

from runner.levels import RefusedError
from runner.sandbox.cell import Cell
from runner.sandbox.posix_spawn import Attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runner.sandbox.isolate import Isolation
    from runner.sandbox.process_tree import ProcessTree, Tags
    from runner.sandbox.protocol import Request


class Spawner:
    """Starts programs for one launcher."""

    def __init__(self, tree: ProcessTree, tags: Tags, isolation: Isolation) -> None:
        self._tree = tree
        self._tags = tags
        self._isolation = isolation
        self._attributes = Attributes()
        self._free: list[Cell] = []
        self._taken: dict[int, Cell] = {}  # number of a launch -> where it is

    def spawn(self, request: Request) -> tuple[int, int] | None:
        """Start the program of a stage; return its process and its launch's number, or None where a fork has to try."""
        if request["affinity"] is not None or request["address_space"] is not None:
            return None
        opened: list[int] = []
        try:
            streams = _open_streams(request, opened)
            os.chdir(request["cwd"])
            return self._spawn_inside(request, streams)
        except (OSError, RuntimeError, RefusedError):  # Python's word for a thread that could not start is the second
            return None  # the fork will tell, or succeed
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def over(self, number: int) -> None:
        """To be called when nothing is left of the launch with this number: its cell is free for the next one."""
        if number in self._taken:
            self._free.append(self._taken.pop(number))

    def _spawn_inside(self, request: Request, streams: list[int]) -> tuple[int, int]:
        cell = self._free.pop() if self._free else Cell(self._enter)
        program, argv, env = request["program"], request["argv"], request["base"] | request["env"]
        number = self._tree.begin()
        self._tags.wear(number)
        try:
            pid = cell.run(lambda: self._attributes.spawn(program, argv, env, streams))
        except BaseException:
            self._free.append(cell)
            raise
        finally:
            self._tags.shed(number)
        self._taken[number] = cell
        return pid, number

    def _enter(self) -> None:
        self._tags.fasten()
        self._isolation.enter_thread()


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
