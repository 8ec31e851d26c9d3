"""A Dask cluster of real processes, which tests kill and stop, and the attempts that ran on it."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

from forked_runs import start
from pipeline_bench import ROOT, children, is_running, kill, wait_for

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from pipeline_bench import PipelineBench

TTL = {  # a scheduler gives up a worker after this time, but not before ten heartbeats (5 s by default)
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s",
    "DASK_DISTRIBUTED__SCHEDULER__PRELOAD": "import distributed.scheduler as it; it.heartbeat_interval = lambda _: 0.3",
}


class Attempt(NamedTuple):
    """How an attempt ended. `worker` is a name without the host; None if no worker had started the attempt."""

    stage: str
    worker: str | None
    exit: int | None
    lost: str | None


def ended(bench: PipelineBench) -> list[Attempt]:
    """Return the attempts that have ended, in the order of the records."""
    finished = [record["data"] for record in bench.records("attempt.finished")]
    return [
        Attempt(data["stage"], data.get("node", "").rpartition("/")[2] or None, data["exit"], data.get("lost"))
        for data in finished
    ]


def used(bench: PipelineBench) -> set[str | None]:
    """Return the workers that had attempts."""
    return {attempt.worker for attempt in ended(bench)}


class DaskCluster:
    """A scheduler and its workers, below `root`. `close` ends them."""

    def __init__(self, root: Path, *names: str, **config: str) -> None:
        """Start the scheduler and a worker of each name. `config` are variables of Dask's configuration."""
        self.root = root
        self.file = root / "scheduler.json"
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT), **config}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.scheduler = self._start(
            "scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(self.file)
        )
        for name in names:
            self.add(name)
        wait_for(lambda: self.file.exists() and self.file.read_text().endswith("}"), "the scheduler")
        self.await_workers(len(names))  # otherwise a run might first warn that it waits for a worker

    @property
    def address(self) -> str:
        return json.loads(self.file.read_text())["address"]

    def add(
        self, name: str, *words: str, before: tuple[str, ...] = (), popen: dict[str, object] | None = None, **env: str
    ) -> subprocess.Popen[bytes]:
        """Start a worker with one thread. `before` goes before the command; `popen` are arguments of its Popen."""
        self.workers[name] = self._start(
            "worker", "--scheduler-file", str(self.file), "--no-nanny", "--no-dashboard", "--nthreads", "1",
            "--name", name, "--local-directory", str(self.root), *words, before=before, popen=popen, **env,
        )  # fmt: skip
        return self.workers[name]

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to a worker, not to its launcher. After SIGKILL, wait until it and its children have ended."""
        worker = self.workers[name]
        below = children(worker.pid)
        kill(worker.pid, number)
        if number == signal.SIGKILL:
            worker.wait()
            wait_for(lambda: not any(map(is_running, below)), "the end of its launcher")

    def close(self) -> None:
        for process in reversed(self._processes):
            kill(process.pid, signal.SIGCONT)
            process.kill()
            process.wait()

    def await_workers(self, count: int) -> None:
        """Wait until the scheduler has registered this many workers."""
        log = self.root / "scheduler.log"
        wait_for(lambda: log.read_text().count("Register worker addr") >= count, f"{count} workers")

    def _start(
        self, what: str, *words: str, before: tuple[str, ...] = (), popen: dict[str, object] | None = None, **env: str
    ) -> subprocess.Popen[bytes]:
        with open(self.root / f"{what}.log", "ab") as log:
            command = [*before, sys.executable, "-m", f"distributed.cli.dask_{what}", *words]
            environment = {**self.environment, **env}
            process = start(command, environment, cwd=self.root, stdout=log, stderr=log, **(popen or {}))
        self._processes.append(process)
        return process
