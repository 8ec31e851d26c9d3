"""The runner's end of the launcher: starts it, sends launches, receives exits.

Python signal handlers may run meanwhile if they raise nothing: a frame that was half written stays so.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
from typing import TYPE_CHECKING

from runner.errors import Fault, LauncherError, StateError
from runner.levels import SCAN, RefusedError
from runner.processes import await_end, process_identity
from runner.results import signal_name
from runner.sandbox.launch import Asked, Exit, Launch, encoded
from runner.sandbox.protocol import START, frame, taken

if TYPE_CHECKING:
    import signal
    from collections.abc import Collection, Mapping
    from typing import Any, Self
else:
    import _signal as signal  # `signal` itself builds enums, which a run can do without

__all__ = ["Asked", "Exit", "Launch", "Launcher"]

NOTHING_MISSING: Mapping[str, str] = {}
_ROOM = 65536
DEAF = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  # blocked in it from its first instruction, see child.BLOCKED
PATIENCE_MS = 30_000  # a launcher always reads; if it has not for so long, it is stopped or stuck


class Launcher:
    """A running launcher program, and the two pipes to it. For one thread, which must live as long as the run.

    `pid` and `started_at` (see processes.process_identity) name to the next run the process that outlives every stage;
    the first report may name another one (see namespaces). From then on, `layers` is the isolation that was reached, or
    `refusal` says why it was not. Use as a context manager, or call `close`.
    """

    def __init__(self, pid: int, requests: int, replies: int, level: str, missing: Mapping[str, str]) -> None:
        self._child = pid
        self.pid = pid
        self.started_at = process_identity(pid)
        self.level = level
        self.layers: dict[str, str] = {}
        self.refusal: RefusedError | None = None
        self._missing = missing
        self._warm: Mapping[str, str] | None = None
        self._loaded: set[str] = set()
        self._requests = requests
        self._replies = replies
        self._received = bytearray()
        self._greeted = False
        self._crash = ""
        self._ended: int | None = None  # as os.waitpid gives it; -1 when someone else took it

    @classmethod
    def start(
        cls,
        level: str = SCAN,
        *,
        interpreter: str = sys.executable,
        missing: Mapping[str, str] = NOTHING_MISSING,
        warm: Mapping[str, str] | None = None,
    ) -> Self:
        """Start the program and return at once; it isolates itself as `level` says (see levels) and gets ready.

        `missing` is added to `layers`: better levels that could not be reached, and why. `warm`: what interpreters heed
        of the environment of Python stages, if the launcher is to run these by forking. Raises StateError if there is
        no process, descriptor or interpreter.
        """
        try:
            program = _begin(interpreter, level, warm)
        except OSError as error:
            raise StateError.from_os(error, interpreter, "start the launcher with") from error
        launcher = cls(*program, level, missing)
        launcher._warm = warm
        return launcher

    def instead(self, level: str, missing: Mapping[str, str]) -> Self:
        """Start a launcher of the same kind at another level, after this one could not reach its own."""
        other = self.start(level, missing=missing, warm=self._warm)
        other.load(self._loaded)
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` has something to return."""
        return self._replies

    def load(self, modules: Collection[str]) -> None:
        """Let a warm launcher import the modules that its stages will import. Call it before any `submit`.

        Later, a stage could have replaced these files, so later modules are left to the stages.
        """
        more = set(modules) - self._loaded
        if self._warm is not None and more:
            self._loaded |= more
            self._ask("load", sorted(more))

    def submit(self, launch: Launch) -> None:
        """Ask for one start. Raises LauncherError when the launcher is dead, or has not read for half a minute."""
        self._ask("launch", encoded(launch))

    def terminate(self) -> None:
        """TERM to every process of every launch, KILL when the grace is over."""
        self._wake()
        self._ask("terminate", None)

    def kill(self) -> None:
        """KILL to every process of every launch."""
        self._wake()
        self._ask("kill", None)

    def _wake(self) -> None:
        """Continue a launcher that was stopped: it would heed neither requests nor time limits."""
        for pid in {self._child, self.pid}:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass  # receive reports its death; where SIGCHLD is ignored, there is nothing to wait for

    def receive(self) -> list[Asked | Exit]:
        """Return what came since the last call, without waiting. Raises LauncherError if the launcher is dead."""
        at_end = self._read()
        reports: list[Asked | Exit] = []
        for kind, content in self._frames():
            if kind == "exit":
                reports.append(Exit(*content))
            elif kind == "asked":
                reports.append(Asked(*content))
            elif kind == "ready":
                self._greet(*content)
            elif kind == "refused":
                self.refusal = RefusedError(*content)
            else:
                self._crash = content
        if at_end and not reports and not self.refusal:
            raise self._death()
        return reports

    def await_ready(self) -> None:
        """Wait for the first report: `layers` or `refusal` is known then. Call it before anything is submitted."""
        while not self.layers and not self.refusal:
            poll = select.poll()
            poll.register(self._replies, select.POLLIN)
            if not poll.poll(PATIENCE_MS):
                what = f"process {self.pid} does not get ready"
                raise LauncherError(Fault("launcher", what, "is it stopped? run again"))
            self.receive()

    def _greet(self, process: int | None, layers: dict[str, str]) -> None:
        self.layers = {**layers, **self._missing}
        if process is not None:
            self.pid = process
            self.started_at = process_identity(process)

    def close(self) -> None:
        """End every process of every launch, then the launcher; returns when all are gone. May be called again."""
        if self._requests >= 0:
            os.close(self._requests)
            self._requests = -1
            if self._ended is None:
                self._wake()  # while it is stopped, it would never see the end
            self._wait()
            os.close(self._replies)
            self._replies = -1

    def _ask(self, verb: str, content: dict[str, Any] | list[str] | None) -> None:
        waiting = memoryview(frame(verb, content))
        while waiting:
            try:
                waiting = waiting[os.write(self._requests, waiting) :]
            except BlockingIOError:
                room = select.poll()
                room.register(self._requests, select.POLLOUT)
                if not room.poll(PATIENCE_MS):
                    raise LauncherError(
                        Fault("launcher", f"process {self.pid} does not read its requests", "is it stopped? run again")
                    ) from None
            except BrokenPipeError:
                self._read()
                for kind, report in self._frames():
                    self.refusal = RefusedError(*report) if kind == "refused" else self.refusal
                    self._crash = report if kind == "crash" else self._crash
                if self.refusal is not None:
                    return  # `load` may come before the refusal is read
                raise self._death() from None

    def _read(self) -> bool:
        """Read what is there; True at the end of the pipe, which means that the launcher has ended."""
        try:
            while data := os.read(self._replies, _ROOM):
                self._received += data
                if len(data) < _ROOM:  # that was all; if it was the end too, the next call finds it
                    return False
        except BlockingIOError:
            return False
        return True

    def _frames(self) -> list[tuple[str, Any]]:
        if not self._greeted:
            before, mark, after = self._received.partition(START)
            if not mark:
                return []
            self._greeted, self._received = True, after
            self._crash = before.decode("utf-8", "backslashreplace")
        return taken(self._received)

    def _death(self) -> LauncherError:
        self._wait()
        assert self._ended is not None
        if self._ended == -1:
            how = "ended"
        elif os.WIFSIGNALED(self._ended):
            how = f"was killed by {signal_name(os.WTERMSIG(self._ended))}"
        else:
            how = f"ended with exit code {os.WEXITSTATUS(self._ended)}"
        text = self._crash or ("" if self._greeted else self._received.decode("utf-8", "backslashreplace"))
        what = f"process {self.pid} {how} while it was needed"
        return LauncherError(Fault("launcher", f"{what}:\n{text.rstrip()}" if text else what, "run again to go on"))

    def _wait(self) -> None:
        """Wait until the child has ended, and process 1 of its namespace, which may end a little later."""
        if self._ended is None:
            try:
                self._ended = os.waitpid(self._child, 0)[1]
            except ChildProcessError:
                self._ended = -1
            await_end(self.pid, self.started_at, PATIENCE_MS / 1000)


