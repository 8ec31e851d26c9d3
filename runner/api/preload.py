"""Everything that a run can still come to need, loaded when it begins.

A run may take all night, and an upgrade of the installation, or of Python, in that time must not hurt it: what is
imported inside functions to make runs without work quick is loaded here for all others. Our own modules before the
first stage starts, which may be the upgrade; Python's as soon as the first ones have started, who would wait for that.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from runner.decide.distributions import needs_library
from runner.hashing import quicken

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = (
    "runner.decide.decoding",  # code that changed is parsed again
    "runner.decide.syntax",
    "runner.executor.attempts",
    "runner.clock",
    "runner.executor.loop",
    "runner.executor.publishing",
    "runner.record.recovery",
    "runner.resources",
    "runner.spec.effective",
    "runner.sdk",  # not for the run: stages write no bytecode, so they find it compiled
)
LIBRARY = (
    "ctypes",  # directories are exchanged
    "queue",  # what is made durable, by threads
    "shutil",  # trees are removed
    "signal",  # what ended a stage is told by name
)


def preload() -> None:
    """Import what of ours is needed later; what is loaded already costs nothing."""
    for name in OURS:
        import_module(name)


def preload_library() -> Iterator[None]:
    """Import what of Python's is needed later, piece by piece: a millisecond or two each, and four for OpenSSL.

    What cannot be loaded is told by who comes to need it: there may be stages at work.
    """
    for name in (*LIBRARY, *(["importlib.metadata"] if needs_library(sys.path, sys.meta_path) else [])):
        yield
        with suppress(Exception):
            import_module(name)
    yield
    with suppress(ImportError):
        quicken()
