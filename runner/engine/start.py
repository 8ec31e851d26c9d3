"""The start of a run: its spec, and its launcher, which gets ready while the rest of the program is loaded."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from runner.errors import StateError
from runner.noop import is_plain
from runner.plan.code.modules import sdk_path
from runner.record.locks import is_held
from runner.sandbox.client import Launcher
from runner.sandbox.environment import interpreter_environment
from runner.sandbox.guard import start_guarded
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pluggy import HookRelay

    from runner.engine import Options
    from runner.spec.model import Spec


def load(spec_path: str, options: Options) -> tuple[Spec, int]:
    """Return the spec, and the time (time.time_ns) before anything was read."""
    began = time.time_ns()
    return load_spec(spec_path, workspace=options.workspace, params=options.params), began


@contextmanager
def early_launcher(spec: Spec, options: Options) -> Iterator[Launcher | None]:
    """Start the launcher if there is certainly work, so that it gets ready while the run plans; else give None.

    There is if a stage was never complete, or must run in any case. A run that waits for another one waits without a
    launcher. Where none can be started, the run says so when it needs one.
    """
    launcher = None
    if _has_work(spec, options) and not is_held(spec.paths):
        try:
            launcher = start_guarded(Launcher, fork_environment(spec))
        except StateError:
            pass
    try:
        yield launcher
    finally:
        if launcher is not None:
            launcher.close()


def make_launcher(hooks: HookRelay, spec: Spec, early: Launcher | None) -> Launcher:
    """Return the launcher that a plugin chooses, which ends the early one; else that one, or a new one."""
    chosen: Launcher | None = hooks.offpipe_make_launcher(spec=spec)
    if chosen is not None and early is not None:
        early.close()
    return chosen or early or start_guarded(Launcher, fork_environment(spec))


def fork_environment(spec: Spec) -> dict[str, str] | None:
    """Return what interpreters heed of the environment of Python stages; None where no stage is run by a fork."""
    if is_plain():
        return None
    python = any(str(stage.processor).endswith(".py") and not stage.fresh_interpreter for stage in spec.stages)
    return interpreter_environment(os.environ.get("HOME"), sdk_path()) if python else None


def _has_work(spec: Spec, options: Options) -> bool:
    return options.force or any(
        not os.path.lexists(spec.paths.marker(stage.name))
        for stage in spec.stages
        if not options.stages or stage.name in options.stages
    )
