"""Copies of a pipeline, or of one stage, that hold only what the spec declares: inputs, code, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner.decide.code import CodeReader
from runner.decide.digests import DigestCache
from runner.decide.inputs import InputResolver
from runner.errors import Fault, InputError, OffpipeError, UsageError
from runner.spec.globs import is_glob
from runner.spec.graph import build_graph
from runner.spec.locations import bare
from runner.spec.model import READY_MADE, effective_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from runner.decide.code import Scan
    from runner.spec.graph import Graph
    from runner.spec.model import Spec, Stage

    Relink = Callable[[str], str]


def copy(source: str, to: str, relink: Relink | None = None) -> None:
    """Copy a file or a directory with modes and times; a link is copied as what it leads to.

    A link within a directory stays one: with the same text, or, with `relink`, to the place that this gives for the
    absolute path which it means. Raises InputError for what cannot be copied.
    """
    try:
        os.makedirs(os.path.dirname(to), exist_ok=True)
        if os.path.isdir(source):
            _copy_directory(source, to, source, relink)
        else:
            shutil.copy2(source, to)
    except OSError as error:
        raise InputError(Fault(str(error.filename or source), f"cannot copy it: {error.strerror or error}")) from error


def _copy_directory(source: str, to: str, top: str, relink: Relink | None) -> None:
    os.makedirs(to, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            target = os.path.join(to, entry.name)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                os.symlink(_link_text(entry.path, target, top, relink), target)
            elif stat.S_ISDIR(mode):
                _copy_directory(entry.path, target, top, relink)
            elif stat.S_ISREG(mode):
                shutil.copy2(entry.path, target)
            else:
                what = "is no regular file, directory or link"
                raise InputError(Fault(entry.path, what, "nothing else can be an input"))
    shutil.copystat(source, to)


def _link_text(link: str, target: str, top: str, relink: Relink | None) -> str:
    text = os.readlink(link)
    meant = os.path.normpath(os.path.join(os.path.dirname(link), text))
    is_inside = f"{meant}/".startswith(f"{top}/")
    if relink is None or (is_inside and not os.path.isabs(text)):
        return text
    if is_inside:
        return os.path.relpath(meant, os.path.dirname(link))
    return os.path.relpath(relink(meant), os.path.dirname(target))


def files_below(path: str) -> list[str]:
    """Return the files of a directory and of those in it, links to directories left out; else the path itself."""
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(directory, name) for directory, _, names in os.walk(path) for name in names]


def bytes_below(path: str) -> int:
    """Return how many bytes these files hold; of a link its text."""
    return sum(os.lstat(file).st_size for file in files_below(path))


_origins: dict[str, str] = {}  # root of a copy made in this process -> the root that it stands for
LARGEST = 64 * 1024 * 1024
"""Bytes of source input that are copied without being asked for: more than that makes no test."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Where a copy lies: its spec, its root, and what stands for the user's home and temporary directory.

    `origin` is the root that it was copied from; of a copy's copy, that of the first.
    """

    directory: Path
    spec: str
    root: str
    origin: str

    @property
    def tree(self) -> str:
        """All that was copied lies below it; what the spec names outside of its root too."""
        return str(self.directory / "files")

    @property
    def home(self) -> str:
        """The HOME of its stages."""
        return str(self.directory / "home")

    @property
    def temporary(self) -> str:
        """Below it each attempt has its TMPDIR."""
        return str(self.directory / "tmp")

    def remove(self) -> None:
        """Remove all of it, whatever modes its stages left."""
        discard(self.directory)


class Source:
    """The files that a spec declares, where they are now: to be copied, and nothing else."""

    def __init__(self, spec: Spec, inputs: str | None = None) -> None:
        """`inputs`: a tree with the same relative paths; an input that has files in there is taken from there only."""
        self.spec = spec
        self.graph = build_graph(spec)
        self._inputs = inputs
        self._reader: CodeReader | None = None

    def present(self) -> dict[str, str]:
        """Return what there is to copy for all stages; what `files` of a stage raises, the others do not suffer from.

        Raises UsageError for more input than a test should copy.
        """
        inputs: dict[str, str] = {}
        code: dict[str, str] = {}
        for stage in self.graph.order:
            processor = self.spec.processor_path(stage)
            if processor and not str(stage.processor).startswith(READY_MADE):
                code[processor] = processor  # without it, the spec could not even be loaded
            for found, part in ((inputs, self._inputs_of), (code, self._code_of)):
                try:
                    found.update(part(stage))
                except OffpipeError:
                    continue
        self._require_small(inputs)
        return inputs | code

    def files(self, stages: Iterable[Stage]) -> dict[str, str]:
        """Return what to copy for `stages`: where it belongs (an absolute path, as if in the source) -> where it is.

        Inputs that stages of `graph` produce are among them only as far as they lie in the source. Raises InputError
        for what is missing, OfflineError for code that cannot be parsed, UsageError for more input than a test should
        copy.
        """
        inputs: dict[str, str] = {}
        code: dict[str, str] = {}
        faults: list[Fault] = []
        for stage in stages:
            try:
                inputs.update(self._inputs_of(stage))
            except InputError as error:
                faults += error.faults
        if faults:
            raise InputError(*faults)
        self._require_small(inputs)
        for stage in stages:
            code.update(self._code_of(stage))
        return inputs | code

    def _inputs_of(self, stage: Stage) -> dict[str, str]:
        found: dict[str, str] = {}
        faults: list[Fault] = []
        for name, pattern in stage.inputs.items():
            is_fed = name in self.graph.feeds.get(stage.name, {})
            if is_fed and not is_glob(pattern):
                continue
            try:
                found.update(self.input_files(stage, name))
            except InputError as error:
                faults.extend(() if is_fed else error.faults)
        if faults:
            raise InputError(*faults)
        return found

    def _code_of(self, stage: Stage) -> dict[str, str]:
        if self._reader is None:
            self._reader = code_reader(self.spec)
        return {path: path for path in code_of(self.graph, [stage], self._reader)}

    def input_files(self, stage: Stage, name: str) -> Iterator[tuple[str, str]]:
        """Yield for each source file of one input where it belongs, and where it is. Raises InputError for none."""
        if self._inputs is not None:
            smaller = self.spec._replace(root=self._inputs, workspace=self._inputs)
            try:
                yield from self._matches(build_graph(smaller), stage, name)
            except InputError:
                pass
            else:
                return
        yield from self._matches(self.graph, stage, name)

    def _matches(self, graph: Graph, stage: Stage, name: str) -> Iterator[tuple[str, str]]:
        """Yield the source files of an input; a glob may match outputs of earlier runs as well, which are none."""
        for file in InputResolver(graph).resolve(stage, name):
            made_by = (one for one in graph.producers if file.path == one or file.path.startswith(f"{bare(one)}/"))
            if next(made_by, None) is None:
                yield self.spec.source_path(file.path), file.absolute.rstrip("/")

    def _require_small(self, files: Mapping[str, str]) -> None:
        total = sum(bytes_below(os.path.realpath(path)) for path in set(files.values()))
        if total > LARGEST:
            what = f"{total / 2**20:,.0f} MiB of source input, and a test copies at most {LARGEST >> 20}"
            hint = "lay smaller inputs out in a directory, as below root, and give it: --offpipe-inputs DIR"
            raise UsageError(Fault(self.spec.shown, what, hint))


def code_reader(spec: Spec, scan: Scan | None = None) -> CodeReader:
    """Return what reads the code of stages afresh; without a `scan` nothing is held against it."""
    declared = {path for stage in spec.stages for path in (*stage.inputs.values(), *stage.outputs.values())}
    return CodeReader(spec, DigestCache(trust=False), frozenset(declared), scan=scan)


def code_of(graph: Graph, stages: Iterable[Stage], reader: CodeReader | None = None) -> list[str]:
    """Return the absolute paths of all files that the stages consist of, but those that come with offpipe.

    What the offline scan holds against them is not asked here. Raises OfflineError for what cannot be parsed.
    """
    spec = graph.spec
    reader = reader or code_reader(spec)
    found: set[str] = set()
    for stage in stages:
        comes_along = str(stage.processor).startswith(READY_MADE)
        watched = reader.read(stage).watched
        found.update(path for path in watched if not (comes_along and path.startswith(f"{spec.ready_made}/")))
    return sorted(found)


def lay_out(
    spec: Spec, directory: Path, files: Mapping[str, str], content: Mapping[str, Any], standing: Collection[str] = ()
) -> Sandbox:
    """Copy `files` (as Source.files returns them) into a `directory`, with `content` as the spec.

    All lies as it does in the source, relative to each other, so that every relative path of the spec still holds.
    What is `standing` there is left as it is.
    """
    top = os.path.commonpath([os.path.dirname(spec.path), spec.root, *map(os.path.dirname, files)])
    tree = str(directory / "files")

    def place(path: str) -> str:
        relative = os.path.relpath(path, top)
        if relative.startswith("../"):  # what a link leads to, far from all that is declared
            relative = path.lstrip("/")
        return os.path.normpath(os.path.join(tree, relative))

    sandbox = Sandbox(directory, place(spec.path), place(spec.root), _origins.get(spec.root, spec.root))
    stands_for_its_origin(sandbox)
    for made in (sandbox.root, sandbox.home, sandbox.temporary, os.path.dirname(sandbox.spec)):
        os.makedirs(made, exist_ok=True)
    for path, source in sorted(files.items()):
        if path not in standing:
            copy(source, place(path), place)
    write_spec(sandbox, content)
    return sandbox


def stands_for_its_origin(sandbox: Sandbox) -> Sandbox:
    """Let what is copied from this sandbox be known as copied from its origin; return it."""
    _origins[sandbox.root] = sandbox.origin
    return sandbox


def write_spec(sandbox: Sandbox, content: Mapping[str, Any]) -> None:
    """Write the sandbox's spec anew."""
    Path(sandbox.spec).write_text(json.dumps(content, indent=1), encoding="utf-8")


