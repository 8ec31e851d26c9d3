"""A spec as a test suite: `pytest --offpipe-spec spec.json`, and fixtures for your own tests of stages.

Import these names for annotations and `except`. Each is loaded at its first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_offpipe.faults.plan import OffpipeFaults
    from pytest_offpipe.fixtures.audit import OffpipeAudit
    from pytest_offpipe.fixtures.clock import OffpipeClock
    from pytest_offpipe.fixtures.lab import Offpipe
    from pytest_offpipe.fixtures.offline import Attempt, LookupRefusedError, NetworkRefusedError, OffpipeOffline
    from pytest_offpipe.reports import Output, Outputs, ProgramReport, RunReport, StageReport
    from pytest_offpipe.specs import OffpipeSpec

__all__ = [
    "Attempt",
    "LookupRefusedError",
    "NetworkRefusedError",
    "Offpipe",
    "OffpipeAudit",
    "OffpipeClock",
    "OffpipeFaults",
    "OffpipeOffline",
    "OffpipeSpec",
    "Output",
    "Outputs",
    "ProgramReport",
    "RunReport",
    "StageReport",
]
_EXPORTS = {
    "fixtures.audit": "OffpipeAudit",
    "fixtures.clock": "OffpipeClock",
    "faults.plan": "OffpipeFaults",
    "fixtures.lab": "Offpipe",
    "fixtures.offline": "Attempt LookupRefusedError NetworkRefusedError OffpipeOffline",
    "reports": "Output Outputs ProgramReport RunReport StageReport",
    "specs": "OffpipeSpec",
}
_HOMES = {name: home for home, names in _EXPORTS.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import an exported name at its first use: pytest loads this package in every session."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
