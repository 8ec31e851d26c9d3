"""Everything that a run can still come to need, loaded before its first stage starts.

From the first stage on nothing is imported. Stages may write where imports are looked for first, the working directory
for one, and what they put there would run in the runner, outside all walls. And a run may take all night: an upgrade of
the installation, or of Python, in that time must not hurt it. So what is imported inside functions, to make runs
without work quick, is loaded here for all others. One module may still come later: importlib.metadata, where code that
was changed meanwhile imports a package by another name than its distribution's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from runner.hashing import quicken
from runner.record.files import prepare_to_exchange

if TYPE_CHECKING:
    from runner.spec.model import Spec

NEEDED = (
    "ast",  # code that changed is parsed again
    "errno",
    "json",
    "pwd",  # who runs it is on record
    "runner.executor.attempts",
    "runner.clock",
    "runner.executor.loop",
    "runner.executor.publishing",
    "runner.plan.code.parse",
    "runner.record.recovery",
    "runner.record.removal",
    "runner.resources",
    "runner.sdk",  # not for the run: stages write no bytecode, so they find it compiled
)
THREADS = ("queue", "threading")  # by which outputs are made durable


def preload(spec: Spec, *, durable: bool, recovers: bool) -> None:
    """Import what is needed later; what is loaded already costs nothing. `recovers`: other specs' runs are open."""
    for name in (*NEEDED, *(THREADS if durable else ())):
        import_module(name)
    quicken()  # nobody knows how much there will be to hash
    if recovers or any(path.endswith("/") for stage in spec.stages for path in stage.outputs.values()):
        prepare_to_exchange()
