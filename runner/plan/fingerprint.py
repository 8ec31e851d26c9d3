"""The up-to-date key of a stage: everything that its outputs depend on, as named components.

The key is the SHA-256 of the components' canonical JSON. The marker keeps the components, so that `plan` and `explain`
can show each difference with its old and new value.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.canonical import digest
from runner.errors import Fault, InputError, OfflineError, raise_if_system_error
from runner.paths import is_view, output_of
from runner.plan.digests import DigestCache, FileDigest, Signature, digest_tree
from runner.plan.inputs import InputFile, InputResolver, read_fault
from runner.plan.tools import ToolsReader

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from runner.plan.code.component import CodeReader
    from runner.plan.orphans import Orphans
    from runner.plan.temporary import Temporary
    from runner.record.markers import Marker
    from runner.spec.graph import Graph
    from runner.spec.model import Spec, Stage

KEY_VERSION = 1
_BY_NAME = '"programIdentity": "name" needs no read permission'
INTERPRETER = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"


class Fingerprint:
    """The key of a stage, its components, and the files that must be unchanged when the outputs are published.

    `watched` are files of inputs and code, `trees` directories of inputs, and `environments` what is installed in those
    of tools, by absolute path. `standard` is that of the stage's code. `adopts`: the marker of a stage that is gone, if
    it has this key and its outputs are unchanged.
    """

    __slots__ = ("adopts", "components", "environments", "input_bytes", "inputs", "key", "standard", "trees", "watched")

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.adopts: Marker | None = None
        self.components: dict[str, object] = {}
        self.inputs: dict[str, list[InputFile]] = {}
        self.watched: dict[str, FileDigest] = {}
        self.trees: dict[str, str] = {}
        self.environments: dict[str, dict[str, str]] = {}
        self.input_bytes = 0
        self.standard: Collection[str] = ()


class Examiner:
    """Computes fingerprints. It reads each path once, so a later state of the disk needs a new examiner."""

    def __init__(
        self,
        graph: Graph,
        cache: DigestCache,
        code: CodeReader,
        orphans: Orphans,
        find_command: Callable[[Spec, Stage], tuple[str | None, list[str]]],
        temporary: Temporary | None = None,
        tools: ToolsReader | None = None,
    ) -> None:
        """`find_command` returns the program of a stage's command, and all places where it may be.

        `tools`: a reader that other examiners have used.
        """
        self._spec = graph.spec
        self._outputs = graph.outputs
        self._cache = cache
        self._code = code
        self._resolver = InputResolver(graph, orphans, temporary)
        self._find_command = find_command
        self._tools = tools or ToolsReader(graph.spec.shown, graph.spec.root, cache)
        self.read = Fingerprint()  # its `watched` and `trees` are those of all examined stages
        self._places: set[str] = set()  # where programs may be
        self.standard: set[str] = set()  # modules that the code of all examined stages imports
        self.distributions: set[str] = set()  # that it imports: each "name version", or several, with commas
        self.reads_all = True  # else the inputs of a stage that runs in any case are only opened

    def paths(self) -> set[str]:
        """Return every path that was read or searched so far, present or absent, but for directories of inputs."""
        others = self._places | self._resolver.paths | self._code.paths | self._tools.paths
        return self.read.watched.keys() | others

    def examine(self, stage: Stage, unmade: Collection[str] = (), *, is_decided: bool = False) -> Fingerprint:
        """Return the fingerprint of a stage without `unmade` inputs: outputs of stages that have yet to run.

        If it `is_decided` that the stage runs, then without `reads_all` an input with no known digest is only opened:
        its digest is "".
        Raises InputError with every fault of its inputs, OfflineError for code that is banned or cannot be parsed.
        """
        fingerprint = Fingerprint()
        inputs = self._examine_inputs(stage, unmade, fingerprint, reads=self.reads_all or not is_decided)
        code = self._code.read(stage)
        fingerprint.watched.update(code.watched)
        fingerprint.components = _components(stage, inputs, code.component)
        if code.closure and "packages" in code.component:
            fingerprint.components["interpreter"] = INTERPRETER
            fingerprint.standard = code.closure.standard
            self.standard |= code.closure.standard
            self.distributions.update(code.closure.packages.values())
        if stage.tools:
            self._examine_tools(stage, fingerprint)
        if stage.command and stage.program_identity == "content":
            fingerprint.components["program"] = self._program(stage, fingerprint)
        self.read.watched.update(fingerprint.watched)
        self.read.trees.update(fingerprint.trees)
        self.read.environments.update(fingerprint.environments)
        fingerprint.key = digest(fingerprint.components)
        return fingerprint

    def check_inputs(self, stage: Stage, unmade: Collection[str]) -> None:
        """Raise InputError with every fault of a stage's inputs, apart from `unmade` ones. They are only opened."""
        self._examine_inputs(stage, unmade, Fingerprint(), reads=False)

    def _examine_inputs(
        self, stage: Stage, unmade: Collection[str], fingerprint: Fingerprint, *, reads: bool
    ) -> dict[str, list[list[str]]]:
        """Add the inputs of a stage to its fingerprint. Return the paths and digests of each."""
        if stage.missing:
            raise InputError(stage.missing)
        faults: list[Fault] = []
        inputs: dict[str, list[list[str]]] = {}
        for name in stage.inputs:
            try:
                files = self._resolver.resolve(stage, name, unmade)
                where = f"{self._spec.shown}#/stages/{stage.index}/inputs/{name}"
                inputs[name] = [[file.path, self._digest(file, where, fingerprint, reads=reads)] for file in files]
                fingerprint.inputs[name] = files
            except InputError as error:
                faults.extend(error.faults)
        if faults:
            raise InputError(*faults)
        return inputs

    def _examine_tools(self, stage: Stage, fingerprint: Fingerprint) -> None:
        """Add what is installed in a stage's environments, unless their identity is their name."""
        packages: dict[str, object] = {}
        for number, prefix in enumerate(self._spec.tools_of(stage), 1):
            self._tools.require(prefix)
            if stage.tools_identity == "content":
                fingerprint.environments[prefix] = installed = self._tools.read(prefix).packages
                place = f"{number}: " if number > 1 else ""
                packages.update((f"{place}{name}", digits) for name, digits in installed.items())
        if stage.tools_identity == "content":
            fingerprint.components["tools"] = packages

    def _program(self, stage: Stage, fingerprint: Fingerprint) -> dict[str, str]:
        """Return the digest of the program that a command starts, by the command's first word.

        Empty if it is code of the stage, an output of a stage, or missing, or if only the start shows which file it is.
        """
        program, places = self._find_command(self._spec, stage)
        self._places.update(places)
        if (
            program is None
            or os.path.normpath(program) in fingerprint.watched
            or self._outputs.holds(os.path.relpath(program, self._spec.workspace))
        ):
            return {}
        fingerprint.watched[program] = digest = self._cache.program(program, program, _BY_NAME)
        assert stage.command is not None
        return {stage.command[0]: digest.sha256}

    def code_faults(self, stage: Stage) -> tuple[Fault, ...]:
        """Return the faults of a stage's code, also for a stage that cannot be examined because of its inputs."""
        try:
            with suppress(InputError):  # which `examine` reports
                self._code.read(stage)
        except OfflineError as error:
            return error.faults
        return ()

    def changed_since(self, fingerprint: Fingerprint, *, strict: bool = False) -> str | None:
        """Return the path of an input, code file or environment that has changed since the fingerprint, or None.

        If a signature differs, the content decides, so touching a file changes nothing. With `strict`, another mtime is
        a change, since the stage may have read other content in between.
        """
        path = ""
        try:
            for path, (sha256, signature) in fingerprint.watched.items():
                status = os.stat(path)
                if Signature.of(status) == signature:
                    continue
                if (strict and status.st_mtime_ns != signature.mtime) or self._cache.file(path).sha256 != sha256:
                    return path
            for path, sha256 in fingerprint.trees.items():
                if digest_tree(path, self._cache, self._is_of_output).sha256 != sha256:
                    return path
            for path, packages in fingerprint.environments.items():
                if self._tools.read(path).packages != packages:
                    return path
        except (OSError, InputError) as error:
            raise_if_system_error(error, path)
            return path
        return None

    def _is_of_output(self, partial: str) -> bool:
        """Whether a partial belongs to an output of the pipeline, and so comes and goes with attempts."""
        if is_view(os.path.basename(partial)):
            return True
        return self._outputs.declares(os.path.relpath(output_of(partial), self._spec.workspace))

    def _digest(self, file: InputFile, where: str, fingerprint: Fingerprint, *, reads: bool) -> str:
        """Return the SHA-256 of an input, and add it to the fingerprint. Without `reads`, only open the input."""
        if file.status is None:
            assert file.absent is not None
            fingerprint.input_bytes += file.absent.size
            return file.absent.sha256
        try:
            if file.path.endswith("/"):
                tree = digest_tree(file.absolute, self._cache, self._is_of_output, reads=reads)
                fingerprint.trees[file.absolute] = tree.sha256
                fingerprint.input_bytes += tree.size
                return tree.sha256
            output = self._cache.published.get(file.path)
            if output and output.is_unchanged(file.status):
                digest = FileDigest(output.sha256, Signature.of(file.status))
            else:
                digest = self._cache.file(file.absolute, file.status, reads=reads)
        except OSError as error:
            shown = os.path.relpath(error.filename or file.absolute, self._spec.root)
            raise read_fault(where, shown, error, file.absolute) from error
        fingerprint.watched[file.absolute] = digest
        fingerprint.input_bytes += file.status.st_size
        return digest.sha256


def _components(stage: Stage, inputs: dict[str, list[list[str]]], code: dict[str, object]) -> dict[str, object]:
    command: dict[str, object] = {"argv": stage.command} if stage.command else {"processor": stage.processor}
    command["args"] = stage.args
    streams = {"stdin": stage.stdin, "stdout": stage.stdout}
    command |= {name: label for name, label in streams.items() if label}
    seen_as = {"seenAs": stage.seen_as} if stage.seen_as else {}  # so that other stages keep their keys
    return {
        "inputs": inputs,
        "code": code,
        "params": stage.params,
        "command": command,
        "env": stage.env,
        "outputs": stage.outputs,
        **seen_as,
    }
