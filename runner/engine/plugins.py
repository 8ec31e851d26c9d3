"""The hooks of a run, the one that starts its launcher among them. Loads pluggy, so only runs with work load it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pluggy

from runner import hookspecs
from runner.noop import is_plain
from runner.plan.code.interpreter import sdk_path
from runner.sandbox.client import Launcher
from runner.sandbox.environment import interpreter_environment
from runner.sandbox.guard import start_guarded

if TYPE_CHECKING:
    from runner.spec.model import Spec

GROUP = "offpipe"


class Defaults:
    """What happens when no plugin has a say."""

    @hookspecs.hookimpl(trylast=True)
    def offpipe_make_launcher(self, spec: Spec) -> Launcher:
        """Start the launcher that comes with offpipe."""
        return start_guarded(Launcher, fork_environment(spec))


def make_plugins(plugins: tuple[object, ...]) -> pluggy.PluginManager:
    """Return the hooks of a run: ours, those of installed distributions (entry points `offpipe`), and `plugins`."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(Defaults())
    if _may_be_installed():
        manager.load_setuptools_entrypoints(GROUP)
    for plugin in plugins:
        manager.register(plugin)
    return manager


def fork_environment(spec: Spec) -> dict[str, str] | None:
    """Return what interpreters heed of the environment of Python stages; None where no stage is run by a fork."""
    if is_plain():
        return None
    python = any(str(stage.processor).endswith(".py") and not stage.fresh_interpreter for stage in spec.stages)
    return interpreter_environment(os.environ.get("HOME"), sdk_path()) if python else None


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
