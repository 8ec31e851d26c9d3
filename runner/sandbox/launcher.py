"""The launcher: one loop that starts every stage, enforces its time limit, and kills what it left behind.

`program` runs it. Requests come on descriptor 0, reports go out on descriptor 1: after START, a 4-byte length and a
marshalled tuple each (the same interpreter is at both ends). End-of-file on 0 means that the runner is gone: everything
is killed and reaped, then the launcher ends. It never waits for its reader.

Requests: ("load", modules for Python stages); ("launch", protocol.Request); ("terminate" or "kill", None): to all.
Reports: ("ready", (process, layers)), where `process` is the launcher's number outside its namespaces, or None; or
("refused", the fields of RefusedError); ("asked", those of launch.Asked), ("exit", of launch.Exit), ("crash", text).
It enters its level (see `isolate`) once, before it is ready.
"""

from __future__ import annotations

import os
import select
import sys
import time

from runner.levels import KERNEL, SCAN, RefusedError
from runner.sandbox.child import BLOCKED, fork_stage
from runner.sandbox.isolate import isolate
from runner.sandbox.network_log import Watch
from runner.sandbox.process_tree import ProcessTree, has_ended, open_tags
from runner.sandbox.protocol import START, Wire, frame
from runner.sandbox.spawn import Spawner
from runner.sandbox.started import Started

TYPE_CHECKING = False  # as typing has it, whose import would take a fifth of the launcher's start
if TYPE_CHECKING:
    import signal
    from typing import NoReturn

    from runner.sandbox.forkserver import ForkServer
    from runner.sandbox.isolate import Isolation
    from runner.sandbox.process_tree import Tags
    from runner.sandbox.protocol import Report, Request
else:
    import _signal as signal  # `signal` itself builds enums, which costs a start 3 ms

LOOK_AGAIN = 0.005  # seconds between looks at killed processes that have not ended yet


class Service:
    """The loop: requests, ends of processes and time limits, one after the other. Nothing in it may block."""

    def __init__(
        self, requests: int, replies: int, runner: int, tree: ProcessTree, tags: Tags | None,
        isolation: Isolation, server: ForkServer | None,
    ) -> None:  # fmt: skip
        """`runner` is our parent, unless that is outside our pid namespace: then the kernel kills us with it."""
        self._tree = tree
        self._isolation = isolation
        self._server = server
        # A warm launcher forks interpreters, so it has no threads.
        can_spawn = tree.takes_all and server is None
        self._spawner = Spawner(tree, tags, isolation) if tags is not None and can_spawn else None
        self._watch = Watch(isolation.listener, tree) if isolation.listener else None
        self._running: dict[int, Started] = {}  # main process -> stage
        self._ended: dict[int, Started] = {}  # key in the tree -> a stage that may have left something
        self._closing = False
        self._runner = runner
        self._poll = select.poll()
        self._wire = Wire(requests, replies, self._poll)
        self._wakeup, write_end = os.pipe()
        for descriptor in (self._wakeup, write_end):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self._poll.register(self._wakeup, select.POLLIN)
        if isolation.listener:
            self._poll.register(isolation.listener.descriptor, select.POLLIN)

    def serve(self) -> None:
        """Serve until the runner is gone and nothing of any stage is left."""
        self.tell("ready", (self._isolation.process, self._isolation.layers))
        while not self._closing or self._running or self._ended:
            events = dict(self._poll.poll(self._patience()))
            if self._wakeup in events:
                os.read(self._wakeup, 65536)
            if self._watch and self._watch.descriptor in events:
                self._watch.answer(
                    {one.key: one.tally for each in (self._ended, self._running) for one in each.values()}
                )
            self._reap()
            if self._wire.requests in events:
                self._read_requests()
            if os.getppid() != self._runner:
                self._close()
            self._keep_time()
            self._tell_of_networks()
            if not self._wire.flush():
                self._close()

    def tell(self, kind: str, content: Report) -> None:
        """Queue one report."""
        if not self._wire.tell(kind, content):
            self._close()

    def end_everything(self) -> None:
        """After a crash of the loop: leave nothing behind, then end."""
        running = {pid: stage.key for pid, stage in self._running.items()}
        self._tree.send(running, signal.SIGKILL)
        try:
            while True:
                os.wait4(-1, 0)
                self._tree.kill_left((), {*self._ended, *running.values()}, childless=False)
        except ChildProcessError:
            pass

    def _patience(self) -> float | None:
        """Return the milliseconds until something is due; None if nothing is."""
        if self._ended:
            return LOOK_AGAIN * 1000
        times = [time for stage in self._running.values() for time in (stage.deadline, stage.tally.due)]
        due = [time for time in times if time is not None]
        return min(max(0.0, min(due) - time.monotonic()) * 1000 + 1, 60_000) if due else None

    def _read_requests(self) -> None:
        """Raises Forked in the child that is a Python stage."""
        requests = self._wire.receive()
        if requests is None:
            self._close()
            return
        for verb, content in requests:
            if self._closing:
                return  # a stage that started now would not be killed
            if verb == "launch":
                self._launch(content)
            elif verb == "load":
                if self._server is not None:
                    self._server.load(content)
            else:
                self._stop(signal.SIGKILL if verb == "kill" else signal.SIGTERM)

    def _close(self) -> None:
        """The runner is gone: take no more requests, and kill every stage."""
        if not self._closing:
            self._closing = True
            self._wire.close()
            self._stop(signal.SIGKILL)

    def _launch(self, request: Request) -> None:
        """Raises Forked in the child that is a Python stage."""
        started = time.monotonic()
        try:
            pid, key, report = self._start(request)
        except OSError as error:
            self.tell("exit", Started.never(request, b"%d starting a process" % (error.errno or 0)))
            return
        self._running[pid] = Started(request, key, report, started)

    def _start(self, request: Request) -> tuple[int, int, int | None]:
        """Start one stage; return its process, its key and, if it may still fail, the descriptor of fork_stage.

        A warm launcher forks itself for a Python stage. One that is not warm starts programs without a fork, if it can.
        In all other cases a fork executes the program. Raises OSError if there is no descriptor or process.
        """
        if self._spawner is not None and (spawned := self._spawner.spawn(request)) is not None:
            return *spawned, None
        program = None if self._server is None else self._server.program(request)
        number = self._tree.begin()
        pid, report = fork_stage(request, self._tree, number, self._isolation, program)
        return pid, self._tree.key(number, pid), report

    def _stop(self, number: int) -> None:
        self._send([pid for pid, stage in self._running.items() if number == signal.SIGKILL or not stage.sent], number)

    def _send(self, mains: list[int], number: int) -> None:
        """Signal those that have not ended yet: the report of one that had must not call it signalled."""
        alive = [pid for pid in mains if not has_ended(pid)]
        for pid in alive:
            stage = self._running[pid]
            stage.sent = True
            stage.deadline = None if number == signal.SIGKILL else time.monotonic() + stage.grace
        self._tree.send({pid: self._running[pid].key for pid in alive}, number)

    def _keep_time(self) -> None:
        now = time.monotonic()
        over: dict[int, list[int]] = {}  # signal -> main processes
        for pid, stage in self._running.items():
            if stage.deadline is not None and stage.deadline <= now:
                stage.deadline = None
                stage.timed_out = stage.timed_out or (not stage.sent and not has_ended(pid))
                over.setdefault(signal.SIGKILL if stage.sent else signal.SIGTERM, []).append(pid)
        for number, mains in over.items():
            self._send(mains, number)

    def _tell_of_networks(self) -> None:
        now = time.monotonic()
        for stage in self._running.values():
            if stage.tally.due is not None and stage.tally.due <= now:
                self.tell("asked", (stage.id, stage.tally.new()))

    def _reap(self) -> None:
        """Reap every process that ended; report the stages of which nothing is left."""
        childless = False
        while not childless:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                childless = True
                continue
            if pid == 0:
                break
            if pid in self._running:
                stage = self._running.pop(pid)
                self._ended[stage.key] = stage
                stage.end(status, usage, time.monotonic())
        if self._ended and not self._sweep(childless=childless):
            for stage in self._ended.values():
                if self._spawner is not None:
                    self._spawner.over(stage.key)
                self.tell("exit", stage.as_report())
            self._ended.clear()

    def _sweep(self, *, childless: bool) -> bool:
        """Kill what ended stages left; False if there was nothing."""
        found = self._tree.kill_left(self._running, self._ended, childless=childless)
        for pid, key in found.items():
            self._ended[key].left.add(pid)
        return bool(found)


