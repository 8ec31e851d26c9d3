"""The hooks of a run, the one that starts its launcher among them. Loads pluggy, so only runs with work load it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from runner import hookspecs
from runner.noop import is_plain
from runner.sandbox.client import Launcher
from runner.sandbox.environment import warm_here
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
    manager.load_setuptools_entrypoints(GROUP)
    for plugin in plugins:
        manager.register(plugin)
    return manager


def fork_environment(spec: Spec) -> dict[str, str] | None:
    """Return what interpreters heed of the environment of Python stages; None where no stage is run by a fork."""
    if is_plain():
        return None
    python = any(str(stage.processor).endswith(".py") and not stage.fresh_interpreter for stage in spec.stages)
    return warm_here() if python else None
