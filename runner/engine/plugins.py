"""The hooks of a run, the one that starts its launcher among them. Loads pluggy, so only runs with work load it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pluggy

from runner import hookspecs
from runner.engine.start import fork_environment
from runner.sandbox.client import Launcher
from runner.sandbox.guard import start_guarded

if TYPE_CHECKING:
    from runner.spec.model import Spec

GROUP = "offpipe"


class Defaults:
    """What happens when no plugin has a say."""

    def __init__(self, early: Launcher | None) -> None:
        self._early = early

    @hookspecs.hookimpl(trylast=True)
    def offpipe_make_launcher(self, spec: Spec) -> Launcher:
        """Return the launcher that comes with offpipe: the early one if there is one."""
        return self._early or start_guarded(Launcher, fork_environment(spec))


def make_plugins(plugins: tuple[object, ...], early: Launcher | None = None) -> pluggy.PluginManager:
    """Return the hooks of a run: ours, those of installed distributions (entry points `offpipe`), and `plugins`.

    `early`: a launcher that was started before.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(Defaults(early))
    if _may_be_installed():
        manager.load_setuptools_entrypoints(GROUP)
    for plugin in plugins:
        manager.register(plugin)
    return manager


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
