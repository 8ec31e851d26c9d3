"""What the launcher does: it starts every stage, enforces its time limit, and kills what it left behind.

`program` runs it. Requests come on descriptor 0, reports go out on descriptor 1 (see `protocol`). At end-of-file on 0
the runner is gone: the launcher kills and reaps everything, then ends. It never waits for its reader. It enters its
level (see `isolate`) once, before it is ready.
"""

from __future__ import annotations

import os
import select
import sys
import time

from runner.levels import KERNEL, SCAN, RefusedError
from runner.processes import has_ended
from runner.sandbox.child import BLOCKED, failure_text, fork_stage
from runner.sandbox.isolate import Isolation, isolate
from runner.sandbox.network_log import Tally, answer_call
from runner.sandbox.process_tree import ProcessTree, Tags, is_ending, open_tags
from runner.sandbox.protocol import START, Wire, message
from runner.sandbox.spawn import Spawner
from runner.sandbox.syscalls import close_all_but, signal

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of the launcher's start
if TYPE_CHECKING:
    from resource import struct_rusage
    from typing import NoReturn

    from runner.sandbox.forkserver import ForkServer
    from runner.sandbox.protocol import Request

KILL_POLL = 5  # milliseconds between checks whether killed processes have ended
RESPITE = 5.0  # seconds for processes that are about to end (see is_ending)
CRASHED = 70  # exit code
FAILURE_LENGTH = 16384  # bytes of the reason why a program never started: a path, and some words


class Running:
    """A launch from its start until its report. `deadline` is the end of its time limit, or of its grace.

    Once its main process has ended, `left` are the processes that had to be killed. Until `respite`, processes may end
    by themselves. `key` is its key in the tree. `failure` is the descriptor that says why its program never started
    (see child). It is None if the program has started.
    """

    def __init__(self, request: Request, key: int, failure: int | None, started: float) -> None:
        self.id = request["id"]
        self.key = key
        self.grace = request["grace"]
        self.ends_on_network = request["ends_on_network"]
        self.deadline = None if request["timeout"] is None else started + request["timeout"]
        self.sent = False
        self.timed_out = False
        self.left: set[int] = set()
        self.respite = 0.0
        self.tally = Tally()
        self._started = started
        self._failure = failure
        self._end: dict[str, object] = {}

    def end(self, status: int, usage: struct_rusage, now: float) -> None:
        """Keep how the main process ended. The report follows when no process of the launch is left."""
        self.respite = now + RESPITE
        code, failure = os.waitstatus_to_exitcode(status), b""
        if self._failure is not None:
            failure = os.read(self._failure, FAILURE_LENGTH)
            os.close(self._failure)
        self._end = {
            "code": None if failure or code < 0 else code,
            "signal": -code if code < 0 and not failure else None,
            "failed_to_start": failure.decode() or None,
            "timed_out": self.timed_out,
            "sent": self.sent,
            "seconds": now - self._started,
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "max_rss_bytes": usage.ru_maxrss << 10,  # KiB, getrusage(2)
        }

    def report(self) -> tuple[int, dict[str, object]]:
        """Return the content of the "exit" report."""
        rest = {"left_behind": len(self.left), "network": self.tally.rest(), "local_sockets": self.tally.local_sockets}
        return self.id, self._end | rest


