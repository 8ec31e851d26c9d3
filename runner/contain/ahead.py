"""Starting the launcher program; also ahead of the runner's own modules, which take as long as that to get ready.

A launcher that is started ahead waits here for the run to take it: it has no stage, and nothing is written yet, so that
it can be dismissed as well where there is no work, or work of another kind than it was started for.
"""

from __future__ import annotations

import fcntl
import os
import sys

from runner.contain.wire import frame
from runner.levels import KERNEL, SCAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from typing import NamedTuple

    class Program(NamedTuple):
        """A launcher program that runs: its process, and our ends of the pipes to and from it."""

        pid: int
        requests: int
        replies: int

else:
    import _signal as signal  # `signal` itself builds enums, and the launcher is waited for

DEAF = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  # blocked from its first instruction on, see child.BLOCKED
BEST = KERNEL if sys.platform == "linux" else SCAN  # the level to try first
FEW = 64  # descriptors

_waiting: list[tuple[tuple[object, ...], Program]] = []  # at most one, and what it was started with


def begin(interpreter: str, level: str, warm: Mapping[str, str] | None, options: Sequence[str] = ()) -> Program:
    """Start the program and return at once; see Launcher.start. Raises OSError with nothing left open."""
    ends: list[int] = []
    try:
        for _ in range(2):
            ends += _pipe_above_stdio()
        words = [level, str(os.getpid()), *options, *(["warm"] if warm is not None else [])]
        pid = _spawn(interpreter, ends[0], ends[3], words, warm)
    except OSError:
        for descriptor in ends:
            os.close(descriptor)
        raise
    os.close(ends[0])
    os.close(ends[3])
    os.set_blocking(ends[1], False)
    os.set_blocking(ends[2], False)
    return (pid, ends[1], ends[2])  # type: ignore[return-value] # no class here


def begin_ahead(warm: Mapping[str, str] | None, modules: Sequence[str] = ()) -> None:
    """Start one for `take` to give to whoever asks for the same. Where it cannot be started, the run will say so.

    A warm one loads these `modules` as soon as it is isolated: it has nothing else to do, and the run would wait.
    """
    if 0 <= os.sysconf("SC_OPEN_MAX") < FEW:
        return  # the run itself is to be the first that lacks descriptors, for it knows how to tell
    try:
        begun = begin(sys.executable, BEST, warm)
    except OSError:
        return
    _waiting.append(((sys.executable, BEST, warm, ()), begun))
    if warm is not None and modules:
        try:
            os.write(begun[1], frame("load", list(modules)))  # which finds room in an empty pipe
        except OSError:
            pass  # it has ended, and the run that takes it will say so


def take(interpreter: str, level: str, warm: Mapping[str, str] | None, options: Sequence[str] = ()) -> Program:
    """Return the one that waits where it is as wanted, else a new one, as `begin` does."""
    if _waiting and _waiting[0][0] == (interpreter, level, warm, tuple(options)):
        return _waiting.pop()[1]
    dismiss()
    return begin(interpreter, level, warm, options)


def dismiss() -> None:
    """End the one that waits, if there is one. What it may have started by now, to isolate itself, ends with it."""
    while _waiting:
        pid, requests, replies = _waiting.pop()[1]
        os.close(requests)
        os.close(replies)
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:  # else nobody knows whose number it is by now
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # where whoever started the runner ignores SIGCHLD, the kernel has reaped it


def _pipe_above_stdio() -> tuple[int, int]:
    """A pipe that is not on descriptors 0 to 2, even where the runner was started with some of those closed."""
    low = os.pipe()
    high: list[int] = []
    try:
        high.extend(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for end in low)
    except OSError:
        for end in high:
            os.close(end)
        raise
    finally:
        for end in low:
            os.close(end)
    return high[0], high[1]


def _spawn(interpreter: str, requests: int, replies: int, words: list[str], warm: Mapping[str, str] | None) -> int:
    """Start the program, in `warm` or an empty environment; what it says on stderr comes by the replies' pipe."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "program.py")
    arguments = [interpreter, *(("-I", "-S") if warm is None else ("-B",)), program, *words]
    env = dict(warm or {})
    actions = [(os.POSIX_SPAWN_DUP2, one, to) for one, to in ((requests, 0), (replies, 1), (replies, 2))]
    try:
        return os.posix_spawn(interpreter, arguments, env, file_actions=actions, setsigmask=DEAF, setsid=True)
    except NotImplementedError:  # an old libc: the program calls setsid itself, a few milliseconds later
        return os.posix_spawn(interpreter, arguments, env, file_actions=actions, setsigmask=DEAF)