def _take_descriptors() -> tuple[int, int]:
    """Move the two pipes off stdio, and close everything else, so that a stage inherits nothing by accident."""
    try:
        inherited = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        inherited = list(range(1024))
    for descriptor in inherited:
        if descriptor > 2:
            try:
                os.close(descriptor)
            except OSError:
                pass  # the one that listed them
    requests, replies = os.dup(0), os.dup(1)
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    return requests, replies


def _isolated(level: str, runner: int, descriptors: tuple[int, int]) -> Isolation:
    """Enter the level; or report why not, and end, because what was entered so far cannot be left."""
    try:
        return isolate(level, runner, descriptors)
    except RefusedError as error:
        os.write(descriptors[1], START + frame("refused", error.args))
        os._exit(0)
    except BaseException:  # noqa: BLE001 - this process has no stderr
        os.write(descriptors[1], START + frame("crash", _traceback()))
        os._exit(70)


def _traceback() -> str:
    import traceback

    return traceback.format_exc()


def main(server: ForkServer | None) -> NoReturn:
    """Leave the runner's session, block signals that a terminal sends to all, and serve. Raises Forked in a child."""
    signal.pthread_sigmask(signal.SIG_SETMASK, BLOCKED)
    for number in signal.valid_signals():
        # Ignored by the runner's parent or Python, or handled by Python or a .pth file: a stage starts clean.
        if number in BLOCKED or signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if os.getsid(0) != os.getpid():
        os.setsid()
    level, runner = sys.argv[1], int(sys.argv[2])
    descriptors = _take_descriptors()
    isolation = _isolated(level, runner, descriptors)
    tags = open_tags(isolation.layers) if level != SCAN else None
    tree = ProcessTree(tags)
    tree.enter_launcher(dies_with_runner=level == KERNEL)
    service = Service(*descriptors, runner if level != KERNEL else os.getppid(), tree, tags, isolation, server)
    try:
        service.serve()
    except Exception:  # noqa: BLE001 - this process has no stderr
        service.tell("crash", _traceback())
        service.end_everything()
        os._exit(70)
    os._exit(0)  # finalising the interpreter would take as long as several stages
