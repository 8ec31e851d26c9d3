"""What only the disk knows of a spec: whether root and processors are there, and what stands where outputs will be.

Looks at paths, opens nothing. Inputs are not looked at: whether they are there is decided when the run is planned.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from runner.spec.index import parents
from runner.spec.kinds import Finding
from runner.spec.locations import bare
from runner.spec.model import READY_MADE
from runner.spec.references import step
from runner.spec.words import did_you_mean, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.spec.model import Spec

    Json = Mapping[str, object]
    Identity = tuple[int, int]


def ready_made_directory() -> str:
    """Return where the stages that come with offpipe are: inside an installed package, or beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    installed = os.path.join(package, "stages")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(package), "stages")


def check_disk(spec: Spec, given: Sequence[Json]) -> Iterator[Finding]:
    """Check root, processors and outputs; `given` are the stages as written, for pointers into lists."""
    if not os.path.isdir(spec.root):
        yield Finding(("root",), f"no such directory: {show(spec.root)}", "root is relative to the spec's directory")
        return
    programs: dict[str, tuple[str, str] | None] = {}
    identities: dict[Identity, str] = {}
    _identify(spec.path, "the spec", identities)
    for stage in spec.stages:
        path = spec.processor_path(stage)
        if path is None:
            continue
        if path not in programs:
            programs[path] = _processor_fault(path, stage.processor or "")
            _identify(path, "a processor", identities)
        if found := programs[path]:
            yield Finding(("stages", stage.index, "processor"), *found)
    directories = _Directories(spec.workspace)
    for stage in spec.stages:
        for name, path in stage.outputs.items():
            if found := directories.fault_over(path) or _output_fault(f"{spec.workspace}/{path}", path, identities):
                at = ("stages", stage.index, "outputs", step(given[stage.index], "outputs", stage.outputs, name))
                yield Finding(at, *found)


class _Directories:
    """Remembers which directories over outputs were looked at: what is wrong with each or with one above it."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._faults: dict[str, tuple[str, str] | None] = {"": None}

    def fault_over(self, path: str) -> tuple[str, str] | None:
        directory = bare(path).rpartition("/")[0]
        if directory in self._faults:
            return self._faults[directory]
        fault = None
        for parent in parents(path):
            if parent not in self._faults:
                self._faults[parent] = fault or self._fault_of(parent)
            fault = self._faults[parent]
        return fault

    def _fault_of(self, directory: str) -> tuple[str, str] | None:
        full = os.path.join(self._workspace, directory)
        try:
            mode = os.lstat(full).st_mode
        except OSError:  # not there yet, or below what is not there; a run makes it, or says why it cannot
            return None
        if stat.S_ISLNK(mode):
            return self._link_fault(full, directory)
        if not stat.S_ISDIR(mode):
            return f'"{directory}" is there and is no directory', "outputs cannot be below it"
        return None

    def _link_fault(self, full: str, directory: str) -> tuple[str, str]:
        """A link that stays inside is refused too, since two spellings of one output could not be told apart."""
        real = os.path.relpath(os.path.realpath(full), os.path.realpath(self._workspace))
        if real.startswith("../") or real == "..":
            hint = "write below the workspace, or choose it with --workspace DIR"
            return f'outside the workspace: "{directory}" is a symbolic link to {show(os.readlink(full))}', hint
        return f'"{directory}" is a symbolic link', f'write the path that it leads to: "{real}"'


def _identify(path: str, what: str, identities: dict[Identity, str]) -> None:
    try:
        status = os.stat(path)
    except OSError:
        return
    identities.setdefault((status.st_dev, status.st_ino), what)


def _output_fault(full: str, path: str, identities: Mapping[Identity, str]) -> tuple[str, str] | None:
    """Return what is wrong with what stands at an output's place now: `full` is where, `path` as declared."""
    try:
        status = os.stat(bare(full))
    except (OSError, ValueError):  # most often not there; a link that leads nowhere is replaced
        return None
    is_directory = stat.S_ISDIR(status.st_mode)
    if is_directory and not path.endswith("/"):
        return f'"{path}" is an existing directory', f'a directory output ends in a slash: "{path}/"'
    if path.endswith("/"):
        if os.path.islink(bare(full)):
            return f'"{path}" is a symbolic link', "a directory output is a directory of its own"
        if not is_directory:
            return f'"{path}" is there and is no directory', "remove it, or leave out the slash"
    elif what := identities.get((status.st_dev, status.st_ino)):
        return f'"{path}" is the same file as {what}', "write elsewhere"
    return None


def _processor_fault(path: str, written: str) -> tuple[str, str] | None:
    if written.startswith(READY_MADE) and "/" in written:
        return f"{show(written)} names no ready-made stage", f"{READY_MADE}NAME is a file name without a directory"
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"no such file: {show(written)}", _missing_hint(path, written)
    except OSError as error:
        return f"cannot look at {show(written)}: {error.strerror}", ""
    if not stat.S_ISREG(mode):
        return f"{show(written)} is {'a directory' if stat.S_ISDIR(mode) else 'no regular file'}", "name a program"
    if path.endswith(".py"):
        return None if os.access(path, os.R_OK) else (f"{show(written)} is not readable", f"chmod +r {written}")
    if not os.access(path, os.X_OK):
        return f"{show(written)} is not executable", f"chmod +x {written}, or name its interpreter in a command"
    return None


def _missing_hint(path: str, written: str) -> str:
    directory, name = os.path.split(path)
    try:
        entries = sorted(entry for entry in os.listdir(directory) if not entry.startswith(("_", ".")))
    except OSError:
        entries = []
    if written.startswith(READY_MADE):
        return _ready_made_hint(name, [entry for entry in entries if entry.endswith(".py")])
    near = did_you_mean(name, entries)
    if near.startswith("did you mean"):
        return f"{near} (in {show(os.path.dirname(written) or '.')})"
    return 'processors are relative to root; a program on PATH is a "command"'


def _ready_made_hint(name: str, entries: Sequence[str]) -> str:
    """Return which ready-made stage is meant; `uper` and `upper.py` are `stage_upper.py`."""
    plain = {entry: entry.removeprefix("stage_").removesuffix(".py") for entry in entries}
    near = did_you_mean(name.removeprefix("stage_").removesuffix(".py"), list(plain.values()))
    for entry, short in plain.items():
        if near == f"did you mean {show(short)}?":
            return f"did you mean {show(READY_MADE + entry)}?"
    return f"known: {', '.join(READY_MADE + entry for entry in entries)}"