def _begin(interpreter: str, level: str, warm: Mapping[str, str] | None) -> tuple[int, int, int]:
    """Start the program; return its process, and our ends of the pipes to and from it. OSError leaves nothing open."""
    ends: list[int] = []
    try:
        for _ in range(2):
            ends += _pipe_above_stdio()
        words = [level, str(os.getpid()), *(["warm"] if warm is not None else [])]
        pid = _spawn(interpreter, ends[0], ends[3], words, warm)
    except OSError:
        for descriptor in ends:
            os.close(descriptor)
        raise
    os.close(ends[0])
    os.close(ends[3])
    os.set_blocking(ends[1], False)
    os.set_blocking(ends[2], False)
    return pid, ends[1], ends[2]


def _pipe_above_stdio() -> tuple[int, int]:
    """Return a pipe that is not on descriptors 0 to 2, even if the runner was started with some of those closed."""
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
    """Start the program, in `warm` or an empty environment; its stderr goes to the pipe of replies."""
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "program.py")
    arguments = [interpreter, *(("-I", "-S") if warm is None else ("-B",)), program, *words]
    env = dict(warm or {})
    actions = [(os.POSIX_SPAWN_DUP2, one, to) for one, to in ((requests, 0), (replies, 1), (replies, 2))]
    try:
        return os.posix_spawn(interpreter, arguments, env, file_actions=actions, setsigmask=DEAF, setsid=True)
    except NotImplementedError:  # an old libc: the program calls setsid itself, a few milliseconds later
        return os.posix_spawn(interpreter, arguments, env, file_actions=actions, setsigmask=DEAF)
