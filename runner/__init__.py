"""offpipe: a single-machine, offline, staged batch pipeline runner whose specs double as tests."""

__version__ = "0.1.0"
