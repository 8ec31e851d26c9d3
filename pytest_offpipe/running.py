"""Runs of a sandbox, in this process: what `offpipe run` does, with stages that see the sandbox's home."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_offpipe.launchers import start
from pytest_offpipe.measuring import measured
from pytest_offpipe.reports import RunReport, StageReport
from runner import api
from runner.api.surroundings import warmth
from runner.errors import OffpipeError
from runner.hookspecs import hookimpl
from runner.record.spelling import KEY_VARIABLE
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_offpipe.launchers import Alter, Launchers
    from pytest_offpipe.sandbox import Sandbox
    from runner.clock import Clock
    from runner.results import RunResult
    from runner.sandbox.client import Launcher
    from runner.sandbox.launch import Launch
    from runner.spec.model import Spec, Stage


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
