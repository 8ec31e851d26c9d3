"""The hooks of a run: ours, those of installed distributions (entry points `offpipe`), and the caller's."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pluggy

from runner import hookspecs
from runner.api.surroundings import warmth
from runner.contain.client import Launcher
from runner.contain.guard import start_guarded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from runner.spec.model import Spec

GROUP = "offpipe"


class Defaults:
    """What happens when no plugin has a say."""

    @hookspecs.hookimpl(trylast=True)
    def offpipe_make_launcher(self, spec: Spec) -> Launcher:
        """Start the launcher that comes with offpipe."""
        return start_guarded(Launcher, warmth(spec))


class _Manager(pluggy.PluginManager):
    """One that does not look for hooks among the special names of every object, which takes it most of its time."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return how a plugin wants to be called by a name; None when that is no hook."""
        return None if name.startswith("__") else super().parse_hookimpl_opts(plugin, name)

    def parse_hookspec_opts(self, module_or_class: ModuleType | type, name: str) -> pluggy.HookspecOpts | None:
        """Return how a hook is called; None when a name is none."""
        return None if name.startswith("__") else super().parse_hookspec_opts(module_or_class, name)


def make_plugins(plugins: tuple[object, ...]) -> pluggy.PluginManager:
    """Return the manager of a run's hooks."""
    manager = _Manager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(Defaults())
    if _may_be_installed(sys.path, sys.meta_path):
        manager.load_setuptools_entrypoints(GROUP)
    for plugin in plugins:
        manager.register(plugin)
    return manager


def _may_be_installed(path: Iterable[str], finders: Iterable[object]) -> bool:
    """Whether a distribution on `path` names entry points of ours; True also where only `importlib.metadata` can say.

    That is slow to load, and a launcher that is already on its way gets ready meanwhile: see preload.
    """
    if any(hasattr(one, "find_distributions") and getattr(one, "__name__", "") != "PathFinder" for one in finders):
        return True
    for directory in path:
        try:
            names = os.listdir(directory or ".")
        except OSError:
            if os.path.isfile(directory):
                return True  # an archive
            continue
        if directory.lower().endswith(".egg"):
            return True
        described = (name for name in names if name.lower().endswith((".dist-info", ".egg-info")))
        if any(_names_group(os.path.join(directory, name, "entry_points.txt")) for name in described):
            return True
    return False


def _names_group(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"[%b]" % GROUP.encode() in file.read()
    except OSError:
        return False
