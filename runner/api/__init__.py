"""The composition root: what the verbs do, without a terminal. What only looks is loaded when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING

from runner.api.options import Options
from runner.api.running import run

if TYPE_CHECKING:
    from runner.api.cleaning import clean
    from runner.api.history import read_events
    from runner.api.reading import doctor, explain, find_log, plan, status, validate

__all__ = ["Options", "clean", "doctor", "explain", "find_log", "plan", "read_events", "run", "status", "validate"]

_ELSEWHERE = {"clean": "cleaning", "read_events": "history"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'reading')}"), name)
    globals()[name] = found
    return found
