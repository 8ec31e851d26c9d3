"""Copies of a pipeline, or of one stage, with the inputs and the code that the spec declares, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_offpipe.compare import bytes_below
from runner.engine import Options
from runner.engine.programs import find_command
from runner.engine.session import without_orphans
from runner.errors import Fault, InputError, OffpipeError, UsageError
from runner.plan.code.component import CodeReader, declared_paths
from runner.plan.digests import DigestCache
from runner.plan.inputs import AbsentError, InputFile, InputResolver
from runner.plan.orphans import find_orphans
from runner.record.files import discard as remove
from runner.record.markers import read_markers
from runner.spec.each.tables import NOTHING_MADE
from runner.spec.globs import is_glob, literal_directory
from runner.spec.graph import build_graph
from runner.spec.model import READY_MADE, Spec, Stage, effective_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from pytest_offpipe.usage import Fields
    from runner.plan.code.banned import BanList
    from runner.spec.each.tables import Made
    from runner.spec.kinds import Place

    Relink = Callable[[str], str] | None

Files = dict[str, str]  # where each belongs (an absolute path, as if in the source) -> where it is
_OPEN_HINT = "the checks of --offpipe-spec and the fixture offpipe_run make them; offpipe.cli runs everything"
LARGEST = 64 * 1024 * 1024
"""Bytes of source input that a test copies at most."""


class Sandbox(NamedTuple):
    """A copy: its spec, its root, and directories in place of the user's home and temporary directory.

    `origin` is the user's root from which the files come. All copied files are below `files` in `directory`, also those
    outside the spec's root.
    """

    directory: str
    spec: str
    root: str
    origin: str

    @property
    def home(self) -> str:
        """The HOME of its stages."""
        return f"{self.directory}/home"

    @property
    def temporary(self) -> str:
        """Below it each attempt has its TMPDIR."""
        return f"{self.directory}/tmp"


class Source:
    """Finds the files that a spec declares, in order to copy them."""

    def __init__(self, spec: Spec, inputs: str | None = None) -> None:
        """`inputs`: a tree with the same relative paths. An input that has files there takes only those."""
        self.spec = spec
        self.graph = build_graph(spec)
        self._smaller = InputResolver(build_graph(spec._replace(root=inputs, workspace=inputs))) if inputs else None
        self._reader = code_reader(spec)

    def files(self, stages: Iterable[Stage], *, is_complete: bool = True) -> Files:
        """Return the files to copy for `stages`: their code, and their inputs that no stage makes.

        Raises InputError for missing files, and OfflineError for code that cannot be parsed. Unless `is_complete`, it
        leaves these files out instead. Raises InputError for an input without a path, and UsageError for more input
        than a test should copy.
        """
        inputs: Files = {}
        code: Files = {}
        faults: list[Fault] = []
        errors: list[OffpipeError] = []
        for stage in stages:
            for name in () if stage.is_unexpanded else stage.inputs:  # code_of says what is not known
                self._require_paths(stage, name)
                try:
                    inputs.update(self.input_files(stage, name))
                except InputError as error:
                    faults.extend(error.faults)
            processor = self.spec.processor_path(stage)
            if processor and not str(stage.processor).startswith(READY_MADE):
                code[processor] = processor  # without it, the spec could not even be loaded
            try:
                code.update(self.code_of(stage))
            except OffpipeError as error:
                errors.append(error)
        if is_complete and (faults or errors):
            raise InputError(*faults) if faults else errors[0]
        total = sum(bytes_below(os.path.realpath(path)) for path in {*inputs.values()})
        if total > LARGEST:
            what = f"{total / 2**20:,.0f} MiB of source input, and a test copies at most {LARGEST >> 20}"
            hint = "lay smaller inputs out in a directory, as below root, and give it: --offpipe-inputs DIR"
            raise UsageError(Fault(self.spec.shown, what, hint))
        return inputs | code

    def code_of(self, stage: Stage) -> Files:
        """Return the code files of a stage, without those that come with offpipe.

        A program below root that the command finds along PATH is code, as if the command named it by its path. The
        offline scan is not applied. Raises OfflineError for what cannot be parsed, and InputError for a template whose
        instances are not known.
        """
        if stage.is_open:
            where = f"{self.spec.shown}#/stages/{stage.index}/each"
            raise InputError(Fault(where, f"its values are what {', '.join(stage.sources)} will make", _OPEN_HINT))
        if stage.missing:
            raise InputError(stage.missing)
        program, _ = find_command(self.spec, stage)
        tools = tuple(f"{prefix}/" for prefix in self.spec.tools_of(stage))  # used where they are
        is_inside = program and program.startswith(f"{self.spec.root}/") and not program.startswith(tools)
        if stage.command and program and is_inside:
            stage = stage._replace(command=(os.path.relpath(program, self.spec.root), *stage.command[1:]))
        own = f"{self.spec.ready_made}/" if str(stage.processor).startswith(READY_MADE) else "\0"
        return {path: path for path in self._reader.read(stage).watched if not path.startswith(own)}

    def input_files(self, stage: Stage, name: str) -> Iterator[tuple[str, str]]:
        """Yield for each source file of one input where it belongs, and where it is.

        Raises InputError if a path that no stage makes has none.
        """
        faults: list[Fault] = []
        for _, at, pattern in stage.entries(name):
            is_made = bool(self.graph.outputs.matches(pattern))
            if is_made and not is_glob(pattern):
                continue
            try:
                files = self._find(stage, at, pattern)
            except InputError as error:
                is_allowed = isinstance(error, AbsentError) and self._resolver.may_be_absent(stage, name, pattern)
                faults.extend(() if is_made or is_allowed else error.faults)
                continue
            for file in files:
                # A glob may also match outputs of earlier runs, which are not source files.
                if not self.graph.outputs.holds(file.path):
                    yield self.spec.source_path(file.path), file.absolute.rstrip("/")
        if faults:
            raise InputError(*faults)
        self._require_paths(stage, name)

    def _require_paths(self, stage: Stage, name: str) -> None:
        """Raise InputError for an input without a path, if it is not optional: no copy of the spec can hold it."""
        if not stage.inputs[name] or any(join.label == name and not join.found for join in stage.joins):
            self._resolver.resolve(stage, name, self.graph.outputs.producers)

    def content(self, stages: Iterable[Stage]) -> dict[str, Any]:
        """Return, as JSON, the spec of a copy with these stages.

        It has no template without instances. So it lacks the paths that only those would make, if nothing is there.
        """
        copied = tuple(stage._replace(inputs=self.present(stage)) for stage in stages)
        return effective_spec(self.spec._replace(stages=copied))

    def present(self, stage: Stage) -> dict[str, str | tuple[str, ...]]:
        """Return the inputs of a stage, without absent paths that only stages without instances would make."""
        inputs = {**stage.inputs}
        for name, given in stage.inputs.items() if self.spec.empty else ():
            kept = tuple(path for _, at, path in stage.entries(name) if not self._may_lack(stage, name, at, path))
            if len(kept) < len((given,) if isinstance(given, str) else given) and (kept or name in stage.optional):
                inputs[name] = kept
        return inputs

    def _may_lack(self, stage: Stage, name: str, at: Place, pattern: str) -> bool:
        """Whether a path of an input has no file, and need not have one."""
        try:
            self._find(stage, at, pattern)
        except AbsentError:
            return self._resolver.may_be_absent(stage, name, pattern)
        except InputError:
            pass  # which a run reports
        return False

    def _find(self, stage: Stage, at: Place, pattern: str) -> list[InputFile]:
        if self._smaller:
            with contextlib.suppress(InputError):
                return self._smaller.find(stage, at, pattern)
        return self._resolver.find(stage, at, pattern)

    @cached_property
    def _resolver(self) -> InputResolver:
        orphans = find_orphans(self.spec, read_markers(self.spec.paths), DigestCache())
        return InputResolver(self.graph, orphans)

    def inputs_of(self, stage: Stage) -> Files:
        """Return all inputs of a stage, including those that other stages made if the workspace is the root."""
        files = (file for name in stage.inputs for file in self._resolver.resolve(stage, name))
        return {self.spec.source_path(file.path): file.absolute.rstrip("/") for file in files}


def load(path: str, inputs: str | None = None, made: Made = NOTHING_MADE, content: bytes | None = None) -> Spec:
    """Return a spec, in which no `each` matches an orphan; `inputs` and `content` as for load_spec. Raises SpecError.

    What stages have `made`, in a copy, gives values to templates; what they made in the user's workspace does not.
    """
    options = Options(inputs=inputs, made=made)
    spec = options.load(path, content=content)
    return without_orphans(options, spec, [*read_markers(spec.paths)], DigestCache())[0] if spec.matches else spec


def code_reader(spec: Spec, bans: BanList | None = None) -> CodeReader:
    """Return a reader of stages' code, without caches; without `bans`, nothing is banned."""
    return CodeReader(spec, DigestCache(trust=False), declared_paths(spec), bans)


