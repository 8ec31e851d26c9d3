"""The runner's end of the launcher: starts it, sends launches, receives how they ended.

Python signal handlers may run meanwhile, but must not raise: half a message could stay on the pipe.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from runner.errors import Fault, LauncherError, StateError
from runner.interrupts import GRACE, SIGNALS
from runner.levels import SCAN, RefusedError
from runner.processes import await_end, process_identity, signal
from runner.results import AttemptResult, NetworkCalls, signal_name
from runner.sandbox.protocol import START, message, take_messages

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "program.py")
PATIENCE_MS = 30_000  # a launcher reads at once: one that has not read for so long is stopped or stuck
_ROOM = 65536  # bytes for one read: the capacity of a pipe, pipe(7)


class Launch(NamedTuple):
    """One start of one program. The caller chooses `id`, which the reports repeat. Paths are absolute.

    `log` and `stdout` exist already and are appended to. Without `stdout`, standard output goes to the log; without
    `stdin`, standard input is /dev/null. `timeout` and `grace` are seconds, `address_space` (RLIMIT_AS) and `file_size`
    (RLIMIT_FSIZE) bytes.
    If `ends_on_network`, a network call that is not a probe (see NetworkCalls) ends it, as its time limit would.
    `program` is the file to execute, if it is not `argv[0]`; no PATH is searched. With a `script`, argv is an
    interpreter, `-B`, the script and its arguments, and a fork server may fork itself instead. The script will import
    the modules of `preload`. For a cluster: `cpus` and `memory_mib` are what the stage asks for. The paths `reads` and
    `writes` must look the same to both machines before it starts, and `writes` after it has ended. `program_sha256` is
    that of the program, if the key has it. A sealed stage has a `view`: a mount point, and the steps that make it, see
    view.enter_view.
    """

    id: int
    argv: list[str]
    env: dict[str, str]
    cwd: str
    stdin: str | None
    stdout: str | None
    log: str
    timeout: float | None = None
    grace: float = GRACE
    affinity: list[int] | None = None
    address_space: int | None = None
    file_size: int | None = None
    program: str | None = None
    script: str | None = None
    preload: tuple[str, ...] = ()
    cpus: float | None = None
    memory_mib: int | None = None
    ends_on_network: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    program_sha256: str | None = None
    view: tuple[str, Sequence[tuple[str, str, str]]] | None = None


class NetworkReport(NamedTuple):
    """Network calls of a running launch's processes, which were refused."""

    launch: int
    calls: list[NetworkCalls]


Report = NetworkReport | AttemptResult


