"""The hooks of a run: ours, those of installed distributions (entry points `offpipe`), and the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from runner import hookspecs
from runner.api.surroundings import warmth
from runner.sandbox.client import Launcher
from runner.sandbox.guard import start_guarded

if TYPE_CHECKING:
    from runner.spec.model import Spec

GROUP = "offpipe"


class Defaults:
    """What happens when no plugin has a say."""

    @hookspecs.hookimpl(trylast=True)
    def offpipe_make_launcher(self, spec: Spec) -> Launcher:
        """Start the launcher that comes with offpipe."""
        return start_guarded(Launcher, warmth(spec))


def make_plugins(plugins: tuple[object, ...]) -> pluggy.PluginManager:
    """Return the manager of a run's hooks."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(Defaults())
    manager.load_setuptools_entrypoints(GROUP)
    for plugin in plugins:
        manager.register(plugin)
    return manager
