"""What a sealed attempt may see: what its stage declares, and the files of the attempt (see sandbox/contents.py)."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.errors import Fault, OfflineError, OffpipeError, SpecError
from runner.paths import upward
from runner.plan.code.commands import shebang
from runner.plan.code.modules import OUR_DIRECTORIES
from runner.reading import open_regular
from runner.record import files
from runner.sandbox.contents import Contents
from runner.sandbox.programs import find_program
from runner.spec.globs import is_below

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runner.executor.job import Job
    from runner.sandbox.contents import Shown, Step
    from runner.spec.model import Spec

MOST_ENTRIES = 50_000
_LOG_END = 1 << 16  # bytes of a log in which an undeclared path is looked for
_WORD = re.compile(r"'([^'\n]+)'|\"([^\"\n]+)\"|([^\s'\"]+)")  # a path in a message may be in quotes


def seen_inputs(spec: Spec, job: Job) -> dict[str, list[str]]:
    """Return the absolute paths of each input in the view. An output of another stage is below root, too."""
    return {
        name: [os.path.normpath(f"{spec.root}/{job.seen_as(name, file.path)}") for file in found]
        for name, found in job.fingerprint.inputs.items()
    }


def seen_place(spec: Spec, job: Job, path: str) -> str:
    """Return where an attempt has its scratch directory, or a file beside it: in a view, all in one directory."""
    return f"{spec.root}/{job.view.state}/attempt{path.removeprefix(job.scratch)}" if job.view else path


def seen_progress(spec: Spec, job: Job) -> str:
    """Return where an attempt has its progress file."""
    return f"{spec.root}/{job.view.state}/{os.path.basename(job.reports_to)}" if job.view else job.reports_to


def undeclared(spec: Spec, job: Job) -> str | None:
    """Return the last path in a sealed attempt's log that exists below root and that it does not declare, or None."""
    tools = spec.tools_of(job.stage)
    declared = {*job.fingerprint.watched, *job.fingerprint.trees, *job.real.values(), *tools, spec.paths.state_dir}
    above = {directory for path in declared for directory in upward(path, spec.root)}
    with suppress(OSError, OffpipeError), open(open_regular(job.log), "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - _LOG_END))
        text = log.read(_LOG_END).decode("utf-8", "surrogateescape")
        for match in reversed([*_WORD.finditer(text)]):
            word = next(filter(None, match.groups()))
            path = os.path.normpath(os.path.join(spec.root, word.rstrip(":,;.)")))
            is_in_root = path.startswith(f"{spec.root}/") and path not in above
            if is_in_root and os.path.exists(path) and declared.isdisjoint(upward(path, spec.root)):
                return os.path.relpath(path, spec.root)
    return None


def view_steps(
    spec: Spec, job: Job, program: str, environment: Mapping[str, str], own: Sequence[str], shown: Shown | None
) -> tuple[str, list[Step]] | None:
    """Return the mount point and the steps of the view of an attempt that starts `program`; None for one without.

    `environment`: the stage's. `own`: files beside its scratch directory that it may read. `shown`: what it sees
    besides what it declares. Makes the mount point. Raises OfflineError for too many entries, and SpecError for paths
    that overlap.
    """
    if job.view is None:
        return None
    point = os.path.join(os.path.dirname(job.scratch), "view")
    files.make_directories(point)
    contents = Contents(spec.root, spec.workspace, shown)
    contents.hide(os.path.join(spec.root, environment["HOME"]), job.scratch)
    contents.show(OUR_DIRECTORIES[0])  # the SDK
    contents.show_program(program)
    for word in shebang(program):  # also the program that `env` looks for
        if interpreter := find_program(word, environment["PATH"], spec.root):
            contents.show_program(interpreter)
    for path in own:
        contents.ours[os.path.relpath(seen_place(spec, job, path), spec.root)] = "read", path
    contents.ours[os.path.relpath(seen_place(spec, job, job.scratch), spec.root)] = "write", job.scratch
    contents.ours[f"{job.view.state}/log"] = "read", job.log
    inputs = set()
    for name, found in job.fingerprint.inputs.items():
        for file in found:
            inputs.add(file.absolute)
            path = job.seen_as(name, file.path)
            if is_below(path):
                _refuse_in_state(job, name, path.rstrip("/"))
                contents.ours[path.rstrip("/")] = "read", file.absolute
            else:
                contents.show(file.absolute)
    for prefix in spec.tools_of(job.stage):
        contents.show_tools(prefix)
    for path in job.fingerprint.watched.keys() - inputs:
        contents.show(path)
    _refuse_overlaps(job, contents)
    contents.ours |= {directory: ("write", source) for directory, source in job.view.others.items()}
    steps = [*contents.steps(job.view.root, job.view.seen.values())]
    if len(steps) > MOST_ENTRIES:
        what = f"its view would have {len(steps):,} entries, more than {MOST_ENTRIES:,}"
        raise OfflineError(Fault(f"stage {job.stage.name}", what, "declare a directory in place of its files"))
    return point, steps


def _refuse_in_state(job: Job, name: str, path: str) -> None:
    """Raise SpecError for an input of root in whose place a view shows the state directory, which is elsewhere."""
    assert job.view is not None
    if path in upward(job.view.state, "") or job.view.state in upward(path, ""):
        what = f'"{path}" overlaps with "{job.view.state}", the state directory'
        hint = 'choose another "stateDir", or another path in "seenAs"'
        raise SpecError(Fault(f"stage {job.stage.name}, input {name}", what, hint))


def _refuse_overlaps(job: Job, contents: Contents) -> None:
    """Raise SpecError for an input that the view covers, and for an output in whose place it shows something."""
    assert job.view is not None
    if "/" in contents.bases:
        what = "cannot be sealed: root or the workspace is /, in whose place no view can show anything"
        raise SpecError(Fault(f"stage {job.stage.name}", what, "choose a directory below /"))
    if covered := contents.covered():
        what = f'cannot be sealed: "{covered}" lies where a view shows root and workspace as one directory'
        raise SpecError(
            Fault(f"stage {job.stage.name}", what, "choose a workspace that is neither below root nor above")
        )
    names = {path: name for name, path in job.view.seen.items()}
    pairs = [(above, other) for other in contents.ours for above in upward(other, "") if above in names]
    for path in names:
        pairs += [(path, above) for above in upward(path, "") if contents.ours.get(above, ("",))[0] == "read"]
    for path, other in pairs:
        what = f'"{path}" overlaps with "{other}", which the stage sees there'
        hint = "choose a path that is, holds and lies in nothing that the stage reads, nor HOME"
        raise SpecError(Fault(f"stage {job.stage.name}, output {names[path]}", what, hint))
