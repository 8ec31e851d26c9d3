"""The runner's connection to a cluster: the only module on the runner's side that calls Dask.

Dask works in a thread of its own. Whatever it reports becomes a call that is due. The run's loop makes these calls when
`fileno` is readable.
"""

from __future__ import annotations

import asyncio
import json
import logging
import operator
import os
import signal
import socket
from collections import deque
from contextlib import suppress
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import dask

from runner.errors import Fault, OffpipeError, StateError, UsageError
from runner.interrupts import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distributed import Future

    # Called with the key of a task, its result, and the reason if there is none.
    OnEnd = Callable[[str, Any, str], None]

WATCH = 0.5  # seconds between two questions about the cluster's workers
CONNECT = 2.0  # seconds that one try may take
_UNKNOWN = (socket.EAI_NONAME, socket.EAI_NODATA)  # not EAI_AGAIN: the name server may answer later
# Dask's logging and warnings, also those of local workers, stay away from stderr. `distributed` reads this when it is
# first imported, so this module imports it only in functions.
_NOWHERE = {"none": {"class": "logging.NullHandler"}}
_SILENT = {"version": 1, "disable_existing_loggers": False, "handlers": _NOWHERE, "root": {"handlers": ["none"]}}
dask.config.set({"logging": _SILENT, "distributed.nanny.pre-spawn-environ.DASK_LOGGING": repr(_SILENT)})
logging.captureWarnings(capture=True)


class Connection:
    """A client of a scheduler, and the scheduler and workers themselves for `local:N`.

    Every `WATCH` seconds it calls `watcher` with what the scheduler knows of each worker, by address.
    """

    def __init__(self, address: str, local: int, directory: str, watcher: Callable[[dict[str, Any]], None]) -> None:
        self._where = address, local, directory
        self._watcher = watcher
        self._due: deque[Callable[[], None]] = deque()
        self._reads, self._writes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._is_closing = False
        self._local: Any = None  # Dask has few types
        self._client: Any = None

    def open(self) -> None:
        """Connect to the scheduler at `address`. If `local` is not 0, start so many workers, which use the `directory`.

        Raises StateError if there is no scheduler yet. The caller may try again.
        """
        from distributed import Client

        address, local, directory = self._where
        try:
            if local:
                server = self._local = _start_local(local, directory)
            else:
                server = address = _address(address)
                asyncio.run(asyncio.wait_for(_reach(address), CONNECT))  # `Client` may wait for an answer for ever
            self._client = Client(server, timeout=CONNECT, set_as_default=False)  # type: ignore[no-untyped-call]
        except Exception as error:
            why = str(error) or f"no answer within {CONNECT:g} s"
            hint = "is it running? does Dask's configuration name the files for TLS, if it uses TLS?"
            raise StateError(Fault(address, f"cannot connect to the scheduler: {why}", hint)) from error
        self._client.loop.add_callback(self._watch)

    def fileno(self) -> int:
        """Return the descriptor that is readable when a call is due."""
        return self._reads

    def make_calls(self) -> None:
        """Make the calls that are due. Raises StateError if the scheduler is gone."""
        with suppress(BlockingIOError):
            os.read(self._reads, 512)
        while self._due:
            self.refuse_gone()  # else all tasks have ended with errors
            self._due.popleft()()
        self.refuse_gone()

    def refuse_gone(self) -> None:
        """Raise StateError if the scheduler is gone."""
        if self._client.status != "running":
            where = str(self._client.scheduler.address) if self._client.scheduler else "cluster"
            raise StateError(Fault(where, "the scheduler is gone", "start it, and run the same command again to go on"))

    def submit(
        self,
        workers: Iterable[str],
        needs: dict[str, float],
        on_end: OnEnd,
        function: Callable[..., object],
        *arguments: object,
    ) -> Future[Any]:
        """Let one of these workers call a function when it has what the call `needs`; then call `on_end` here."""
        future: Future[Any] = self._client.submit(
            function,
            *arguments,
            key=f"offpipe_{function.__name__}-{os.urandom(8).hex()}",
            workers=[*workers],
            allow_other_workers=False,
            resources=needs or None,
        )
        self._client.loop.add_callback(self._follow, future, on_end)
        return future

    def submit_by_name(self, worker: str, on_end: OnEnd, name: str, *arguments: object) -> Future[Any]:
        """Like `submit`, for a `module:function` that the worker may lack. Dask ends a worker that lacks a function."""
        function = self._client.submit(resolve_name, name, workers=[worker], pure=False)
        return self.submit([worker], {}, on_end, operator.call, function, *arguments)

    def call(self, workers: Iterable[str], function: Callable[..., object], *arguments: object) -> None:
        """Let each of these workers call a function at once, beside its tasks. Does not wait for them."""
        self._client.loop.add_callback(self._client.run, function, *arguments, workers=[*workers], on_error="ignore")

    def wake(self) -> None:
        """Make `fileno` readable, in any thread."""
        with suppress(OSError):  # it is full, so the reader wakes anyway, or closed
            os.write(self._writes, b"!")

    def close(self) -> None:
        """Release every task, and end what was started here. May be called again."""
        if self._is_closing:
            return
        self._is_closing = True
        for opened in filter(None, (self._client, self._local)):
            with suppress(OSError, TimeoutError):
                opened.close()
        os.close(self._reads)
        os.close(self._writes)

    # ---- in the thread of Dask ----

    async def _follow(self, future: Future[Any], on_end: OnEnd) -> None:
        try:
            ended = (await future, "")
        except OffpipeError as error:
            ended = (None, error.faults[0].line)
        except BaseException as error:  # noqa: BLE001 - a cancelled task, or any error of Dask or of the worker
            ended = (None, f"{type(error).__name__}: {error}")
        self._due.append(partial(on_end, str(future.key), *ended))
        self.wake()

    async def _watch(self) -> None:
        """Ask the scheduler for its workers, and wake the run's loop even if there is no answer.

        The loop then checks the time, and whether the scheduler is gone.
        """
        while not self._is_closing:
            with suppress(OSError, TimeoutError):
                answer = await asyncio.wait_for(self._client.scheduler.identity(n_workers=-1), CONNECT)
                self._due.append(partial(self._watcher, answer["workers"]))
            self.wake()
            await asyncio.sleep(WATCH)


