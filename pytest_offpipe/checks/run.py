"""`run`: exits 0 in an isolated workspace, and `outputs`: leaves its outputs and nothing else."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from runner.display.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_offpipe.checks.case import Case

_SHOWN = 10


def check_run(case: Case) -> None:
    """Run the stage undisturbed; the runner itself sees to it that every output exists."""
    undisturbed = case.shared.stage(case.stage.name)
    if undisturbed.blocked:
        case.undisturbed()
    if not undisturbed.succeeded:
        case.fail_undisturbed(undisturbed)


def check_outputs(case: Case) -> None:
    """Look at what the undisturbed run of the stage left, where it may leave nothing but its outputs."""
    report = case.undisturbed()
    found = [f"{what}: {case.shown(path)}" for what, path in case.shared.stage(case.stage.name).changes]
    if left := sum(attempt.left_behind for attempt in report.attempts):
        found.append(f"{left} process{'es' if left > 1 else ''} left running, and killed")
    for name, path in report.outputs.paths.items():
        found.extend(f"output {name}: {fault}" for fault in _faults(path))
    if len(found) > _SHOWN:
        found[_SHOWN:] = [f"and {len(found) - _SHOWN:,} more"]
    if found:
        done, kept = "looked at its files, HOME and TMPDIR before and after it ran", case.shared.directory / "run"
        case.fail(done, "only its declared outputs are new", "\n".join(found), log=report.log, kept=str(kept))


def _faults(path: str) -> Iterator[str]:
    """Yield why a file of an output, or what it leads to, cannot be read by all."""
    below = (
        os.path.join(directory, name)
        for directory, directories, names in os.walk(path)
        for name in (*directories, *names)
    )
    for entry in (path, *below):
        mode = os.lstat(entry).st_mode
        shown = printable(os.path.relpath(entry, os.path.dirname(path)))
        if stat.S_ISLNK(mode):
            if not f"{os.path.realpath(entry)}/".startswith(f"{os.path.realpath(path)}/"):
                yield f"{shown} is a link that leads out of it, to {printable(os.readlink(entry))}"
        elif not mode & stat.S_IRUSR:
            yield f"{shown} cannot be read (mode {stat.S_IMODE(mode):04o})"
