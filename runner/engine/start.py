"""The start of a run: its launcher, its hooks, and its executor.

Only a run with work loads pluggy and the executor. Meanwhile the launcher gets ready.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from glob import iglob
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING

from runner.engine.preflight import refuse_unsealed
from runner.errors import Fault, StateError
from runner.levels import KERNEL, POSSIBLE
from runner.listener import Clock, Listener
from runner.plan.code.modules import sdk_path
from runner.record.locks import is_held
from runner.record.noop_record import is_plain
from runner.sandbox.environment import interpreter_environment
from runner.sandbox.launcher import Launcher
from runner.spec.graph import select_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluggy import HookRelay

    from runner.engine import Options
    from runner.engine.session import Session
    from runner.executor.loop import Executor
    from runner.interrupts import Interrupts
    from runner.plan.planner import Planning
    from runner.record.log import AuditLog
    from runner.record.recovery import OpenRun
    from runner.spec.model import Spec

GROUP = "offpipe"  # of entry points
PRELOADED = (
    "ast",  # parses code that has changed
    "errno",
    "json",
    "pwd",  # for the user's name in record 0
    "runner.executor.loop",
    "runner.plan.code.parse",
    "runner.record.removal",
    "runner.sdk",  # compiles the SDK for the stages, which write no bytecode
)
EXPANSION = ("csv", "difflib")  # of templates that are open when a run starts
THREADS = ("queue", "threading")  # of the queue that makes outputs durable


# ---- the launcher ----


def early_launcher(spec: Spec, options: Options) -> Launcher | None:
    """Start the launcher if there is certainly work, so that it gets ready while the run plans; else return None.

    There is work if a stage has no marker, or is forced. A run that must wait for another run does not start it yet. If
    the launcher cannot be started, `make_launcher` tries again and raises the error.
    """
    markers = map(spec.paths.marker, select_names(spec.names, options.stages))
    has_work = options.force or not all(map(os.path.lexists, markers))
    if has_work and not is_held(spec.paths):
        with suppress(StateError):
            return Launcher.start(KERNEL, fork_env=fork_environment(spec), views=spec.has_sealed)
    return None


def make_launcher(
    hooks: HookRelay, spec: Spec, early: Launcher | None, warn: Callable[[Fault], None], check: Callable[[], None]
) -> Launcher:
    """Return the launcher of a plugin, which replaces the early one; without a plugin the early one, or a new one."""
    chosen: Launcher | None = hooks.offpipe_make_launcher(spec=spec, warn=warn, check=check)
    if chosen is not None and early is not None:
        early.close()
    return chosen or early or Launcher.start(KERNEL, fork_env=fork_environment(spec), views=spec.has_sealed)


def fork_environment(spec: Spec) -> dict[str, str] | None:
    """Return the variables with which an interpreter starts for Python stages; None if no stage is forked."""
    if is_plain():
        return None
    if not any(stage.may_fork for stage in spec.stages):
        return None
    return interpreter_environment(os.environ.get("HOME"), sdk_path())


# ---- hooks and executor ----


def make_hooks(plugins: tuple[object, ...]) -> HookRelay:
    """Return the hooks of installed distributions (entry points in the group `offpipe`) and of `plugins`."""
    import pluggy

    from runner import hookspecs

    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    if _may_have_plugins():
        manager.load_setuptools_entrypoints(GROUP)
    for plugin in plugins:
        manager.register(plugin)
    return manager.hook


def preload(spec: Spec, *, durable: bool) -> None:
    """Import every module that a run may need, before its first stage starts.

    Later imports would be unsafe. Stages may write to directories on `sys.path`, such as the working directory, and a
    module from there would run in the runner, outside the sandbox. Also, a long run must survive an upgrade of offpipe
    or Python. One module may still come later: importlib.metadata, when changed code imports a package whose
    distribution has another name.
    """
    from runner.hashing import quicken

    expansion = EXPANSION if any(stage.is_open for stage in spec.stages) else ()
    for name in (*PRELOADED, *expansion, *(THREADS if durable else ())):
        import_module(name)
    quicken()  # the size of the outputs is not known yet
    if any(path.endswith("/") for stage in spec.stages for path in stage.outputs.values()):
        import_module("ctypes")  # for renameat2, which exchanges directories


def make_executor(
    session: Session,
    planning: Planning,
    log: AuditLog,
    mine: OpenRun,
    launcher: Launcher,
    hooks: HookRelay,
    interrupts: Interrupts,
    listener: Listener,
    clock: Clock | None,
) -> Executor:
    """Return the executor of the open run `mine`, which is recorded in `log`."""
    from runner.executor.job import RunContext
    from runner.executor.loop import Executor

    is_remote = "cluster" in launcher.layers  # a stage then waits for a worker with the processors that it asks for
    options = session.options
    context = RunContext(
        planning=planning,
        replan=lambda ended: session.plan(ended=ended),
        log=log,
        earlier=mine.attempts,
        tags=mine.logs.tags,
        positions=mine.logs.positions,
        most_cpus=options.jobs or (inf if is_remote else launcher.capacity(None)[0]),
        level=launcher.layers["level"],
        durable=options.is_durable,
        is_remote=is_remote,
        warn=session.warn,
        refuse_unsealed=partial(refuse_unsealed, session, launcher.layers),
        keeps_temporary=options.keep_temporary,
        has_views=launcher.layers.get("views") == POSSIBLE,
        shown=options.shown,
    )
    return Executor(
        context, launcher, hooks, interrupts, clock or Clock(), listener, options.jobs, keep_going=options.keep_going
    )


def _may_have_plugins() -> bool:
    """Whether an installed distribution may have hooks for offpipe.

    Only `importlib.metadata` knows for certain, but to load it takes a sixth of the time of a run with one stage.
    """
    if sum(hasattr(finder, "find_distributions") for finder in sys.meta_path) > 1:
        return True  # the first finder is that of directories, which are read below
    for directory in sys.path:
        if os.path.isfile(directory):
            return True  # an archive
        for name in iglob("*-[iI][nN][fF][oO]/entry_points.txt", root_dir=directory or "."):
            with suppress(OSError), open(os.path.join(directory, name), "rb") as file:
                if f"[{GROUP}]".encode() in file.read():
                    return True
    return False
