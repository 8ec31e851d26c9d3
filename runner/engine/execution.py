"""What executes a plan: hooks and executor, made from this process and machine, with every module loaded beforehand.

Loads pluggy, so only runs with work load it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pluggy

from runner import hookspecs
from runner.clock import Monotonic
from runner.executor.job import RunContext
from runner.executor.loop import Executor
from runner.executor.schedule import Capacity
from runner.hashing import quicken

if TYPE_CHECKING:
    from runner.clock import Clock
    from runner.engine.journal import Journal
    from runner.engine.session import Session
    from runner.interrupts import Interrupts
    from runner.listener import Listener
    from runner.plan.planner import Plan
    from runner.sandbox.client import Launcher
    from runner.spec.model import Spec

GROUP = "offpipe"
PRELOADED = (
    "ast",  # code that changed is parsed again
    "errno",
    "json",
    "pwd",  # who runs it is on record
    "runner.plan.code.parse",
    "runner.record.removal",
    "runner.sdk",  # not for the run: stages write no bytecode, so they find it compiled
)
THREADS = ("queue", "threading")  # by which outputs are made durable


def preload(spec: Spec, *, durable: bool) -> None:
    """Import everything that a run can still need, before its first stage starts.

    From then on nothing is imported. Stages may write where imports are looked for first, the working directory for
    one, and what they put there would run in the runner, outside all walls. And a run may take all night: an upgrade
    of the installation, or of Python, in that time must not hurt it. One module may still come later:
    importlib.metadata, where code that was changed meanwhile imports a package by another name than its distribution's.
    """
    for name in (*PRELOADED, *(THREADS if durable else ())):
        import_module(name)
    quicken()  # nobody knows how much there will be to hash
    if any(path.endswith("/") for stage in spec.stages for path in stage.outputs.values()):
        import_module("ctypes")  # which exchanges them with those that they replace


def make_hooks(plugins: tuple[object, ...]) -> pluggy.HookRelay:
    """Return the hooks of installed distributions (entry points `offpipe`) and of `plugins`."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    if _may_be_installed():
        manager.load_setuptools_entrypoints(GROUP)
    for plugin in plugins:
        manager.register(plugin)
    return manager.hook


def make_executor(
    session: Session, plan: Plan, journal: Journal, launcher: Launcher, hooks: pluggy.HookRelay, interrupts: Interrupts,
    listener: Listener, clock: Clock | None,
) -> Executor:  # fmt: skip
    """Return what executes the plan of an open run."""
    context = RunContext(
        session.graph, session.spec, journal.log, session.planner, session.new_examiner, session.cache, session.marker,
        session.published, journal.earlier, journal.tags, launcher.layers["level"], journal.durable,
    )  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 20)
    capacity = Capacity(session.options.jobs or cores, memory_mib)
    return Executor(
        context, session.stages, plan, launcher, hooks, interrupts, clock or Monotonic(), listener, capacity,
        keep_going=session.options.keep_going,
    )  # fmt: skip


def _may_be_installed() -> bool:
    """Whether an installed distribution may have hooks for offpipe.

    Only `importlib.metadata` can say for certain, but loading it takes a sixth of a run of one stage.
    """
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions")]
    if len(finders) > 1:  # the first is that of directories, below
        return True
    for directory in sys.path:
        if os.path.isfile(directory):
            return True  # an archive
        try:
            names = os.listdir(directory or ".")
        except OSError:
            continue
        for name in names:
            kind = os.path.splitext(name.lower())[1]
            described = os.path.join(directory, name, "entry_points.txt")
            if kind == ".egg" or (kind in {".dist-info", ".egg-info"} and _names_group(described)):
                return True
    return False


def _names_group(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return f"[{GROUP}]".encode() in file.read()
    except OSError:
        return False