def refuse_unknown_host(name: str) -> None:
    """Raise UsageError if no host has this name, or address."""
    try:
        socket.getaddrinfo(name.strip("[]"), None)
    except (OSError, UnicodeError) as error:  # UnicodeError: it cannot even be looked up
        if isinstance(error, UnicodeError) or error.errno in _UNKNOWN:
            fault = Fault("--cluster", f'no host has the name "{name}"', "is it spelled correctly?")
            raise UsageError(fault) from error


def _address(where: str) -> str:
    """Return the address of a scheduler, which may be in a file. Raises OSError or ValueError until it is there."""
    if "://" in where:
        return where
    with open(where, "rb") as file:
        content = json.load(file)
    if not isinstance(content, dict) or "address" not in content:
        raise ValueError("the file has no address")
    return str(content["address"])


async def _reach(address: str) -> None:
    """Connect to a scheduler, and disconnect. Raises any error of Dask."""
    from distributed.comm.core import connect
    from distributed.security import Security

    security = Security()  # type: ignore[no-untyped-call]
    (await connect(address, timeout=CONNECT, **security.get_connection_args("client"))).abort()  # type: ignore[no-untyped-call]


def _start_local(count: int, directory: str) -> Any:  # noqa: ANN401 - Dask has no types here
    from multiprocessing import resource_tracker

    from distributed import LocalCluster

    threads = max(1, len(os.sched_getaffinity(0)) // count)
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 20)
    # Without this, any user of this machine could read Dask's pages about workers and tasks, without TLS.
    dask.config.set({"distributed.scheduler.worker-ttl": "10s", "distributed.scheduler.http.routes": []})
    # Ctrl-C, and the end of a service, reach every process of the group. The workers must go on: they end the stages
    # when the runner says so. They inherit what is blocked here, also when Dask starts one again later.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        resource_tracker.ensure_running()  # it unblocks INT and TERM, once
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        return LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=count,
            threads_per_worker=threads,
            processes=True,
            memory_limit=0,
            local_directory=directory,
            dashboard_address="127.0.0.1:0",
            security=True,  # TLS: every user of this machine reaches these ports
            resources={"cpus": threads, "memoryMiB": memory_mib / count},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
