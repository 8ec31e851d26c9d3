"""The composition root: what the verbs do, without a terminal.

A verb's module is loaded when it is asked for: a run, whose launcher is waiting for nothing else, loads no other's.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.api.cleaning import clean
    from runner.api.history import read_events
    from runner.api.options import Options
    from runner.api.reading import doctor, explain, find_log, plan, status, validate
    from runner.api.running import run
else:
    from importlib import import_module

    _HOMES = {
        "Options": "options", "clean": "cleaning", "doctor": "reading", "explain": "reading", "find_log": "reading",
        "plan": "reading", "read_events": "history", "run": "running", "status": "reading", "validate": "reading",
    }  # fmt: skip

    def __getattr__(name):  # noqa: ANN001, ANN202 - type checkers see the imports above
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found


__all__ = ["Options", "clean", "doctor", "explain", "find_log", "plan", "read_events", "run", "status", "validate"]
