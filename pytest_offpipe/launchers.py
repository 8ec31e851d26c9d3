"""The launcher that the runs of one spec's checks have in common, one after the other: to start it is most of a run.

It ends with the last check of its spec, with a run that was broken off, and with this process.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Any

from runner.contain.client import Exit, Launcher
from runner.contain.guard import start_guarded
from runner.contain.tree import has_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from runner.contain.launch import Asked, Launch

    Alter = Callable[[Launch], Launch]

_OWN = "/proc/thread-self"
_STATUS = (b"Umask", b"Uid", b"Gid", b"Groups", b"Cap", b"NoNewPrivs", b"Seccomp", b"Cpus_allowed", b"Mems_allowed")
_FILES = ("limits", "mountinfo", "cgroup", "oom_score_adj")  # proc(5)
_LINKS = ("root", "ns/cgroup", "ns/ipc", "ns/user", "ns/uts")


class StageLauncher(Launcher):
    """A launcher that changes what it is asked to start, by `alter`, and calls `ended` when an attempt has ended.

    That is before anything of what the attempt left is removed.
    """

    alter: Alter
    ended: Callable[[], None] | None = None

    def submit(self, launch: Launch) -> None:
        """Ask for one start, changed."""
        super().submit(self.alter(launch))

    def receive(self) -> list[Asked | Exit]:
        """Hear of exits."""
        heard = super().receive()
        if self.ended and any(isinstance(one, Exit) for one in heard):
            self.ended()
        return heard

    def instead(self, level: str, missing: Mapping[str, str]) -> Self:
        """Start one at another level that changes the same."""
        launcher = super().instead(level, missing)
        launcher.alter, launcher.ended = self.alter, self.ended
        return launcher


class LentLauncher(StageLauncher):
    """One that goes back to `lender` when a run closes it, if all that it was asked for is over; else it ends."""

    lender: Launchers
    born: object  # in which circumstances
    warm: Mapping[str, str] | None

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._awaited: set[int] = set()

    def submit(self, launch: Launch) -> None:
        """Ask for one start, of which an exit is to be heard."""
        self._awaited.add(launch.id)
        super().submit(launch)

    def receive(self) -> list[Asked | Exit]:
        """Hear of exits: nothing is left of such a stage."""
        heard = super().receive()
        self._awaited.difference_update(one.id for one in heard if isinstance(one, Exit))
        return heard

    def instead(self, level: str, missing: Mapping[str, str]) -> Self:
        """Start one at another level that is lent as this one is."""
        launcher = super().instead(level, missing)
        launcher.lender, launcher.born, launcher.warm = self.lender, self.born, self.warm
        return launcher

    def close(self) -> None:
        """Give it back, or end it. May be called again."""
        if self._awaited or not self.layers:
            self.end()
        else:
            self.lender.take_back(self)

    def end(self) -> None:
        """End it."""
        super().close()

    @property
    def is_usable(self) -> bool:
        """Whether it lives and has nothing to say, while it is asked for nothing: it would tell of its end.

        What the runner started may be gone a moment before the process that it had stages started by.
        """
        if has_ended(self._child):
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not self.layers or not poll.poll(0)


def start(warm: Mapping[str, str] | None) -> StageLauncher:
    """Start one for a single run."""
    return start_guarded(StageLauncher, warm)


class Launchers:
    """Lends a launcher to one run at a time; what it has is for the circumstances that it was started in."""

    def __init__(self) -> None:
        self._resting: LentLauncher | None = None

    def begin(self, warm: Mapping[str, str] | None) -> None:
        """Let a launcher get ready for a run that is to come soon; `warm` is as in Launcher.start."""
        if self._resting is None and (now := circumstances()) is not None:
            self._resting = self._started(warm, now)

    def lend(self, warm: Mapping[str, str] | None) -> StageLauncher:
        """Return the launcher that rests, if it is what would be started now; else one is started."""
        now, launcher = circumstances(), self._resting
        self._resting = None
        if launcher is not None:
            if launcher.born == now and warm in (None, launcher.warm) and launcher.is_usable:
                return launcher
            launcher.end()
        return start(warm) if now is None else self._started(warm, now)

    def take_back(self, launcher: LentLauncher) -> None:
        """Keep a launcher for the next run; one is enough."""
        if self._resting is None:
            self._resting = launcher
        elif self._resting is not launcher:
            launcher.end()

    def close(self) -> None:
        """End what rests."""
        if self._resting is not None:
            self._resting.end()
            self._resting = None

    def _started(self, warm: Mapping[str, str] | None, now: object) -> LentLauncher:
        launcher = start_guarded(LentLauncher, warm)
        launcher.lender, launcher.born, launcher.warm = self, now, warm
        return launcher


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