def discard(path: Path) -> None:
    """Remove a tree, also where a stage took away the permission to, or something else removes it as well."""

    def permit(function: Any, name: str, _error: object) -> None:
        try:
            os.chmod(os.path.dirname(name), 0o700)
            if not os.path.islink(name):
                os.chmod(name, 0o700)
            if function is not os.open and function is not os.scandir:
                function(name)
        except FileNotFoundError:
            pass

    for _ in range(2):
        if not os.path.lexists(path):
            return
        shutil.rmtree(path, onerror=permit)


NOTHING: Mapping[str, Any] = {}


def alone(
    spec: Spec, stage: Stage, files: Mapping[str, str], directory: Path, overrides: Mapping[str, Any] = NOTHING
) -> Sandbox:
    """Lay one stage of `spec` out in a new `directory`; what other stages would make is plain input there.

    `files`: where each belongs (an absolute path, as if in the source) -> where it is (`inputs_of`, `code_files`).
    `overrides` are fields of the stage as in a spec, and replace its own; one that is None is left out.
    """
    return lay_out(spec, directory, files, one_stage(spec, stage, overrides))


def inputs_of(graph: Graph, stage: Stage) -> dict[str, str]:
    """Return the files and directories that are a stage's inputs now, for `alone`."""
    spec, resolver = graph.spec, InputResolver(graph)
    found = {}
    for name in stage.inputs:
        is_made = name in graph.feeds.get(stage.name, {})
        for file in resolver.resolve(stage, name):
            belongs = spec.output_path(file.path) if is_made else spec.source_path(file.path)
            found[belongs] = file.absolute.rstrip("/")
    return found


def code_files(graph: Graph, stage: Stage) -> dict[str, str]:
    """Return the files that a stage consists of, for `alone`."""
    return {path: path for path in code_of(graph, [stage])}


def one_stage(spec: Spec, stage: Stage, overrides: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """Return the spec of a pipeline of one stage, as JSON: it needs no other, and reads what they make as input."""
    content = effective_spec(spec)
    stages: list[dict[str, Any]] = content["stages"]  # type: ignore[assignment] # as the effective spec has it
    own = next(one for one in stages if one["name"] == stage.name)
    changed = {**own, "needs": [], **overrides}
    content["stages"] = [{name: value for name, value in changed.items() if value is not None}]
    return content
