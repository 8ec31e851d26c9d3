"""What the verbs do, without a terminal: the place where everything below is put together."""

from runner.engine.clean import clean
from runner.engine.history import find_log, read_events
from runner.engine.query import explain, plan, status, validate
from runner.engine.run import run
from runner.engine.session import Options

__all__ = ["Options", "clean", "explain", "find_log", "plan", "read_events", "run", "status", "validate"]
