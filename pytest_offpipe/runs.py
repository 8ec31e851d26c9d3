"""Runs of a sandbox in this process: what stages see, and the launcher that starts them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_offpipe.measuring import measured
from pytest_offpipe.reports import RunReport, StageReport
from runner import api
from runner.api.surroundings import warmth
from runner.errors import OffpipeError
from runner.hookspecs import hookimpl
from runner.record.spelling import KEY_VARIABLE
from runner.sandbox.client import Exit, Launcher
from runner.sandbox.guard import start_guarded
from runner.sandbox.process_tree import has_ended
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from pytest_offpipe.sandbox import Sandbox
    from runner.clock import Clock
    from runner.results import RunResult
    from runner.sandbox.launch import Asked, Launch
    from runner.spec.model import Spec, Stage

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
            os.makedirs(env["TMPDIR"], exist_ok=True)
        env |= self.variables
        changed = launch.replace(env=env)
        return self.alter(changed) if self.alter else changed


class _Plugin:
    """Makes the launcher of a run, and hears with which isolation it ended up; `spec` is known once there is work."""

    def __init__(self, around: Around, launchers: Launchers | None) -> None:
        self.isolation: dict[str, str] = {}
        self.spec: Spec | None = None
        self.around = around
        self._launchers = launchers

    @hookimpl
    def offpipe_make_launcher(self, spec: Spec) -> Launcher:
        self.spec, warm = spec, warmth(spec)
        launcher = self._launchers.lend(warm) if self._launchers else start(warm)
        launcher.alter, launcher.ended = self.around, self.around.ended
        return launcher

    @hookimpl
    def offpipe_run_started(self, isolation: dict[str, str]) -> None:
        self.isolation = isolation


def run_sandbox(
    sandbox: Sandbox, around: Around, options: api.Options, plugins: tuple[object, ...] = (),
    clock: Clock | None = None, launchers: Launchers | None = None,
) -> RunReport:  # fmt: skip
    """Run a sandbox's spec, and tell how it ended, also when it could not begin. KeyboardInterrupt passes through.

    With `launchers` the launcher is one of theirs, else one for this run alone.
    """
    plugin = _Plugin(around, launchers)
    return _reported(
        sandbox, options, plugin, lambda: api.run(sandbox.spec, options, plugins=(plugin, *plugins), clock=clock)
    )


def _reported(
    sandbox: Sandbox, options: api.Options, plugin: _Plugin, make: Callable[[], RunResult]
) -> RunReport:  # fmt: skip
    workspace = options.workspace or sandbox.root
    try:
        with unkeyed(), measured(sandbox) as plugin.around.variables:
            result = make()
        spec = plugin.spec or load_spec(sandbox.spec, workspace=options.workspace)
    except OffpipeError as error:
        state = _state_dir(sandbox, options)
        return RunReport(error.exit_code, None, "failed", {}, sandbox.spec, workspace, state, str(error))
    if result.signal is not None:
        signal.raise_signal(result.signal)  # it was meant for the tests, which go on as they do with it
    stages = {
        stage.name: StageReport.of(result.stages[stage.name], _paths(spec, stage), workspace)
        for stage in spec.stages
        if stage.name in result.stages
    }
    return RunReport(
        result.exit_code, result.run_id, result.status, stages, sandbox.spec, workspace, spec.paths.state_dir,
        isolation=plugin.isolation,
    )  # fmt: skip


def _state_dir(sandbox: Sandbox, options: api.Options) -> str:
    """Return where the state of a run is that ended early; "" when its spec is why."""
    try:
        return load_spec(sandbox.spec, workspace=options.workspace).paths.state_dir
    except OffpipeError:
        return ""


def _paths(spec: Spec, stage: Stage) -> dict[str, str]:
    return {name: spec.output_path(path) for name, path in stage.outputs.items()}


@contextlib.contextmanager
def unkeyed() -> Iterator[None]:
    """Leave the user's audit key alone: the logs of tests are nobody's record."""
    path = os.environ.pop(KEY_VARIABLE, None)
    try:
        yield
    finally:
        if path is not None:
            os.environ[KEY_VARIABLE] = path