def lay_out(
    spec: Spec,
    directory: str,
    files: Files,
    content: Fields,
    unchanged: Collection[str] = (),
    origin: str = "",
    root: str = "",
) -> Sandbox:
    """Copy `files` into a `directory`, with `content` as the spec; leave files that are `unchanged` there as they are.

    Files keep their positions relative to each other, so that every relative path of the spec still holds. `origin`:
    the user's own root, if `spec` is that of a copy. `root`: that of the sandbox, if it was laid out before.
    """
    opened = (path for stage in spec.stages if stage.is_open for _, _, path in stage.entries())
    later = (spec.source_path(literal_directory(path)) for path in opened)  # there, files of instances may be
    top = os.path.commonpath([os.path.dirname(spec.path), spec.root, *map(os.path.dirname, files), *later])
    if root:
        top = os.path.normpath(os.path.join(spec.root, os.path.relpath(f"{directory}/files", root)))

    def place(path: str) -> str:
        relative = os.path.relpath(path, top)
        if relative.startswith("../"):  # the target of a link, far from all declared files
            relative = path.lstrip("/")
        return os.path.normpath(f"{directory}/files/{relative}")

    sandbox = Sandbox(directory, place(spec.path), place(spec.root), origin or spec.root)
    for made in (sandbox.root, sandbox.home, sandbox.temporary, os.path.dirname(sandbox.spec)):
        os.makedirs(made, exist_ok=True)
    for path, source in sorted(files.items()):
        if path not in unchanged:
            copy(source, place(path), place)
    filled = {name: value for name, value in content.items() if name != "vars"}  # their values are in the stages
    left_out = ("programVersion", "temporary")  # asked anew in each run of the copy; a check compares all outputs
    filled["stages"] = [
        {name: value for name, value in stage.items() if name not in left_out} for stage in filled["stages"]
    ]
    for stage in filled["stages"]:
        if "tools" in stage:  # environments are used where they are
            paths = [stage["tools"]] if isinstance(stage["tools"], str) else stage["tools"]
            stage["tools"] = [*map(spec.source_path, paths)]
    Path(sandbox.spec).write_text(json.dumps(filled, indent=1), encoding="utf-8")
    return sandbox


