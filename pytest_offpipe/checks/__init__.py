"""The checks of stages and pipelines: each proves one thing, or says why it could not."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pytest_offpipe.checks.case import Case, end_runs
from pytest_offpipe.settings import PIPELINE_CHECKS, STAGE_CHECKS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AFTER", "BEFORE", "CHECKS", "Case", "end_runs", "run_check"]

CHECKS = STAGE_CHECKS
BEFORE, AFTER = PIPELINE_CHECKS[:1], PIPELINE_CHECKS[1:]


def run_check(case: Case) -> None:
    """Make one check; one that passes leaves no workspace. Raises CheckFailedError with what it found, or skips."""
    name = "pipeline" if case.is_pipeline else case.check
    module = import_module(f"pytest_offpipe.checks.{name}")
    check: Callable[[Case], None] = getattr(module, f"check_{case.check}")
    waited = set(case.shared.waited)
    try:
        check(case)
        case.clean()
    finally:
        case.item.told_elsewhere = case.told_elsewhere(case.shared.waited.keys() - waited)
