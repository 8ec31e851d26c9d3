"""The launcher of runs in this process. The checks of a spec use one after the other: to start it takes most of a run.

It ends with the last check of its spec, with a run that was broken off, and with this process.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Any

from runner.sandbox.client import Exit, Launcher
from runner.sandbox.guard import start_guarded
from runner.sandbox.process_tree import has_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from runner.sandbox.launch import Asked, Launch

    Alter = Callable[[Launch], Launch]

_OWN = "/proc/thread-self"
_STATUS = (b"Umask", b"Uid", b"Gid", b"Groups", b"Cap", b"NoNewPrivs", b"Seccomp", b"Cpus_allowed", b"Mems_allowed")
_FILES = ("limits", "mountinfo", "cgroup", "oom_score_adj")  # proc(5)
_LINKS = ("root", "ns/cgroup", "ns/ipc", "ns/user", "ns/uts")


class StageLauncher(Launcher):
    """A launcher that changes what it starts by `alter`, and calls `ended` when an attempt has ended.

    That is before anything is removed that the attempt left. With a `pool`, a run that closes it gives it back there,
    unless something that it started has not ended.
    """

    alter: Alter
    ended: Callable[[], None] | None = None
    pool: Launchers | None = None
    started_in: tuple[object, Mapping[str, str] | None] = (None, None)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._running: set[int] = set()

    def submit(self, launch: Launch) -> None:
        """Ask for one start, changed."""
        self._running.add(launch.id)
        super().submit(self.alter(launch))

    def receive(self) -> list[Asked | Exit]:
        """Return the reports since the last call."""
        reports = super().receive()
        exits = [report.id for report in reports if isinstance(report, Exit)]
        self._running.difference_update(exits)
        if exits and self.ended:
            self.ended()
        return reports

    def instead(self, level: str, missing: Mapping[str, str]) -> Self:
        """Start one at another level that changes the same."""
        launcher = super().instead(level, missing)
        launcher.alter, launcher.ended, launcher.pool = self.alter, self.ended, self.pool
        launcher.started_in = self.started_in
        return launcher

    def close(self) -> None:
        """Give it back to its pool, or end it. May be called again."""
        if self.pool is None or self._running or not self.layers:
            self.end()
        else:
            self.pool.take_back(self)

    def end(self) -> None:
        """End it."""
        super().close()

    @property
    def is_usable(self) -> bool:
        """Whether it lives and reports nothing while it is idle: the end would be such a report.

        The child may have ended a moment before the process that starts stages.
        """
        if has_ended(self._child):
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not poll.poll(0)


def start(warm: Mapping[str, str] | None) -> StageLauncher:
    """Start one for a single run."""
    return start_guarded(StageLauncher, warm)


class Launchers:
    """Keeps the launcher of one run for the next; a new one is started where stages would inherit something else."""

    def __init__(self) -> None:
        self._idle: StageLauncher | None = None

    def lend(self, warm: Mapping[str, str] | None) -> StageLauncher:
        """Return the idle launcher, if it is what would be started now, else a new one; `warm` as in Launcher.start."""
        now, launcher = circumstances(), self._idle
        self._idle = None
        if launcher is not None:
            before, loaded = launcher.started_in
            if before == now and warm in (None, loaded) and launcher.is_usable:
                return launcher
            launcher.end()
        launcher = start(warm)
        if now is not None:
            launcher.pool, launcher.started_in = self, (now, warm)
        return launcher

    def take_back(self, launcher: StageLauncher) -> None:
        """Keep a launcher for the next run."""
        self._idle = launcher

    def close(self) -> None:
        """End the idle launcher."""
        if self._idle is not None:
            self._idle.end()
            self._idle = None


def circumstances() -> object | None:
    """Return all that a launcher, and so a stage, takes over from the thread that starts it; None where nothing tells.

    A test may have changed the umask, a limit or a mount since another one was started.
    """
    try:
        status = tuple(line for line in _read("status").splitlines() if line.startswith(_STATUS))
        files = tuple(map(_read, _FILES))
        links = tuple(os.readlink(f"{_OWN}/{name}") for name in _LINKS)
    except OSError:
        return None
    scheduling = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
    return os.getpid(), threading.get_native_id(), status, files, links, scheduling


def _read(name: str) -> bytes:
    with open(f"{_OWN}/{name}", "rb", buffering=0) as file:
        return file.readall()
