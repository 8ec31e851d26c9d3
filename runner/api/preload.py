"""Everything that a run can still come to need, loaded before its first stage starts.

A run may take all night, and an upgrade of the installation, or of Python, in that time must not hurt it: what is
imported inside functions to make runs without work quick is loaded here for all others, while the launcher starts.
"""

from __future__ import annotations

import sys
from importlib import import_module

from runner.decide.distributions import needs_library

NEEDED = (
    "ast",  # code that changed is parsed again
    "ctypes",  # directories are exchanged
    "errno",
    "hashlib",
    "json",
    "pwd",  # who runs it is on record
    "runner.decide.decoding",
    "runner.decide.syntax",
    "shutil",  # trees are removed
    "runner.executor.attempts",
    "runner.clock",
    "runner.executor.loop",
    "runner.executor.publishing",
    "runner.record.recovery",
    "runner.resources",
    "runner.spec.effective",
    "runner.sdk",  # not for the run: stages write no bytecode, so they find it compiled
)


def preload() -> None:
    """Import what is needed later; what is loaded already costs nothing."""
    for name in NEEDED:
        import_module(name)
    if needs_library(sys.path, sys.meta_path):
        import_module("importlib.metadata")  # packages are named by their distribution
