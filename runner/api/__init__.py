"""The composition root: what the verbs do, without a terminal."""

from runner.api.cleaning import clean
from runner.api.history import read_events
from runner.api.options import Options
from runner.api.reading import doctor, explain, find_log, plan, status, validate
from runner.api.running import run

__all__ = ["Options", "clean", "doctor", "explain", "find_log", "plan", "read_events", "run", "status", "validate"]
