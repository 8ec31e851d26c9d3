"""What executes a plan: its modules loaded, its attempts and its limits taken from this process and machine."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

from runner.clock import Monotonic
from runner.executor.attempts import Attempts
from runner.executor.loop import Executor
from runner.executor.prepare import RunEnvironment
from runner.executor.publishing import Publisher
from runner.executor.schedule import Capacity
from runner.hashing import quicken
from runner.plan.code.interpreter import sdk_path

if TYPE_CHECKING:
    from pluggy import HookRelay

    from runner.clock import Clock
    from runner.engine.journal import Journal
    from runner.engine.session import Session
    from runner.interrupts import Interrupts
    from runner.listener import Listener
    from runner.plan.planner import Plan
    from runner.sandbox.client import Launcher
    from runner.spec.model import Spec

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


def make_executor(
    session: Session, plan: Plan, journal: Journal, launcher: Launcher, hooks: HookRelay, interrupts: Interrupts,
    listener: Listener, clock: Clock | None,
) -> tuple[Attempts, Executor]:  # fmt: skip
    """Return what prepares, records and settles the attempts of an open run, and what executes its plan by them."""
    spec, options, durable = session.spec, session.options, journal.durable
    level = launcher.layers["level"]
    outer = RunEnvironment(os.environ.get("PATH", ""), os.environ.get("HOME"), sdk_path(), level, durable)
    attempts = Attempts(
        spec, journal.log, session.planner, session.new_examiner, session.marker, session.published,
        Publisher(spec, journal.log, session.cache, durable=durable), outer, journal.earlier, journal.tags,
    )  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 20)
    jobs = options.jobs or cores
    return attempts, Executor(
        session.graph, session.stages, plan, attempts, launcher, hooks, interrupts, clock or Monotonic(), listener,
        Capacity(jobs, memory_mib, jobs), keep_going=options.keep_going,
    )  # fmt: skip