class Launcher:
    """A running launcher program, and the two pipes to it. For one thread, which must live as long as the run.

    `pid` and `started_at` (see processes.process_identity) identify, for the next run, the process that outlives every
    stage. The first report may name another process (see namespaces). It also sets `layers`, the isolation that was
    reached, or `refusal`, the reason why it was not. Use as a context manager, or call `close`.
    """

    def __init__(self, pid: int, requests: int, reports: int, level: str, fork_env: Mapping[str, str] | None) -> None:
        self._child = pid
        self.pid = pid
        self.started_at = process_identity(pid)
        self.level = level
        self.layers: dict[str, str] = {}
        self.refusal: RefusedError | None = None
        self._fork_env = fork_env
        self._loaded: set[str] = set()
        self._requests = requests
        self._reports = reports
        self._received = bytearray()
        self._has_started = False
        self._crash = ""
        self._end = ""  # how the child ended, once it has been waited for

    @classmethod
    def start(
        cls,
        level: str = SCAN,
        *,
        interpreter: str = sys.executable,
        fork_env: Mapping[str, str] | None = None,
        views: bool = False,
    ) -> Self:
        """Start the program and return at once; it enters `level` (see levels) and gets ready.

        With `fork_env`, the variables of Python stages that interpreters read, it becomes a fork server for them. With
        `views`, its layers say whether sealed stages get views.
        Raises StateError if the interpreter is missing, or if there are no descriptors or processes left.
        """
        try:
            return cls(*_start_program(interpreter, level, fork_env, views=views), level, fork_env)
        except OSError as error:
            raise StateError.from_os(error, interpreter, "start the launcher with") from error

    def instead(self, level: str) -> Self:
        """Start a launcher of the same kind at another level, after this one could not reach its level."""
        other = self.start(level, fork_env=self._fork_env)  # only the first level has views
        other.load(self._loaded)
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def capacity(self, jobs: int | None) -> tuple[int, float]:
        """Return how many stages may run at once, which is `jobs` if that is given, and the MiB that they share."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return jobs or len(os.sched_getaffinity(0)), memory / (1 << 20)

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` has something to return."""
        return self._reports

    def load(self, modules: Collection[str], distributions: Collection[str] = ()) -> None:  # noqa: ARG002
        """Let a fork server import the modules that its stages will import. Call it before any `submit`.

        Once a stage has run, it may have replaced the files of modules. `distributions`: those that keys name, each
        "name version", for launchers on other machines.
        """
        if self._fork_env is not None:
            self._loaded |= set(modules)
            self._request("load", sorted(modules))

    def submit(self, launch: Launch) -> None:
        """Request one start. Raises LauncherError if the launcher is dead, or has not read for half a minute."""
        fields = launch._replace(program=launch.program or launch.argv[0])._asdict()
        self._request("launch", {name: _as_bytes(value) for name, value in fields.items()})

    def terminate(self) -> None:
        """Send TERM to every process of every launch, and KILL when the grace is over."""
        self._end_all("terminate")

    def kill(self) -> None:
        """Send KILL to every process of every launch."""
        self._end_all("kill")

    def _end_all(self, verb: str) -> None:
        self._wake()
        self._request(verb, None)

    def receive(self) -> list[Report]:
        """Return the reports since the last call, without waiting. Raises LauncherError if the launcher is dead."""
        is_at_end = self._read()
        reports = self._decode()
        if is_at_end and not reports and not self.refusal:
            raise self._death()
        return reports

    def await_ready(self) -> None:
        """Wait for the first report, which sets `layers` or `refusal`. Call it before any `submit`."""
        while not self.layers and not self.refusal:
            self._await(self._reports, select.POLLIN, "does not get ready")
            self.receive()

    def close(self) -> None:
        """Kill every process of every launch, and end the launcher; returns when all are gone. May be called again."""
        if self._requests >= 0:
            os.close(self._requests)
            self._requests = -1
            if not self._end:
                self._wake()  # a stopped launcher would never see the end of the pipe
            self._wait()
            os.close(self._reports)
            self._reports = -1

    def _wake(self) -> None:
        """Continue a stopped launcher, which sees neither requests nor time limits."""
        for target in (self._child, -self._child):  # itself, and its group (setsid in launcher.main)
            # `receive` reports its death; where SIGCHLD is ignored, there is nothing to wait for.
            with suppress(ProcessLookupError):
                os.kill(target, signal.SIGCONT)

    def _request(self, kind: str, content: object) -> None:
        waiting = memoryview(message(kind, content))
        while waiting:
            try:
                waiting = waiting[os.write(self._requests, waiting) :]
            except BlockingIOError:
                self._await(self._requests, select.POLLOUT, "does not read its requests")
            except BrokenPipeError:
                self._read()
                self._decode()
                if self.refusal is not None:
                    return  # `load` may come before the refusal is read
                raise self._death() from None

    def _await(self, descriptor: int, event: int, problem: str) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(PATIENCE_MS):
            raise LauncherError(Fault("launcher", f"process {self.pid} {problem}", "is it stopped? run again"))

    def _read(self) -> bool:
        """Read all that the pipe holds; True at its end, which means that the launcher has ended."""
        with suppress(BlockingIOError):
            while data := os.read(self._reports, _ROOM):
                self._received += data
            return True
        return False

    def _decode(self) -> list[Report]:
        """Handle the messages that were read; return the reports about launches."""
        if not self._has_started:
            before, start, after = self._received.partition(START)
            self._crash = before.decode("utf-8", "backslashreplace")
            if not start:
                return []
            self._has_started, self._received = True, after
        reports: list[Report] = []
        for kind, content in take_messages(self._received):
            if kind == "exit":
                launch, fields = content
                fields["network"] = tuple(NetworkCalls(*calls) for calls in fields["network"])
                reports.append(AttemptResult(number=0, launch=launch, **fields))
            elif kind == "network":
                launch, network = content
                reports.append(NetworkReport(launch, [NetworkCalls(*calls) for calls in network]))
            elif kind == "ready":
                process, self.layers = content
                if process is not None:
                    self.pid = process
                    self.started_at = process_identity(process)
            elif kind == "refused":
                self.refusal = RefusedError(*content)
            else:
                self._crash = content
        return reports

    def _death(self) -> LauncherError:
        self._wait()
        what = f"process {self.pid} {self._end} while it was needed"
        what += f":\n{self._crash.rstrip()}" if self._crash else ""
        return LauncherError(Fault("launcher", what, "run again to go on"))

    def _wait(self) -> None:
        """Wait until the child has ended, and process 1 of its namespace, which may end a little later."""
        if self._end:
            return
        self._wake()
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
            self._end = f"ended with exit code {code}" if code >= 0 else f"was killed by {signal_name(-code)}"
        except ChildProcessError:
            self._end = "ended"  # something else in this process has waited for it
        await_end(self.pid, self.started_at, PATIENCE_MS / 1000)


def _start_program(
    interpreter: str, level: str, fork_env: Mapping[str, str] | None, *, views: bool
) -> tuple[int, int, int]:
    """Start the program, in `fork_env` or an empty environment; its stderr goes to the pipe of reports.

    Returns its process and our ends of the pipes to and from it. OSError leaves nothing open.
    """
    # If the runner was started without descriptor 0, 1 or 2, a pipe must not get that number: dup2 would overwrite it.
    while (opened := os.open(os.devnull, os.O_RDONLY)) < 3:
        pass
    os.close(opened)
    ends: list[int] = []
    try:
        ends += os.pipe()
        ends += os.pipe()
        options, role = (("-I", "-S"), ()) if fork_env is None else (("-B",), ("forkserver",))
        words = [interpreter, *options, PROGRAM, level, str(os.getpid()), *role, *(("views",) if views else ())]
        actions = [(os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate((ends[0], ends[3], ends[3]))]
        # The signals are blocked in it from its first instruction, see child.BLOCKED.
        pid = os.posix_spawn(interpreter, words, dict(fork_env or {}), file_actions=actions, setsigmask=SIGNALS)
    except OSError:
        for end in ends:
            os.close(end)
        raise
    theirs, ours = (ends[0], ends[3]), (ends[1], ends[2])
    for end in theirs:
        os.close(end)
    for end in ours:
        os.set_blocking(end, False)
    return pid, *ours


def _as_bytes(value: Any) -> Any:  # noqa: ANN401 - a field of any type
    """Return a field with its words and paths as bytes, as execve(2) takes them."""
    if isinstance(value, str):
        return os.fsencode(value)
    if isinstance(value, dict):
        return {os.fsencode(name): os.fsencode(word) for name, word in value.items()}
    return [_as_bytes(each) for each in value] if isinstance(value, (list, tuple)) else value