class Service:
    """The loop over requests, ends of processes and time limits. Nothing in it may block."""

    def __init__(
        self,
        requests: int,
        reports: int,
        runner: int,
        tree: ProcessTree,
        tags: Tags | None,
        isolation: Isolation,
        server: ForkServer | None,
    ) -> None:
        """`runner` is our parent, unless that is outside our pid namespace: then the kernel kills us with it."""
        self._tree = tree
        self._isolation = isolation
        self._server = server
        # A fork server must have no threads, because it forks.
        can_spawn = tree.takes_all and server is None
        self._spawner = Spawner(tree, tags, isolation) if tags is not None and can_spawn else None
        self._running: dict[int, Running] = {}  # by main process
        self._ended: dict[int, Running] = {}  # by key in the tree; processes may be left of these
        self._is_closing = False
        self._runner = runner
        self._poll = select.poll()
        self._wire = Wire(requests, reports, self._poll)
        self._wakeup, write_end = os.pipe()
        for descriptor in (self._wakeup, write_end):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._poll.register(self._wakeup, select.POLLIN)
        if isolation.listener:
            self._poll.register(isolation.listener.descriptor, select.POLLIN)

    def serve(self) -> None:
        """Serve until the runner is gone and no process of a stage is left."""
        self._wire.report("ready", (self._isolation.process, self._isolation.layers))
        while not self._is_closing or self._running or self._ended:
            events = dict(self._poll.poll(self._patience()))
            if self._wakeup in events:
                os.read(self._wakeup, 65536)
            listener = self._isolation.listener
            if listener and listener.descriptor in events:
                launches = (*self._ended.values(), *self._running.values())
                tallies = {launch.key: launch.tally for launch in launches}
                answer_call(listener, self._tree, tallies, self._end_for_network)
            self._reap()
            if self._wire.requests in events:
                self._read_requests()
            if os.getppid() != self._runner:
                self._close()
            self._keep_time()
            self._report_networks()
            self._wire.flush()

    def end_everything(self, crash: str) -> None:
        """After a crash of the loop: report it, then kill and reap every process of every stage."""
        self._wire.report("crash", crash)
        running = {pid: launch.key for pid, launch in self._running.items()}
        self._tree.send(running, signal.SIGKILL)
        try:
            while True:
                os.wait4(-1, 0)
                self._tree.kill_left(self._tree.left((), {*self._ended, *running.values()}))
        except ChildProcessError:
            pass

    def _patience(self) -> float | None:
        """Return the milliseconds until something is due; None if nothing is."""
        if self._ended:
            return KILL_POLL
        times = [time for launch in self._running.values() for time in (launch.deadline, launch.tally.due)]
        due = [time for time in times if time is not None]
        return min(max(0.0, min(due) - time.monotonic()) * 1000 + 1, 60_000) if due else None

    def _read_requests(self) -> None:
        """Raises Forked in the child that is a Python stage."""
        requests = self._wire.receive()
        if requests is None:
            self._close()
            return
        for kind, content in requests:
            if self._is_closing:
                return  # nothing would kill a stage that starts now
            if kind == "launch":
                self._launch(content)
            elif kind == "load":
                if self._server is not None:
                    self._server.load(content)
            else:
                self._stop(signal.SIGKILL if kind == "kill" else signal.SIGTERM)

    def _close(self) -> None:
        """The runner is gone: take no more requests, and kill every stage."""
        if not self._is_closing:
            self._is_closing = True
            self._poll.unregister(self._wire.requests)
            self._stop(signal.SIGKILL)

    def _launch(self, request: Request) -> None:
        """Raises Forked in the child that is a Python stage."""
        started = time.monotonic()
        try:
            pid, key, failure = self._start(request)
        except OSError as error:
            fields = {"failed_to_start": failure_text(error, "starting a process"), "network": ()}
            self._wire.report("exit", (request["id"], fields))
            return
        self._running[pid] = Running(request, key, failure, started)

    def _start(self, request: Request) -> tuple[int, int, int | None]:
        """Start one stage; return its process, its key and, if it may still fail, the descriptor of fork_stage.

        A fork server forks itself for a Python stage. Any other launcher starts a program without a fork, if it can. In
        all other cases a fork executes the program. Raises OSError if there is no descriptor or process.
        """
        if self._spawner is not None and (spawned := self._spawner.spawn(request)) is not None:
            return *spawned, None
        program = None if self._server is None else self._server.program(request)
        self._tree.begin()
        pid, failure = fork_stage(request, self._tree, self._isolation, program)
        return pid, self._tree.key(pid), failure

    def _end_for_network(self, key: int) -> None:
        """End the launch with this key, which asked for a network, if that fails its stage. Report the call at once."""
        for pid, launch in self._running.items():
            if launch.key == key and launch.ends_on_network and not launch.sent:
                launch.tally.due = time.monotonic()
                self._send([pid], signal.SIGTERM)

    def _stop(self, number: int) -> None:
        every = self._running.items()
        self._send([pid for pid, launch in every if number == signal.SIGKILL or not launch.sent], number)

    def _send(self, mains: list[int], number: int) -> None:
        """Signal main processes that have not ended yet: a report must not call an ended one signalled."""
        alive = [pid for pid in mains if not has_ended(pid)]
        for pid in alive:
            launch = self._running[pid]
            launch.sent = True
            launch.deadline = None if number == signal.SIGKILL else time.monotonic() + launch.grace
        self._tree.send({pid: self._running[pid].key for pid in alive}, number)

    def _keep_time(self) -> None:
        now = time.monotonic()
        over: dict[int, list[int]] = {}  # signal -> main processes
        for pid, launch in self._running.items():
            if launch.deadline is not None and launch.deadline <= now:
                launch.deadline = None
                launch.timed_out = launch.timed_out or (not launch.sent and not has_ended(pid))
                over.setdefault(signal.SIGKILL if launch.sent else signal.SIGTERM, []).append(pid)
        for number, mains in over.items():
            self._send(mains, number)

    def _report_networks(self) -> None:
        now = time.monotonic()
        for launch in self._running.values():
            if launch.tally.due is not None and launch.tally.due <= now:
                self._wire.report("network", (launch.id, launch.tally.new()))

    def _reap(self) -> None:
        """Reap every process that ended; report the launches that have no process left."""
        is_childless = False
        while not is_childless:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                is_childless = True
                continue
            if pid == 0:
                break
            if pid in self._running:
                launch = self._running.pop(pid)
                self._ended[launch.key] = launch
                launch.end(status, usage, time.monotonic())
        if self._ended and (is_childless or not self._kill_left()):
            for launch in self._ended.values():
                if self._spawner is not None:
                    self._spawner.free(launch.key)
                self._wire.report("exit", launch.report())
            self._ended.clear()

    def _kill_left(self) -> bool:
        """Kill the processes that ended launches left; False if there were none.

        If all processes of a launch are about to end, they have time until its `respite`.
        """
        left = self._tree.left(self._running, self._ended)
        now = time.monotonic()
        for pid, (_, key) in left.items():
            launch = self._ended[key]
            if self._is_closing or now >= launch.respite or not is_ending(pid):
                launch.left.add(pid)
        self._tree.kill_left({pid: place for pid, place in left.items() if self._ended[place[1]].left})
        return bool(left)


