"""Runs in a *worker* of Dask: a session for each run, and the executions of its attempts.

The runner calls `join`, `execute` and `end_stages` here.
A session is one launcher program and the thread that serves it; the thread has to live as long, because a launcher at
level `kernel` dies with the thread that started it. The session lasts as long as the result of its `join` is in the
worker's memory. Dask removes that when the run no longer wants it, when the run's connection is gone, and when the
worker itself was given up. Then the launcher ends, and with it every stage of the run.
"""

from __future__ import annotations

import os
import select
import signal
import time
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, NamedTuple

from distributed import Worker, get_worker
from distributed.core import Status

from runner.errors import Fault, InputError, OffpipeError, StateError
from runner.extras.cluster import shared
from runner.levels import KERNEL
from runner.plan.digests import DigestCache
from runner.record.locks import lock
from runner.results import AttemptResult
from runner.sandbox.guard import settle
from runner.sandbox.launcher import Launch, Launcher, NetworkReport, Report

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LOOK = 50  # milliseconds between two checks whether the session is still wanted
ENDED = "its worker or its launcher died, or was given up"


class Member(NamedTuple):
    """A worker that has joined. `node` is HOST/WORKER, and `wrote` the lease that it took in the run's directory.

    `time` is its clock, in seconds since 1970. `has_locked`: it could lock what the runner holds locked.
    """

    node: str
    layers: dict[str, str]
    wrote: str
    time: float
    has_locked: bool


class Outcome(NamedTuple):
    """How an execution ended: with the `reports` of its launcher and the identities of what was `written`, or `lost`.

    `lost` says why. `ended`: the address of the worker, if its session has ended. `unfit`: its address, if each
    attempt there would be lost like this.
    """

    reports: tuple[Report, ...] = ()
    written: Mapping[str, str] = {}
    lost: str = ""
    ended: str = ""
    unfit: str = ""


_sessions: dict[str, Session] = {}  # by the directory of the run's leases
_programs = DigestCache()


def join(
    wanted: list[str],
    names: list[str],
    directory: str,
    fork_env: Mapping[str, str] | None,
    modules: list[str],
    locked: str,
) -> Member:
    """Start the session of a run in this worker, and return what the runner checks.

    The runner may be of another release, so these parameters never change.
    `wanted` are the runner's versions of `names`, see `shared`. `directory` is that of the leases.
    `fork_env` and `modules`: see `Launcher.start` and `Launcher.load`. `locked`: the file that the runner has locked.
    Raises StateError if the worker has other versions, or cannot write to the directory. Raises the error that kept its
    launcher from starting.
    """
    for ours, theirs in zip(shared.versions(names), wanted, strict=True):
        if ours != theirs:
            raise StateError(Fault("", f"it has {ours}, and the runner {theirs}"))
    worker, wrote = get_worker(), os.urandom(8).hex()
    shared.take_lease(directory, wrote)
    session = _sessions[directory] = Session(worker, directory, fork_env, modules)
    layers = session.layers.result()  # raises what prevented it
    descriptor = lock(locked)
    if descriptor is not None:
        os.close(descriptor)
    return Member(session.node, layers, wrote, time.time(), descriptor is not None)


def execute(directory: str, launch: Launch, expected: Mapping[str, str], latency: float) -> Outcome:
    """Run one launch, unless an earlier execution of the same task has taken its lease.

    `expected` are the identities of its files for the runner; they must be the same here within `latency` seconds.
    """
    address, session = get_worker().address, _sessions.get(directory)
    if session is None:
        return Outcome(lost=ENDED, ended=address)
    try:
        is_mine = shared.take_lease(directory, launch.id, f"{address} {session.node}")
    except StateError as error:
        return Outcome(lost=error.faults[0].line, unfit=address)
    if not is_mine:
        return Outcome(lost=ENDED)
    if late := session.await_files(expected, launch.writes, latency):
        return Outcome(lost=f"{late} is not as the runner sees it, after {latency:g} s")
    digest, program = None, launch.program or launch.argv[0]
    with suppress(OSError, InputError):  # it may be executable and not readable
        digest = _programs.file(program).sha256
    if launch.program_sha256 not in (None, digest):
        return Outcome(lost=f"it has another version of {program}", unfit=address)
    outcome = session.run(launch._replace(program_sha256=digest))
    return outcome._replace(written={path: shared.identity(path, follow=False) for path in launch.writes})


def end_stages(directory: str, verb: str) -> None:
    """`terminate` or `kill` all stages of a run in this worker."""
    if session := _sessions.get(directory):
        session.request(verb)


