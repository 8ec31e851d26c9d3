"""Runs of a sandbox in this process: what stages see, and the launcher that starts them.

The checks of a spec share a launcher: to start one takes most of a run. It ends with the last check of its spec, with a
run that was broken off, and with this process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from pytest_offpipe.measuring import measured
from pytest_offpipe.reports import RunReport, StageReport
from pytest_offpipe.sandbox import Sandbox, discard
from runner.canonical import KEY_VARIABLE
from runner.engine import Options
from runner.engine.run import run
from runner.engine.start import fork_environment
from runner.errors import OffpipeError
from runner.hookspecs import hookimpl
from runner.processes import has_ended
from runner.sandbox.client import Launch, Launcher, NetworkReport, Report
from runner.sandbox.guard import start_guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runner.listener import Clock
    from runner.spec.model import Spec

    Alter = Callable[[Launch], Launch]
    Warm = Mapping[str, str] | None

UNSYNCED = Options(durability="process")  # nothing of these runs outlives its session
_OWN = Path("/proc/thread-self")
_STATUS = (b"Umask", b"Uid", b"Gid", b"Groups", b"Cap", b"NoNewPrivs", b"Seccomp", b"Cpus_allowed", b"Mems_allowed")
_FILES = ("limits", "mountinfo", "cgroup", "oom_score_adj")  # proc(5)
_LINKS = ("root", "ns/cgroup", "ns/ipc", "ns/user", "ns/uts")


@dataclass(slots=True)
class Around:
    """What the stages of a run see instead of the user's: `home`, and a TMPDIR below `temporary` for each attempt.

    `alter` has the last word on what is started. `variables`: what else is to be in the environment. `ended` is called
    when an attempt has ended, while all that it left is there.
    """

    home: str
    temporary: str
    alter: Alter | None = None
    variables: dict[str, str] = field(default_factory=dict)
    ended: Callable[[], None] | None = None

    def __call__(self, launch: Launch) -> Launch:
        """Return what to start instead of `launch`."""
        env = dict(launch.env)
        scratch = env["PIPELINE_STAGE_FILE"].removesuffix(".json")
        if env["HOME"] in (scratch, os.environ.get("HOME")):  # else the spec sets it
            env["HOME"] = self.home
        if env["TMPDIR"] == scratch:
            env["TMPDIR"] = os.path.join(self.temporary, f"{env['PIPELINE_STAGE']}.{env['PIPELINE_ATTEMPT']}")
            discard(env["TMPDIR"])  # of an earlier run in this sandbox
            os.makedirs(env["TMPDIR"])
        changed = launch._replace(env=env | self.variables)
        return self.alter(changed) if self.alter else changed


class StageLauncher(Launcher):
    """A launcher that changes what it starts by `alter`, and calls `ended` when an attempt has ended.

    That is before anything is removed that the attempt left. With a `pool`, a run that closes it gives it back there,
    unless something that it started has not ended.
    """

    alter: Alter
    ended: Callable[[], None] | None = None
    pool: Launchers | None = None
    started_in: tuple[object, Warm] = (None, None)

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._running: set[int] = set()

    def submit(self, launch: Launch) -> None:
        """Ask for one start, changed."""
        self._running.add(launch.id)
        super().submit(self.alter(launch))

    def receive(self) -> list[Report]:
        """Return the reports since the last call."""
        reports = super().receive()
        exits = [report.launch for report in reports if not isinstance(report, NetworkReport)]
        self._running.difference_update(exits)
        if exits and self.ended:
            self.ended()
        return reports

    def instead(self, level: str) -> Self:
        """Start one at another level that changes the same."""
        launcher = super().instead(level)
        launcher.alter, launcher.ended = self.alter, self.ended
        launcher.pool, launcher.started_in = self.pool, self.started_in
        return launcher

    def close(self) -> None:
        """Give it back to its pool, or end it. May be called again."""
        if self.pool is None or self._running or not self.layers:
            self.end()
        else:
            self.pool.idle = self

    def end(self) -> None:
        """End it."""
        super().close()

    @property
    def is_usable(self) -> bool:
        """Whether it lives and reports nothing while it is idle: the end would be such a report.

        The child may have ended a moment before the process that starts stages.
        """
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return not has_ended(self._child) and not poll.poll(0)


class Launchers:
    """Keeps the launcher of one run, `idle`, for the next; starts another where stages would inherit something else."""

    def __init__(self) -> None:
        self.idle: StageLauncher | None = None

    def lend(self, warm: Warm) -> StageLauncher:
        """Return the idle launcher, if it is what would be started now, else a new one; `warm` as in Launcher.start."""
        now, launcher = circumstances(), self.idle
        self.idle = None
        if launcher is not None:
            before, loaded = launcher.started_in
            if before == now and warm in (None, loaded) and launcher.is_usable:
                return launcher
            launcher.end()
        launcher = start_guarded(StageLauncher, warm)
        if now is not None:
            launcher.pool, launcher.started_in = self, (now, warm)
        return launcher

    def close(self) -> None:
        """End the idle launcher."""
        if self.idle is not None:
            self.idle.end()
            self.idle = None


def circumstances() -> object | None:
    """Return all that a launcher, and so a stage, takes over from the thread that starts it; None where nothing tells.

    A test may have changed the umask, a limit or a mount since another one was started.
    """
    try:
        status = [line for line in (_OWN / "status").read_bytes().splitlines() if line.startswith(_STATUS)]
        inherited = [(_OWN / name).read_bytes() for name in _FILES], [os.readlink(_OWN / name) for name in _LINKS]
    except OSError:
        return None
    scheduling = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
    return os.getpid(), threading.get_native_id(), status, inherited, scheduling


@dataclass(eq=False)
class _LauncherMaker:
    """Makes the launcher of a run; `spec` is known once there is work."""

    around: Around
    launchers: Launchers | None
    spec: Spec | None = None

    @hookimpl
    def offpipe_make_launcher(self, spec: Spec) -> Launcher:
        self.spec, warm = spec, fork_environment(spec)
        launcher = self.launchers.lend(warm) if self.launchers else start_guarded(StageLauncher, warm)
        launcher.alter, launcher.ended = self.around, self.around.ended
        return launcher


def run_sandbox(
    sandbox: Sandbox, around: Around, options: Options, plugins: tuple[object, ...] = (),
    clock: Clock | None = None, launchers: Launchers | None = None,
) -> RunReport:  # fmt: skip
    """Run a sandbox's spec, and return how it ended, also when it could not begin. KeyboardInterrupt passes through.

    With `launchers` the launcher is one of theirs, else one for this run alone.
    """
    maker = _LauncherMaker(around, launchers)
    workspace = options.workspace or sandbox.root
    try:
        with unkeyed(), measured(sandbox) as around.variables:
            result = run(sandbox.spec, options, plugins=(maker, *plugins), clock=clock)
        spec = maker.spec or options.load(sandbox.spec)
    except OffpipeError as error:
        report = RunReport(error.exit_code, spec=sandbox.spec, workspace=workspace, error=str(error))
        with contextlib.suppress(OffpipeError):  # where the spec is why
            report.state_dir = options.load(sandbox.spec).paths.state_dir
        return report
    if result.signal is not None:
        signal.raise_signal(result.signal)  # it was meant for the tests, which go on as they do with it
    stages = {
        stage.name: StageReport.of(result.stages[stage.name], spec, stage)
        for stage in spec.stages
        if stage.name in result.stages
    }
    return RunReport(
        result.exit_code, result.run_id, result.status, stages, sandbox.spec, workspace, spec.paths.state_dir,
        isolation=result.isolation,
    )  # fmt: skip


@contextlib.contextmanager
def unkeyed() -> Iterator[None]:
    """Leave the user's audit key alone: the logs of tests are nobody's record."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(KEY_VARIABLE, raising=False)
        yield
