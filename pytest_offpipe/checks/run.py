"""`run`: exits 0 in an isolated workspace, and every declared output exists."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_offpipe.checks.case import Case


def check_run(case: Case) -> None:
    """Run the stage undisturbed; the runner itself sees to it that every output exists."""
    found = case.shared.stage(case.stage.name)
    if found.blocked:
        case.undisturbed()
    if not found.succeeded:
        case.fail_undisturbed(found)