def one_stage(spec: Spec, stage: Stage, overrides: Fields) -> dict[str, Any]:
    """Return, as JSON, the spec of a pipeline with this stage alone; the outputs of other stages are plain inputs.

    `overrides` replace fields of the stage; None removes a field.
    """
    content: dict[str, Any] = effective_spec(spec._replace(stages=(stage,)))
    changed = {**content["stages"][0], "needs": [], **overrides}
    content["stages"] = [{name: value for name, value in changed.items() if value is not None}]
    return content


def copy(source: str, to: str, relink: Relink = None) -> None:
    """Copy a file or a directory with modes and times. A link is followed.

    A link within a directory stays a link, with the same text. With `relink`, a link out of the directory leads to the
    place that `relink` returns for its absolute target. Raises InputError for anything else.
    """
    try:
        os.makedirs(os.path.dirname(to), exist_ok=True)
        if os.path.isdir(source):
            _copy_directory(source, to, source, relink)
        else:
            shutil.copy2(source, to)
    except OSError as error:
        raise InputError(Fault(str(error.filename or source), f"cannot copy it: {error.strerror or error}")) from error


def _copy_directory(source: str, to: str, top: str, relink: Relink) -> None:
    os.makedirs(to, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            target = f"{to}/{entry.name}"
            if entry.is_symlink():
                os.symlink(_link_text(entry.path, target, top, relink), target)
            elif entry.is_dir():
                _copy_directory(entry.path, target, top, relink)
            elif entry.is_file():
                shutil.copy2(entry.path, target)
            else:
                what = "is not a regular file, directory or link"
                raise InputError(Fault(entry.path, what, "nothing else can be an input"))
    shutil.copystat(source, to)


def _link_text(link: str, target: str, top: str, relink: Relink) -> str:
    text = os.readlink(link)
    meant = os.path.normpath(os.path.join(os.path.dirname(link), text))
    is_inside = f"{meant}/".startswith(f"{top}/")
    if relink is None or (is_inside and not os.path.isabs(text)):
        return text
    if is_inside:
        return os.path.relpath(meant, os.path.dirname(link))
    return os.path.relpath(relink(meant), os.path.dirname(target))


def discard(path: str | Path) -> None:
    """Remove a file or a directory, if it exists, even if a stage has changed its permissions."""
    remove(os.fspath(path))
