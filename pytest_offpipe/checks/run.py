"""`run`: exits 0 in an isolated workspace, and `outputs`: leaves its outputs and nothing else."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from runner.display.words import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_offpipe.checks.case import Case


def check_run(case: Case) -> None:
    """Run the stage undisturbed; the runner itself sees to it that every output exists."""
    found = case.shared.stage(case.stage.name)
    if found.blocked:
        case.undisturbed()
    if not found.succeeded:
        case.fail_undisturbed(found)


_SHOWN = 10


def check_outputs(case: Case) -> None:
    """Look at what the undisturbed run of the stage left, where it may leave nothing but its outputs."""
    report = case.undisturbed()
    found = [f"{what}: {case.shown(path)}" for what, path in case.shared.stage(case.stage.name).changes]
    left = sum(attempt.left_behind for attempt in report.attempts)
    if left:
        found.append(f"{left} process{'es' if left > 1 else ''} left running, and killed")
    for name, path in report.outputs.paths.items():
        found.extend(f"output {name}: {fault}" for fault in _faults(path))
    if found:
        more = [f"and {len(found) - _SHOWN:,} more"] if len(found) > _SHOWN else []
        case.fail(
            "looked at its files, HOME and TMPDIR before and after it ran", "only its declared outputs are new",
            "\n".join([*found[:_SHOWN], *more]), log=report.log, kept=str(case.shared.directory / "run"),
        )  # fmt: skip


def _faults(path: str) -> Iterator[str]:
    for entry in _entries(path):
        mode = os.lstat(entry).st_mode
        shown = printable(os.path.relpath(entry, os.path.dirname(path)))
        if stat.S_ISLNK(mode):
            target = os.path.realpath(entry)
            if not f"{target}/".startswith(f"{os.path.realpath(path)}/"):
                yield f"{shown} is a link that leads out of it, to {printable(os.readlink(entry))}"
        elif not mode & stat.S_IRUSR:
            yield f"{shown} cannot be read (mode {stat.S_IMODE(mode):04o})"


def _entries(path: str) -> Iterator[str]:
    yield path
    for directory, directories, names in os.walk(path):
        yield from (os.path.join(directory, name) for name in (*directories, *names))
