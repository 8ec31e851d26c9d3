"""Runs the stages of one pipeline on the workers of a Dask cluster.

Here is the plugin behind `--cluster`. Only this room imports Dask, and only once there is work to do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runner.engine.start import fork_environment
from runner.errors import Fault, UsageError
from runner.extras.packages import packages_of
from runner.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.sandbox.launcher import Launcher
    from runner.spec.model import Spec

_ADDRESS = re.compile(r"local:(?P<workers>[1-9][0-9]{0,5})|(tcp|tls)://(?P<host>.+):(?P<port>[0-9]{1,5})|[^:]+\.json")
_LAST_PORT = (1 << 16) - 1


class Cluster:
    """Makes the launcher of a run on a cluster."""

    def __init__(self, address: str, wait: float, latency: float, *, strict: bool) -> None:
        """See `launcher.Settings`. Raises UsageError for an address of another form."""
        found = _ADDRESS.fullmatch(address)
        if found is None or not 1 <= int(found["port"] or 1) <= _LAST_PORT:
            hint = "it takes local:N, tcp://HOST:PORT, tls://HOST:PORT, or a scheduler file (.json)"
            raise UsageError(Fault("--cluster", f'"{address}" is not an address', hint))
        self._host = found["host"]
        self._settings = address, int(found["workers"] or 0), wait, latency, strict

    @hookimpl
    def offpipe_make_launcher(self, spec: Spec, warn: Callable[[Fault], None], check: Callable[[], None]) -> Launcher:
        """Return the launcher. Raises UsageError if Dask is not installed, or no host has the name in the address."""
        with packages_of("cluster", "--cluster"):
            from runner.extras.cluster.connection import refuse_unknown_host
            from runner.extras.cluster.launcher import ClusterLauncher, Settings
        if self._host:
            refuse_unknown_host(self._host)
        return ClusterLauncher(Settings(*self._settings), spec, fork_environment(spec), warn, check)
