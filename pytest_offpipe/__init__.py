"""A spec is a test suite: `pytest --offpipe-spec spec.json`, and fixtures for tests of one's own stages.

What is exported here is for annotations, and for `except`; it is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_offpipe.auditing import OffpipeAudit as OffpipeAudit
    from pytest_offpipe.clock import OffpipeClock as OffpipeClock
    from pytest_offpipe.lab import Offpipe as Offpipe
    from pytest_offpipe.offline import Attempt as Attempt
    from pytest_offpipe.offline import LookupRefusedError as LookupRefusedError
    from pytest_offpipe.offline import NetworkRefusedError as NetworkRefusedError
    from pytest_offpipe.offline import OffpipeOffline as OffpipeOffline
    from pytest_offpipe.planning import OffpipeFaults as OffpipeFaults
    from pytest_offpipe.program import ProgramReport as ProgramReport
    from pytest_offpipe.reports import Output as Output
    from pytest_offpipe.reports import Outputs as Outputs
    from pytest_offpipe.reports import RunReport as RunReport
    from pytest_offpipe.reports import StageReport as StageReport
    from pytest_offpipe.specs import OffpipeSpec as OffpipeSpec

_HOMES = {
    "Attempt": "offline",
    "LookupRefusedError": "offline",
    "NetworkRefusedError": "offline",
    "Offpipe": "lab",
    "OffpipeAudit": "auditing",
    "OffpipeClock": "clock",
    "OffpipeFaults": "planning",
    "OffpipeOffline": "offline",
    "OffpipeSpec": "specs",
    "Output": "reports",
    "Outputs": "reports",
    "ProgramReport": "program",
    "RunReport": "reports",
    "StageReport": "reports",
}


def __getattr__(name: str) -> object:
    """Import what is exported, when it is asked for: pytest loads this package whether or not it is used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