def _take_pipes() -> tuple[int, int]:
    """Move the two pipes off stdio, and close all other descriptors, so that no stage inherits one.

    Until the service starts, an error is printed on descriptor 2, which is the pipe of reports, too.
    """
    close_all_but((0, 1, 2))
    requests, reports = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    return requests, reports


def main(server: ForkServer | None) -> NoReturn:
    """Leave the runner's session, block signals that a terminal sends to all, and serve. Raises Forked in a child."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
    for number in signal.valid_signals():
        # A stage starts with default handlers, whatever the runner's parent, Python or a .pth file has set.
        if number in BLOCKED or signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    level, runner = sys.argv[1], int(sys.argv[2])
    pipes = _take_pipes()
    try:
        isolation = isolate(level, runner, (*pipes, 2), views="views" in sys.argv[3:])
    except RefusedError as error:  # no process can leave the layers that it has entered
        os.write(pipes[1], START + message("refused", error.args))
        os._exit(0)
    tags = open_tags(isolation.layers) if level != SCAN else None
    tree = ProcessTree(tags)
    tree.enter_launcher(dies_with_runner=level == KERNEL)
    os.dup2(0, 2)
    service = Service(*pipes, runner if level != KERNEL else os.getppid(), tree, tags, isolation, server)
    try:
        service.serve()
    except Exception:  # noqa: BLE001 - this process has no stderr
        import traceback

        service.end_everything(traceback.format_exc())
        os._exit(CRASHED)
    os._exit(0)  # finalising the interpreter would take as long as several stages
