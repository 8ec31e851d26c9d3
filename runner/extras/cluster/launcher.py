"""The launcher of a run on a cluster: each launch is a task of Dask, which one of the usable workers executes.

The lease of a launch (see `shared`) decides which execution may start it. If the runner gives up a launch that has not
started, it takes the lease itself, so that no execution starts the launch.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from runner.errors import Fault, OfflineError, OffpipeError, StateError
from runner.extras.cluster import shared
from runner.extras.cluster.connection import Connection
from runner.extras.cluster.worker import ENDED, Member, Outcome, end_stages, execute, join
from runner.interrupts import GRACE
from runner.levels import KERNEL, LEVELS, POSSIBLE, SCAN
from runner.record import files
from runner.results import AttemptResult
from runner.sandbox.launcher import Launch, Launcher, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from distributed import Future

    from runner.spec.model import Spec

CLOCKS = 2.0  # seconds by which the clocks of a worker and of the runner may differ
PATIENCE = 5.0  # seconds for the end of the last stages, and for other workers to join after the first
_JOIN = f"{join.__module__}:{join.__name__}"
_MOMENT = 0.1  # seconds
_WHERE = "see docs/cluster.md, which says which workers a run uses"


class Settings(NamedTuple):
    """Which cluster, and how to use it.

    `address`: of the scheduler, the path of its scheduler file, or `local:N` to start `local` = N workers here. The run
    waits `wait` seconds for a worker, and `latency` seconds until files look the same on all machines. `strict`: only
    workers that keep stages offline count.
    """

    address: str
    local: int
    wait: float
    latency: float
    strict: bool


class Invited(NamedTuple):
    """A worker that was invited to join, at the time `since`. Its session lasts as long as this holds the `future`.

    It becomes a `member`, or is left out for an `error`.
    """

    future: Future[Any]
    since: float
    member: Member | None = None
    error: OffpipeError | None = None


class Flight(NamedTuple):
    """A launch that has not ended, and the workers that may execute it, with the keys of their sessions' `join`."""

    launch: Launch
    future: Future[Any]
    workers: Mapping[str, str]