class Session:
    """The launcher of one run in this worker, and the thread that serves it. `layers`: those of the launcher."""

    def __init__(self, worker: Worker, directory: str, fork_env: Mapping[str, str] | None, modules: list[str]) -> None:
        """Called by `join`, in its task of Dask."""
        self.node = f"{os.uname().nodename}/{worker.name}"
        self._worker = worker
        self._key = str(worker.get_current_task())
        self.layers: Future[dict[str, str]] = Future()
        self._wakeup, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._requests: SimpleQueue[Launch | str] = SimpleQueue()
        self._waiting: dict[int, tuple[Launch, Future[Outcome]]] = {}
        self._network: dict[int, list[NetworkReport]] = {}
        self._is_stopping = False
        self._is_over = False
        self._lock = Lock()  # of `_is_over` and the pipe
        Thread(target=self._serve, args=(directory, fork_env, modules), name="offpipe", daemon=True).start()

    def await_files(self, expected: Mapping[str, str], written: Collection[str], latency: float) -> str:
        """Wait until files have these identities; return the path of one that does not have it in time, else ""."""
        deadline = time.monotonic() + latency
        while (late := shared.differing(expected, written)) and not (self._is_stopping or self._is_over):
            if time.monotonic() > deadline:
                return late
            time.sleep(LOOK / 1000)
        return ""

    def run(self, launch: Launch) -> Outcome:
        """Run a launch, which has the digest of the program on this machine, to its end or that of the session."""
        answer: Future[Outcome] = Future()
        self._waiting[launch.id] = launch, answer
        if not self.request(launch):
            return Outcome(lost=ENDED, ended=self._worker.address)
        return answer.result()

    def request(self, request: Launch | str) -> bool:
        """Let the thread start a launch, or carry out `terminate` or `kill`; False if the session is over."""
        with self._lock:
            if not self._is_over:
                self._requests.put(request)
                os.write(self._write_end, b"!")
            return not self._is_over

    def _carry_out(self, launcher: Launcher, request: Launch | str) -> None:
        if isinstance(request, str):
            self._is_stopping = True  # nothing starts any more
            getattr(launcher, request)()
        elif self._is_stopping:
            stopped = AttemptResult(0, signal=signal.SIGTERM, sent=True, launch=request.id)
            self._waiting.pop(request.id)[1].set_result(Outcome((stopped,)))
        else:
            launcher.submit(request)

    def _is_wanted(self) -> bool:
        """Whether Dask still keeps the result of `join`, or still runs it. Changes nothing: it is in another thread."""
        task = self._worker.state.tasks.get(self._key)
        is_up = self._worker.status in (Status.running, Status.paused)
        return is_up and task is not None and task.state in ("executing", "memory", "long-running")

    def _serve(self, directory: str, fork_env: Mapping[str, str] | None, modules: list[str]) -> None:
        """Runs in the *thread*."""
        why = ENDED
        try:
            launcher = Launcher.start(KERNEL, fork_env=fork_env, views=True)
            launcher.load(modules)
            with settle(launcher, strict=False) as launcher:
                self.layers.set_result(launcher.layers)
                poll = select.poll()
                poll.register(self._wakeup, select.POLLIN)
                poll.register(launcher.fileno(), select.POLLIN)
                while self._is_wanted():
                    if self._wakeup in dict(poll.poll(LOOK)):
                        os.read(self._wakeup, 512)
                    while not self._requests.empty():
                        self._carry_out(launcher, self._requests.get())
                    self._report(launcher)
        except Exception as error:  # noqa: BLE001 - the runner reports it
            if not self.layers.done():
                self.layers.set_exception(error)
            why = error.faults[0].line if isinstance(error, OffpipeError) else repr(error)
        finally:
            if _sessions.get(directory) is self:
                del _sessions[directory]
            with self._lock:
                self._is_over = True
                os.close(self._wakeup)
                os.close(self._write_end)
            for _, answer in [*self._waiting.values()]:
                answer.set_result(Outcome(lost=why, ended=self._worker.address))

    def _report(self, launcher: Launcher) -> None:
        for report in launcher.receive():
            if isinstance(report, NetworkReport):
                self._network.setdefault(report.launch, []).append(report)
            else:
                launch, answer = self._waiting.pop(report.launch)
                ended = report._replace(node=self.node, program_sha256=launch.program_sha256)
                answer.set_result(Outcome((*self._network.pop(launch.id, ()), ended)))
