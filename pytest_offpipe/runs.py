"""Runs of a sandbox in this process: what stages see, and the launcher that starts them.

The checks of a spec share a launcher, because starting it takes most of a short run. It ends after the last check of
its spec, after an interrupted run, and with this process.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from pytest_offpipe.measuring import measured
from pytest_offpipe.reports import RunReport, StageReport
from pytest_offpipe.sandbox import Sandbox, discard
from runner.canonical import KEY_VARIABLE
from runner.engine import Options
from runner.engine.run import run
from runner.engine.start import fork_environment
from runner.errors import EXIT_OK, OffpipeError
from runner.hookspecs import hookimpl
from runner.levels import KERNEL
from runner.processes import has_ended
from runner.record.seal import SIGNING_VARIABLE
from runner.results import AttemptResult
from runner.sandbox.launcher import Launch, Launcher, Report
from runner.sdk.checkpoints import FAULTS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_offpipe.memory import MemoryMeter
    from runner.listener import Clock
    from runner.spec.model import Spec, Stage

    ForkEnv = Mapping[str, str] | None

UNSYNCED = Options(durability="process")  # nothing of these runs outlives its session
PYTHON_SEED, PRELOAD = "PYTHONHASHSEED", "LD_PRELOAD"
_OWN = "/proc/thread-self"
_STATUS = (b"Umask", b"Uid", b"Gid", b"Groups", b"Cap", b"NoNewPrivs", b"Seccomp", b"Cpus_allowed", b"Mems_allowed")


@dataclass
class Around:
    """The surroundings of the stages of a run: HOME is `home`, and each attempt has a TMPDIR below `temporary`.

    `env` is added to the environment, and `affinity` replaces the processors. `alter` changes a launch last. `ended` is
    called with attempts that have ended, before the runner looks at what they left. `meter` measures attempts, if only
    one runs at a time. A view has a HOME and a TMPDIR of its own, and also the files `shown`.
    """

    home: str
    temporary: str
    alter: Callable[[Launch], Launch] | None = None
    env: dict[str, str] = field(default_factory=dict)
    affinity: list[int] | None = None
    ended: Callable[[list[AttemptResult]], None] | None = None
    meter: MemoryMeter | None = None
    shown: tuple[str, ...] = ()

    def __call__(self, launch: Launch) -> Launch:
        """Return what to start instead of `launch`."""
        env = dict(launch.env)
        scratch = env["PIPELINE_STAGE_FILE"].removesuffix(".json")
        if not launch.view and env["HOME"] in (scratch, os.environ.get("HOME")):  # else the spec sets it
            env["HOME"] = self.home
        if env["TMPDIR"] == scratch:
            env["TMPDIR"] = f"{self.temporary}/{env['PIPELINE_STAGE']}.{env['PIPELINE_ATTEMPT']}"
            discard(env["TMPDIR"])  # of an earlier run in this sandbox
            os.makedirs(env["TMPDIR"])
        changed = launch._replace(env=env | self.env, affinity=self.affinity or launch.affinity)
        if launch.view:
            point, steps = launch.view
            changed = changed._replace(view=(point, [*steps, *(("read", path, path) for path in self.shown)]))
        return self.alter(changed) if self.alter else changed


def varied_env(stage: Stage, seed: int) -> dict[str, str]:
    """Return the variables that set an order of hashes, except those that the spec sets."""
    env = {PYTHON_SEED: str(seed), "PERL_HASH_SEED": str(seed), "PERL_PERTURB_KEYS": "2"}
    return {name: value for name, value in env.items() if name not in stage.env}


def undisturbed_env(stage: Stage) -> dict[str, str]:
    """Return all variables that checks add, because a stage may list the names of its variables.

    Those that are empty are ignored, as if they were not set.
    """
    env = {**varied_env(stage, 0), PYTHON_SEED: "", PRELOAD: "", FAULTS_VARIABLE: ""}
    return {name: value for name, value in env.items() if name not in stage.env}


class StageLauncher(Launcher):
    """A launcher that changes what it starts as `around` says, and calls `around.ended`.

    With a `pool`, a run that closes the launcher returns it there, unless an attempt is still running.
    """

    around: Around
    pool: Launchers | None = None
    inherited: object = None
    running = 0

    def submit(self, launch: Launch) -> None:
        """Start a launch, changed."""
        self.running += 1
        super().submit(self.around(launch))
        if self.around.meter:
            self.around.meter.begin(self.pid)

    def receive(self) -> list[Report]:
        """Return the reports since the last call."""
        reports = super().receive()
        ended = [report for report in reports if isinstance(report, AttemptResult)]
        self.running -= len(ended)
        if ended and self.around.meter:
            self.around.meter.end(max(attempt.max_rss_bytes for attempt in ended))
        if ended and self.around.ended:
            self.around.ended(ended)
        return reports

    def instead(self, level: str) -> Self:
        """Start a launcher at another level that makes the same changes."""
        launcher = super().instead(level)
        launcher.around, launcher.pool, launcher.inherited = self.around, self.pool, self.inherited
        return launcher

    def close(self) -> None:
        """Return it to its pool, or end it. May be called again."""
        if self.pool is None or self.running or not self.layers:
            super().close()
        else:
            self.pool.idle = self

    def fits(self, inherited: object, fork_env: ForkEnv) -> bool:
        """Whether it can serve another run: it is alive, and a new launcher would be the same.

        An idle launcher that has something to report has ended. Its child may end a moment earlier.
        """
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        is_same = inherited == self.inherited and fork_env in (None, self._fork_env)
        return is_same and not has_ended(self._child) and not poll.poll(0)


class Launchers:
    """Keeps the launcher of one run, `idle`, for the next run."""

    idle: StageLauncher | None = None

    def lend(self, fork_env: ForkEnv) -> StageLauncher:
        """Return the idle launcher if it fits, else a new one; `fork_env` as in Launcher.start."""
        inherited, launcher = circumstances(), self.idle
        if launcher is not None and launcher.fits(inherited, fork_env):
            self.idle = None
            return launcher
        self.close()
        launcher = StageLauncher.start(KERNEL, fork_env=fork_env, views=True)
        launcher.pool, launcher.inherited = self, inherited
        return launcher

    def close(self) -> None:
        """End the idle launcher."""
        idle, self.idle = self.idle, None
        if idle is not None:
            idle.pool = None
            idle.close()


def circumstances() -> object:
    """Return what a launcher inherits from the thread that starts it, and passes on to stages.

    A test may have changed the umask, a limit or a mount since the launcher was started. Where the kernel does not show
    them, no two results are equal.
    """
    try:
        status, limits, mounts = (Path(_OWN, name).read_bytes() for name in ("status", "limits", "mountinfo"))
    except OSError:
        return object()
    lines = [line for line in status.splitlines() if line.startswith(_STATUS)]
    return threading.get_native_id(), lines, limits, mounts


@dataclass(eq=False)
class _LauncherMaker:
    """The hook that makes the launcher of a run."""

    around: Around
    launchers: Launchers | None

    @hookimpl
    def offpipe_make_launcher(self, spec: Spec) -> Launcher:
        fork_env = fork_environment(spec)
        if self.launchers:
            launcher = self.launchers.lend(fork_env)
        else:
            launcher = StageLauncher.start(KERNEL, fork_env=fork_env, views=spec.has_sealed)
        launcher.around = self.around
        return launcher


def run_sandbox(
    sandbox: Sandbox,
    around: Around,
    options: Options,
    plugins: tuple[object, ...] = (),
    clock: Clock | None = None,
    launchers: Launchers | None = None,
    spec: Spec | None = None,
) -> RunReport:
    """Run a sandbox's spec, and return its report, even if it could not begin. KeyboardInterrupt passes through.

    The launcher is one of `launchers`, or one for this run alone. `spec` is the sandbox's, if it has been loaded.
    """
    report = RunReport(EXIT_OK, spec=sandbox.spec, workspace=options.workspace or sandbox.root)
    try:
        spec = spec or options.load(sandbox.spec)
        report.state_dir = spec.paths.state_dir
        with unkeyed(), measured(sandbox) as variables:
            around.env.update(variables)
            plugins = (_LauncherMaker(around, launchers), *plugins)
            result = run(sandbox.spec, options, plugins=plugins, clock=clock, spec=spec)
    except OffpipeError as error:
        return replace(report, exit_code=error.exit_code, error=str(error))
    if result.signal is not None:
        signal.raise_signal(result.signal)  # it was meant for the test session
    stages = {
        stage.name: StageReport.of(result.stages[stage.name], spec, stage)
        for stage in spec.stages
        if stage.name in result.stages
    }
    return replace(report, exit_code=result.exit_code, run_id=result.run_id, status=result.status, stages=stages)


@contextlib.contextmanager
def unkeyed() -> Iterator[None]:
    """Hide the keys of the user: they must not sign the logs of tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(KEY_VARIABLE, raising=False)
        patch.delenv(SIGNING_VARIABLE, raising=False)
        yield
