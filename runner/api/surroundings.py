"""What of this process's world, and of the machine, a run goes by."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.noop import is_plain
from runner.sandbox.environment import sdk_path_here, warm_here

if TYPE_CHECKING:
    from runner.api.options import Options
    from runner.executor.job import Policy, Surroundings
    from runner.sandbox.client import Launcher
    from runner.spec.model import Spec


def surroundings(launcher: Launcher, *, durable: bool) -> Surroundings:
    """Return what of this process's world gets into the stages' environment."""
    from runner.executor.job import Surroundings  # the launcher is started before that is loaded

    outer, level = os.environ, launcher.layers["level"]
    return Surroundings(outer.get("PATH", ""), outer.get("HOME"), sdk_path_here(), level, durable)


def warmth(spec: Spec) -> dict[str, str] | None:
    """Return what interpreters heed of the environment that Python stages get; None where none is run by a fork."""
    if is_plain():
        return None
    python = [stage for stage in spec.stages if str(stage.processor).endswith(".py") and not stage.fresh_interpreter]
    return warm_here() if python else None


def policy(options: Options) -> Policy:
    """Return how to go about a run: by what was asked for, and by what the machine has."""
    from runner.executor.job import Policy
    from runner.resources import Capacity

    jobs = options.jobs or _cores()
    return Policy(options.keep_going, Capacity(jobs, _memory_mib(), jobs))


def _cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_mib() -> float:
    """Return the machine's memory in MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 20)