class ClusterLauncher(Launcher):
    """Starts the stages of a run on the workers of a cluster. `pid` is that of the runner: nothing here outlives it.

    Raises StateError (74) if the scheduler cannot be reached or is gone, if no worker is usable in time, or if locks do
    not work; OfflineError if no worker has a level that is good enough, and nothing else is wrong. `warn` gets each
    worker that is left out. `check` raises when a signal has arrived.
    """

    def __init__(
        self,
        settings: Settings,
        spec: Spec,
        fork_env: Mapping[str, str] | None,
        warn: Callable[[Fault], None],
        check: Callable[[], None],
    ) -> None:
        super().__init__(os.getpid(), -1, -1, KERNEL, fork_env)  # without pipes
        self._settings = settings
        self._paths = spec.paths
        self._has_sealed = spec.has_sealed
        self._terms: tuple[object, ...] = ()  # on which workers join, see `join`
        self._lowest = LEVELS[1] if settings.strict else SCAN
        self._warn = warn
        self._check = check
        self._directory = f"{spec.paths.temporary}/cluster-{os.urandom(8).hex()}"
        self._connection = Connection(settings.address, settings.local, self._directory, self._note_workers)
        self._workers: Mapping[str, Mapping[str, Any]] = {}  # of the cluster, by address
        self._invited: dict[str, Invited] = {}  # by address
        self._waiting: list[tuple[float, Launch]] = []  # for a worker, each since a time
        self._until = float("inf")  # when to give up the launches of workers that do not answer
        self._flights: dict[int, Flight] = {}  # by launch
        self._arriving: dict[int, tuple[float, Outcome]] = {}  # outputs are not visible here yet; each with a deadline
        self._ended: list[Report] = []

    # ---- before the run ----

    def load(self, modules: Collection[str], distributions: Collection[str] = ()) -> None:
        """Let the fork servers of all workers import these modules; leave out workers with other `distributions`.

        Each distribution is "name version", or several of them, separated by commas.
        """
        names = sorted({each.split()[0] for several in distributions for each in several.split(", ") if each})
        locked = self._paths.pipeline_lock
        self._terms = shared.versions(names), names, self._directory, self._fork_env, sorted(modules), locked

    def await_ready(self) -> None:
        """Connect, let the workers join, and wait for a usable one. Wait a little for others, which may be busy."""
        files.make_directories(self._directory)
        where, local = self._settings.address, self._settings.local
        deadline = time.monotonic() + self._settings.wait
        while True:
            self._check()
            try:
                self._connection.open()
                break
            except StateError:
                if local or time.monotonic() > deadline:
                    raise
                time.sleep(_MOMENT)
        soon = time.monotonic() + PATIENCE
        while not (members := self._members.values()) or (
            time.monotonic() < soon and (self._joining or len(self._invited) < local)
        ):
            self._check()
            self._await_news()
            if not members and time.monotonic() > deadline:
                raise self._no_worker()
        self._lowest = max((member.layers["level"] for member in members), key=LEVELS.index)
        nodes = ", ".join(f"{member.node} ({member.layers['level']})" for member in members)
        lowest = [member for member in members if member.layers["level"] == self._lowest]
        weakest = min(lowest, key=lambda member: member.layers.get("views") == POSSIBLE)  # all must have views
        self.layers = {**weakest.layers, "cluster": where, "workers": nodes}
        views = self.layers.pop("views", None)
        if self._has_sealed and views:
            self.layers["views"] = views.replace("none:", f"none: worker {weakest.node}:")

    @property
    def _members(self) -> dict[str, Member]:
        """The usable workers, by address."""
        return {address: invited.member for address, invited in self._invited.items() if invited.member}

    @property
    def _joining(self) -> int:
        return sum(not (invited.member or invited.error) for invited in self._invited.values())

    def _await_news(self) -> None:
        """Wait a moment for news, and take it."""
        select.select([self.fileno()], [], [], _MOMENT)
        self._connection.make_calls()

    def _no_worker(self) -> OffpipeError:
        errors = [invited.error for invited in self._invited.values() if invited.error]
        faults = [fault for error in errors for fault in error.faults]
        if errors and all(isinstance(error, OfflineError) for error in errors):
            return OfflineError(*faults)
        busy = f", {self._joining} at work for others" if self._joining else ""
        what = f"no usable worker within {self._settings.wait:g} s{busy}"
        fault = Fault(self._settings.address, what, "start workers, or wait longer with --cluster-wait")
        return StateError(fault, *faults)

    def capacity(self, jobs: int | None) -> tuple[int, float]:
        """Return as many jobs as the usable workers have threads: a launch should not wait while other workers join."""
        threads = sum(self._workers[address]["nthreads"] for address in self._members)
        return min(jobs or threads, threads), float("inf")  # Dask sees to the memory of each worker

    # ---- during the run ----

    def fileno(self) -> int:
        return self._connection.fileno()

    def submit(self, launch: Launch) -> None:
        """Give a launch to Dask, which chooses among the usable workers. Without any, the launch waits for one."""
        self._waiting.append((time.monotonic(), launch))
        self._submit_waiting()

    def _submit_waiting(self) -> None:
        self._connection.refuse_gone()
        waiting, self._waiting = self._waiting, []
        for since, launch in waiting:
            needs = {"cpus": launch.cpus or 1, "memoryMiB": launch.memory_mib or 0}
            able = [address for address in self._members if self._can_take(address, needs)]
            what = "no worker has " + " and ".join(f"{name}={number}" for name, number in needs.items() if number)
            if able:
                self._give_to_dask(launch, needs, able)
            elif time.monotonic() <= since + self._settings.wait:
                self._waiting.append((since, launch))
                if self._members:
                    self._warn(Fault(self._settings.address, f"{what}: a stage waits for one", _WHERE))
            elif self._members:
                self._lose(launch.id, what)
            else:
                raise self._no_worker()

    def _can_take(self, address: str, needs: Mapping[str, float]) -> bool:
        worker = self._workers[address]
        memory_mib = worker["memory_limit"] / (1 << 20) or float("inf")
        has = {"cpus": worker["nthreads"], "memoryMiB": memory_mib, **worker["resources"]}
        return all(has[name] >= number for name, number in needs.items())

    def _give_to_dask(self, launch: Launch, needs: Mapping[str, float], able: Collection[str]) -> None:
        expected = {path: shared.identity(path) for path in launch.reads}
        expected |= {path: shared.identity(path, follow=False) for path in launch.writes}
        counted = set.intersection(*(set(self._workers[address]["resources"]) for address in able))
        takes = {name: number for name, number in needs.items() if number and name in counted}
        arguments = self._directory, launch._replace(reads=()), expected, self._settings.latency
        future = self._connection.submit(able, takes, partial(self._note_outcome, launch.id), execute, *arguments)
        sessions = {address: str(self._invited[address].future.key) for address in able}
        self._flights[launch.id] = Flight(launch, future, sessions)

    def receive(self) -> list[Report]:
        """Return the reports since the last call, without waiting."""
        self._connection.make_calls()
        self._submit_waiting()
        self._report_arrived()
        if time.monotonic() > self._until:
            for launch in [*self._flights]:
                self._lose(launch, "its worker did not answer when it had to end")
        reports, self._ended = self._ended, []
        return reports

    def _end_all(self, verb: str) -> None:
        """`terminate` or `kill` every launch. One that has not started yet never will."""
        unstarted = {launch.id for _, launch in self._waiting}
        for launch in (*self._flights, *unstarted):
            with suppress(StateError):  # its worker refuses to start it, too, or ends it
                if shared.take_lease(self._directory, launch):
                    unstarted.add(launch)
        for launch in unstarted:
            self._report(AttemptResult(0, signal=signal.SIGTERM, sent=True, launch=launch))
        self._waiting.clear()
        grace = GRACE if verb == "terminate" else 0.0
        self._until = min(self._until, time.monotonic() + grace + PATIENCE)
        self._connection.call(self._members, end_stages, self._directory, verb)

    def close(self) -> None:
        """Kill every process of every launch, and leave the cluster. May be called again."""
        deadline = time.monotonic() + PATIENCE
        with suppress(OffpipeError):  # the scheduler may be gone
            if self._flights:
                self.kill()
            while self._flights and time.monotonic() < deadline:
                self._await_news()
        self._flights.clear()
        self._connection.close()
        files.discard(self._directory)  # no execution can start any more

    # ---- workers ----

    def _note_workers(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Give up the workers that are gone, and invite those that are new."""
        self._workers = workers
        gone = self._invited.keys() - workers.keys()
        for address in gone:
            del self._invited[address]
        for launch, flight in [*self._flights.items()] if gone else []:
            holder, _ = shared.lease_holder(self._directory, launch)
            if holder in gone or flight.workers.keys().isdisjoint(workers):
                self._lose_or_requeue(launch, ENDED)
        self._invite_all()
        if not (self._joining or self._members):
            self._warn(Fault(self._settings.address, "no worker is usable: the run waits for one"))  # shown once

    def _invite_all(self) -> None:
        """Invite each worker that has no session."""
        for address in self._workers.keys() - self._invited.keys():
            on_end = partial(self._note_joined, address)
            future = self._connection.submit_by_name(address, on_end, _JOIN, *self._terms)
            self._invited[address] = Invited(future, time.time())

    def _note_joined(self, address: str, key: str, member: Member | None, error: str) -> None:
        invited = self._invited.get(address)
        if invited is None or invited.future.key != key:
            return  # it was given up
        self._invited[address] = invited._replace(member=member)
        if misfit := next(self._misfits(invited.since, member, error), None):
            self._leave_out(address, *misfit)

    def _leave_out(self, address: str, kind: type[OffpipeError], what: str) -> None:
        invited, worker = self._invited[address], self._workers[address]
        name = invited.member.node if invited.member else worker["name"]
        fault = Fault(f"worker {name}", f"left out: {what}", _WHERE)
        self._invited[address] = invited._replace(member=None, error=kind(fault))
        self._warn(fault)

    def _misfits(self, since: float, member: Member | None, error: str) -> Iterator[tuple[type[OffpipeError], str]]:
        """Yield why a worker cannot be used. Raises StateError if locks do not work."""
        if member is None:
            yield StateError, error
            return
        if shared.take_lease(self._directory, member.wrote):
            yield StateError, f"it does not share the directory {self._paths.state_dir}"
        if not since - CLOCKS <= member.time <= time.time() + CLOCKS:
            yield StateError, f"its clock differs by {member.time - time.time():,.0f} s"
        level = member.layers["level"]
        if LEVELS.index(level) > LEVELS.index(self._lowest):
            yield OfflineError, f"it keeps stages offline at level {level} only, and this run needs {self._lowest}"
        views = member.layers.get("views", "")
        if self.layers.get("views") == POSSIBLE != views:  # never at the start, when `layers` is not known
            yield OfflineError, f"it gives sealed stages no views: {views.removeprefix('none: ')}"
        if member.has_locked:
            what = f"worker {member.node} can lock it, although this run holds the lock: locks do not work here"
            raise StateError(Fault(self._paths.pipeline_lock, what, "put locksDir on a file system with working locks"))

    # ---- launches ----

    def _note_outcome(self, launch: int, key: str, outcome: Outcome | None, error: str) -> None:
        flight = self._flights.get(launch)
        if flight is None or flight.future.key != key:
            return  # it was given up
        if outcome is None:
            self._lose(launch, error)
        elif outcome.lost:
            invited = self._invited.get(outcome.ended)
            if invited and invited.future.key == flight.workers.get(outcome.ended):  # else it has a new session
                del self._invited[outcome.ended]
                self._invite_all()
            if outcome.unfit in self._members:
                self._leave_out(outcome.unfit, StateError, outcome.lost)
            self._lose_or_requeue(launch, outcome.lost)
        else:
            del self._flights[launch]
            self._arriving[launch] = time.monotonic() + self._settings.latency, outcome

    def _report_arrived(self) -> None:
        """Report the attempts whose outputs can be seen here as their workers left them."""
        for launch, (until, outcome) in [*self._arriving.items()]:
            if not (late := shared.differing(outcome.written, outcome.written)):
                del self._arriving[launch]
                self._ended += outcome.reports
            elif time.monotonic() > until:
                self._lose(launch, f"{late} is not as its worker left it, after {self._settings.latency:g} s")

    def _lose_or_requeue(self, launch: int, why: str) -> None:
        """Give up a launch whose execution ended without a result. If it has not started, it waits for another one."""
        if shared.is_leased(self._directory, launch):
            self._lose(launch, why)
        else:  # if the worker starts it after all, that takes the lease, and the other execution is lost
            self._waiting.append((time.monotonic(), self._flights.pop(launch).launch))

    def _lose(self, launch: int, why: str) -> None:
        self._report(AttemptResult(0, launch=launch, lost=why, node=shared.lease_holder(self._directory, launch)[1]))

    def _report(self, result: AttemptResult) -> None:
        self._flights.pop(result.launch, None)
        self._arriving.pop(result.launch, None)
        self._ended.append(result)
        self._connection.wake()
