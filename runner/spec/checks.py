"""Checks beyond the table of fields: what names refer to, where outputs lead, and what is on disk.

Checks yield findings. These name inputs and outputs even if the spec lists them without names. A flaw is a finding
without its place, which the caller adds.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING

from runner.errors import Fault, UsageError
from runner.paths import OWN_DIRECTORY, is_partial, upward, variable_name
from runner.spec.fields import LABEL
from runner.spec.globs import bare, entries_of, is_below, is_glob, literal_directory, parents
from runner.spec.graph import OutputIndex, unknown_name, unknown_names
from runner.spec.kinds import Finding, Place, did_you_mean, show
from runner.spec.model import READY_MADE, Spec, Stage
from runner.spec.values import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    Flaw = tuple[str, str] | None  # the fact and a hint

RESERVED = "pipeline"
LONGEST_NAME = 255  # NAME_MAX of every file system in use
LONGEST_OUTPUT_NAME = 235  # so that `.partial-<6 hex>.NAME` fits as well, with room for a temporary's own mark
_ELSEWHERE = "write elsewhere"
_NOUNS = {"state": "the state directory", "locks": "the locks directory", "noop": "offpipe's own directory"}


# ---- names -----------------------------------------------------------------------------------------------------------


def check_names(spec: Spec) -> Iterator[Finding]:
    """Check the names of stages, and those in `needs`."""
    declared = spec.declared
    yield from _check_stage_names(declared)
    stages = {stage.index: stage for stage in declared}.values()  # one instance of each template is enough
    unknown = {*unknown_names(spec, {needed for stage in stages for needed in stage.needs})}
    for stage in stages if unknown else ():
        for position, needed in enumerate(stage.needs):
            if needed in unknown:
                others = [other for other in declared if other.index != stage.index]
                yield Finding(("stages", stage.index, "needs", position), *unknown_name(needed, others))


def _check_stage_names(stages: Sequence[Stage]) -> Iterator[Finding]:
    """Refuse names that differ by case only: names become files, and not every file system keeps these apart."""
    first: dict[str, tuple[str, int]] = {}
    for stage in stages:
        at = ("stages", stage.index, "name")
        written = stage.template if stage.values or stage.is_unexpanded else stage.name
        for name in dict.fromkeys((written, stage.name)):
            other, index = first.setdefault(name.lower(), (name, stage.index))
            if name.lower() == RESERVED:
                yield Finding(at, f'no stage may be called "{name}"', "the name stands for the whole pipeline")
            elif name and index != stage.index:
                differs = "" if other == name else f', differing from "{other}" by case only'
                yield Finding(at, f'a second stage called "{name}"{differs}', f"the first is #/stages/{index}")


def stem_flaw(name: str, field: str, written: str, taken: Collection[str]) -> Flaw:
    """Return why the stem of a path in a list cannot be its name."""
    hint = f'give names: "{field}": {{"NAME": "{written}"}}'
    if LABEL.check(name):
        return f'"{name}", the stem of the path, is not allowed as a name', hint
    return (f'two paths have the stem "{name}", which is their name', hint) if name in taken else None


def variable_flaw(name: str, variables: dict[str, str]) -> Flaw:
    """Return the flaw of a name whose variable an earlier name has, too. Add the variable to `variables`."""
    other = variables.setdefault(variable_name(name), name)
    if other == name:
        return None
    return f'"{other}" and "{name}" become the same variable, {variable_name(name)}', "rename one of them"


def glob_flaw(written: str) -> Flaw:
    """Return why an input cannot match any file."""
    names = written[len(literal_directory(written)) :].split("/") if is_glob(written) else []
    if ".." in names:
        return '".." after a wildcard', "say where the files are without it"
    hidden = next((name for name in names if name.startswith(".") and name != "."), "")
    return (f"{show(hidden)} can match nothing", "a glob never matches hidden files") if hidden else None


def path_finding(stage: Stage, at: Place, what: str, hint: str) -> Finding:
    """Return the finding of a path. The text names an instance, since a path differs from instance to instance."""
    return Finding(("stages", stage.index, *at), f"{stage.name}: {what}" if stage.values else what, hint)


# ---- outputs ---------------------------------------------------------------------------------------------------------


def check_outputs(spec: Spec) -> Iterator[Finding]:
    """Refuse outputs that are outside the workspace, doubled, nested, or in the place of something else."""
    place_flaw = _place_finder(_taken_places(spec), _ELSEWHERE)
    first: dict[str, tuple[Stage, str]] = {}  # bare path -> the first output that has it
    outputs = [
        (stage, name, path) for stage in spec.stages if not stage.is_unexpanded for name, path in stage.outputs.items()
    ]
    for stage, name, path in outputs:
        first.setdefault(bare(path), (stage, name))
    for stage, name, path in outputs:
        if flaw := _path_flaw(path) or place_flaw(path) or _overlap(path, stage, name, first):
            yield path_finding(stage, ("outputs", name), *flaw)


def check_results(spec: Spec, faulty: Mapping[int, Collection[str]]) -> Iterator[Finding]:
    """Refuse results that are no outputs, and `files` of an output that is a file. `faulty` as for check_commands."""
    stages = {stage.index: stage for stage in spec.declared if "outputs" not in faulty.get(stage.index, ())}.values()
    for stage in stages:  # one instance of each template is enough
        for label, result in (stage.results or {}).items():
            at: Place = ("stages", stage.index, "results", label)
            if label not in stage.outputs:
                yield Finding(at, f"no output named {show(label)}", did_you_mean(label, stage.outputs))
            elif "files" in result and not stage.outputs[label].endswith("/"):
                what = f'"files" is for a directory, and output "{label}" is a file'
                yield Finding((*at, "files"), what, "leave it out, or end the path of the output in a slash")


def check_own_inputs(stages: Sequence[Stage], index: OutputIndex) -> Iterator[Finding]:
    """Refuse outputs that the same stage also reads, and inputs that differ from an output by the final `/` only."""
    for stage in (stage for stage in stages if not stage.is_unexpanded):
        for name, at, pattern in stage.entries():
            meant = {path for _, path in index.matches(pattern)}
            for output, path in stage.outputs.items():
                if path in meant:
                    what = f'"{path}" is also read by this stage, as input "{name}"'
                    yield path_finding(stage, ("outputs", output), what, _ELSEWHERE)
            other = bare(pattern) if pattern.endswith("/") else f"{pattern}/"
            if other in index.producers and pattern not in index.producers:
                kind = "directory" if other.endswith("/") else "file"
                what = f'"{pattern}" is a {kind} that stage "{index.producers[other][0]}" writes'
                yield path_finding(stage, ("inputs", *at), what, f'write "{other}"')


def check_input_places(spec: Spec) -> Iterator[Finding]:
    """Refuse inputs in the directories of offpipe, and directories that contain root or one of these."""
    hint = 'keep what the stage reads in a directory of its own, such as "data/"'
    place_flaw = _place_finder(taken_by_runs(spec, spec.root), hint)
    made = {path for stage in spec.stages for path in stage.outputs.values()}  # these are below the workspace
    for stage in spec.stages:
        for _, at, path in stage.entries():
            flaw = None if path in made else place_flaw(path)
            if not path.replace("../", "").removeprefix("./"):
                flaw = f'"{path}" {"is root itself" if path == "./" else "contains root"}', hint
            if flaw:
                yield path_finding(stage, ("inputs", *at), *flaw)


def _path_flaw(path: str) -> Flaw:
    if not is_below(path):
        what = "is the workspace itself" if path == "./" else "is outside the workspace"
        return f'"{path}" {what}', "outputs are paths below root, or below --workspace DIR"
    return names_flaw(path)


def names_flaw(path: str) -> Flaw:
    """Return why an output cannot have the names in a path."""
    names = bare(path).split("/")
    if (size := len(names[-1].encode())) > LONGEST_OUTPUT_NAME:
        return (
            f"a file name of {size} bytes",
            f"at most {LONGEST_OUTPUT_NAME}, because the name of its partial is longer",
        )
    if any(len(name.encode()) > LONGEST_NAME for name in names):
        return "a directory name that is too long", f"at most {LONGEST_NAME} bytes"
    if is_partial(names[-1]):
        return f'"{path}" is named like the partial of an output', "choose another name"
    return None


def _overlap(path: str, stage: Stage, name: str, first: Mapping[str, tuple[Stage, str]]) -> Flaw:
    """Return the flaw of an output that equals an earlier one, or is inside another."""
    owner, owner_name = first[bare(path)]
    if owner is not stage or owner_name != name:
        what = f'"{path}" is already an output of {_whose(owner, stage)}'
        return what, "every output has one stage that writes it"
    for parent in parents(path):
        if parent in first:
            what = f'"{path}" is inside "{parent}", an output of {_whose(first[parent][0], stage)}'
            return what, "outputs do not contain each other"
    return None


def _whose(owner: Stage, stage: Stage) -> str:
    return "this stage" if owner is stage else f'stage "{owner.name}"'


def _taken_places(spec: Spec) -> dict[str, str]:
    """Return the places where no output may be: relative to the workspace -> noun. Directories end in `/`."""
    taken = taken_by_runs(spec, spec.workspace)
    for base in {f"{directory.rstrip('/')}/" for directory in (spec.root, spec.workspace)}:
        for path, what in _sources(spec).items():
            if path.startswith(base):
                taken.setdefault(path.removeprefix(base), what)
    return taken


def _sources(spec: Spec) -> dict[str, str]:
    """Return the spec and the processors: absolute path -> noun."""
    files = {spec.path: "the spec"}
    for stage in spec.stages:
        if (path := spec.processor_path(stage)) is not None:
            files.setdefault(path, f'the processor of stage "{stage.name}"')
    return files


def taken_by_runs(spec: Spec, base: str) -> dict[str, str]:
    """Return the directories that only offpipe writes to: relative to `base`, with a final `/` -> noun."""
    return {f"{os.path.relpath(place, base)}/": _NOUNS[kind] for kind, place in own_directories(spec)}


def own_directories(spec: Spec) -> tuple[tuple[str, str], ...]:
    """Return the directories that only offpipe writes to: what is in each, and its absolute path."""
    beside = os.path.dirname(spec.path)
    own = (("noop", os.path.join(directory, OWN_DIRECTORY)) for directory in (beside, spec.workspace))
    return ("state", spec.paths.state_dir), ("locks", spec.paths.locks_dir), *own


def _place_finder(taken: dict[str, str], hint: str) -> Callable[[str], Flaw]:
    """Return a function that returns the flaw of a path in or around one of the places that are `taken`."""
    # Reversed: of the places in one directory, the first wins.
    around = {f"{parent}/": noun for place, noun in reversed(taken.items()) for parent in parents(place)}

    def flaw(path: str) -> Flaw:
        for place in (*(f"{parent}/" for parent in parents(path)), f"{bare(path)}/", bare(path)):
            if place in taken:
                within = "" if bare(place) == bare(path) else "in "
                return f'"{path}" is {within}{taken[place]}', hint
        return (f'"{path}" contains {around[path]}', hint) if path in around else None

    return flaw


# ---- the disk --------------------------------------------------------------------------------------------------------


def check_disk(spec: Spec) -> Iterator[Finding]:
    """Check root, processors, and what exists in the place of outputs. Opens no file.

    Inputs are left to the plan of a run. Raises UsageError for a workspace that is not a directory.
    """
    if not os.path.isdir(spec.root):
        yield Finding(("root",), f'no such directory: "{spec.root}"', "root is relative to the spec's directory")
        return
    there = next(place for place in upward(spec.workspace, "/") if os.path.lexists(place))
    if not os.path.isdir(there):
        what = f'"{there}" is not a directory'
        raise UsageError(Fault("--workspace", what, "name a directory, or a path where nothing is yet"))
    own = os.path.relpath(spec.paths.state_dir, spec.workspace)
    flaws = (_directory_flaw(spec.workspace, place, links=True) for place in (*parents(own), own))
    if flaw := next(filter(None, flaws), None):
        yield Finding(("stateDir",), *flaw)
    identities: dict[tuple[int, int], str] = {}  # device and inode -> a file that no stage may write
    for path, what in _sources(spec).items():
        with suppress(OSError):
            status = os.stat(path)
            identities.setdefault((status.st_dev, status.st_ino), what)
    processor_flaw, directory_flaw = cache(_processor_flaw), cache(partial(_directory_flaw, spec.workspace))
    for stage in spec.stages:
        processor = spec.processor_path(stage)
        is_known = processor is not None and not (stage.is_open and UNKNOWN in processor)
        if is_known and (flaw := processor_flaw(processor, stage.processor or "")):
            yield path_finding(stage, ("processor",), *flaw)
        for name, path in stage.outputs.items():
            flaw = next(filter(None, map(directory_flaw, parents(path))), None)
            if flaw := flaw or _output_flaw(f"{spec.workspace}/{path}", path, identities):
                yield path_finding(stage, ("outputs", name), *flaw)


def _directory_flaw(workspace: str, directory: str, *, links: bool = False) -> Flaw:
    """Return why nothing can be made below a directory.

    Without `links`, a link inside the workspace is refused too: with it, one output could have two paths.
    """
    full = os.path.join(workspace, directory)
    try:
        mode = os.lstat(full).st_mode
    except OSError:  # a run makes it, or says why it cannot
        return None
    if stat.S_ISLNK(mode):
        real = os.path.relpath(os.path.realpath(full), os.path.realpath(workspace))
        if real.startswith("../") or real == "..":
            hint = "write below the workspace, or choose it with --workspace DIR"
            return f'outside the workspace: "{directory}" is a symbolic link to {show(os.readlink(full))}', hint
        if not links:
            return f'"{directory}" is a symbolic link', f'write the path it leads to: "{real}"'
    if not os.path.isdir(full):
        return f'"{directory}" is there and is not a directory', "remove it, or choose another name"
    return None


def _output_flaw(full: str, path: str, identities: Mapping[tuple[int, int], str]) -> Flaw:
    """Return why a run cannot replace the file at `full`, the place of the output `path`."""
    try:
        status = os.stat(bare(full))
    except (OSError, ValueError):  # nothing is there, or a dangling link, which is replaced
        return None
    is_directory = stat.S_ISDIR(status.st_mode)
    if path.endswith("/"):
        if os.path.islink(bare(full)):
            return f'"{path}" is a symbolic link', "a directory output is a directory of its own"
        return (
            None if is_directory else (f'"{path}" is there and is not a directory', "remove it, or leave out the slash")
        )
    if is_directory:
        return f'"{path}" is an existing directory', f'a directory output ends in a slash: "{path}/"'
    what = identities.get((status.st_dev, status.st_ino))
    return (f'"{path}" is the same file as {what}', _ELSEWHERE) if what else None


def _processor_flaw(path: str, written: str) -> Flaw:
    if written.startswith(READY_MADE) and "/" in written:
        return (
            f"{show(written)} is not the name of a ready-made stage",
            f"{READY_MADE}NAME is a file name without a directory",
        )
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return f"no such file: {show(written)}", _missing_hint(path, written)
    except OSError as error:
        return f"cannot check {show(written)}: {error.strerror}", ""
    if not stat.S_ISREG(mode):
        return f"{show(written)} is {'a directory' if stat.S_ISDIR(mode) else 'not a regular file'}", "name a program"
    if path.endswith(".py"):
        return None if os.access(path, os.R_OK) else (f"{show(written)} is not readable", f"chmod +r {written}")
    if not os.access(path, os.X_OK):
        return f"{show(written)} is not executable", f"chmod +x {written}, or name its interpreter in a command"
    return None


def _missing_hint(path: str, written: str) -> str:
    directory, name = os.path.split(path)
    entries = [entry for entry in entries_of(directory) if entry[0] not in "_."]
    if written.startswith(READY_MADE):
        ready_made = [READY_MADE + entry for entry in entries if entry.endswith(".py")]
        return did_you_mean(written.removesuffix(".py"), ready_made)
    near = did_you_mean(name, entries)
    if near.startswith("did you mean"):
        return f"{near} (in {show(os.path.dirname(written) or '.')})"
    return 'processors are relative to root; a program on PATH is a "command"'
