"""The up-to-date key of a stage: everything that its outputs depend on, as named components.

The key is the SHA-256 of the components' canonical JSON; the components themselves are kept in the marker, so that
`plan` and `explain` can name what changed, old and new.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from runner.canonical import canonical
from runner.errors import Fault, InputError, raise_refusal
from runner.hashing import sha256_of
from runner.paths import output_of
from runner.plan.digests import Signature, digest_tree
from runner.plan.inputs import InputFile, InputResolver
from runner.values import Record, made

if TYPE_CHECKING:
    from runner.plan.code.component import CodeReader, StageCode
    from runner.plan.dependencies import Dependencies
    from runner.plan.digests import DigestCache
    from runner.record.markers import OutputIdentity
    from runner.spec.graph import Graph
    from runner.spec.model import Stage

KEY_VERSION = 1
INTERPRETER = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"


class Fingerprint(Record):
    """The key of a stage, what it was computed from, and the files that must still be the same when it is published."""

    key: str
    components: dict[str, object]
    inputs: dict[str, list[InputFile]]
    watched: dict[str, tuple[Signature, str]] = made(default_factory=dict)
    trees: dict[str, str] = made(default_factory=dict)
    input_bytes: int = 0
    imports: tuple[str, ...] = ()  # see StageCode.standard
    spelled: bytes = b""  # the components as canonical JSON


class Examiner:
    """Computes fingerprints from one reading of the disk; the next reading needs a new one."""

    def __init__(
        self, graph: Graph, cache: DigestCache, code: CodeReader, published: dict[str, OutputIdentity]
    ) -> None:
        """`published`: the verified identities of outputs, by path as declared, which need not be hashed again."""
        self._spec = graph.spec
        self._producers = graph.producers
        self._cache = cache
        self._code = code
        self._resolver = InputResolver(graph)
        self._published = published
        self._watched: set[str] = set()
        self._trees: set[str] = set()
        self.imports: set[str] = set()  # see StageCode.standard, of all that were examined

    def look_back(self, dependencies: Dependencies) -> None:
        """Add every path that was read so far to `dependencies`."""
        dependencies.files |= self._watched
        for top in self._trees:
            dependencies.tree(top)
        self._resolver.look_back(dependencies)
        self._code.look_back(dependencies)

    def examine(self, stage: Stage, skip_inputs: frozenset[str] = frozenset()) -> Fingerprint:
        """Return the fingerprint of a stage, as of now; `skip_inputs`, which are not made yet, are left out.

        Raises InputError with every fault of its inputs, OfflineError for code that is banned or cannot be parsed.
        """
        fingerprint = Fingerprint("", {}, {})
        faults: list[Fault] = []
        inputs: dict[str, list[list[str]]] = {}
        for name in stage.inputs:
            if name in skip_inputs:
                continue
            try:
                found = self._resolver.resolve(stage, name)
                inputs[name] = [[file.path, self._digest(file, fingerprint)] for file in found]
                fingerprint.inputs[name] = found
            except InputError as error:
                faults.extend(error.faults)
        if faults:
            raise InputError(*faults)
        code = self._code.read(stage)
        fingerprint.watched.update(code.watched)
        fingerprint.imports = code.standard
        self.imports.update(code.standard)
        self._watched.update(fingerprint.watched)
        self._trees.update(fingerprint.trees)
        fingerprint.components = _components(stage, inputs, code)
        fingerprint.spelled = canonical(fingerprint.components)
        fingerprint.key = sha256_of(fingerprint.spelled)
        return fingerprint

    def check_code(self, stage: Stage) -> None:
        """Raise OfflineError as `examine` does, for a stage whose inputs keep it from being examined."""
        self._code.read(stage)

    def changed_since(self, fingerprint: Fingerprint, *, strict: bool = False) -> str | None:
        """Return the path of an input or code file that is no longer what the fingerprint saw, or None.

        If a signature differs, the content decides, so a touched file is no change. With `strict`, another mtime is a
        change: the file may have had, and the stage may have read, other content in between.
        """
        for path, (seen, sha256) in fingerprint.watched.items():
            try:
                status = os.stat(path)
                if Signature.of(status) == seen:
                    continue
                if (strict and status.st_mtime_ns != seen.mtime) or self._cache.file(path)[0] != sha256:
                    return path
            except OSError as error:
                raise_refusal(error, path)
                return path
        for path, sha256 in fingerprint.trees.items():
            try:
                if digest_tree(path, self._cache, self._is_of_output).sha256 != sha256:
                    return path
            except (OSError, InputError) as error:
                raise_refusal(error, path)
                return path
        return None

    def _is_of_output(self, partial: str) -> bool:
        """Whether a partial is that of an output: it comes and goes with the attempts of its stage."""
        path, producers = os.path.relpath(output_of(partial), self._spec.workspace), self._producers
        return path in producers or f"{path}/" in producers

    def _digest(self, file: InputFile, fingerprint: Fingerprint) -> str:
        try:
            if not file.path.endswith("/"):
                return self._file_digest(file, fingerprint)
            tree = digest_tree(file.absolute, self._cache, self._is_of_output)
        except OSError as error:
            raise_refusal(error, file.absolute)
            raise InputError(Fault(file.path, f"cannot read it: {error.strerror}")) from error
        fingerprint.trees[file.absolute] = tree.sha256
        fingerprint.input_bytes += tree.size
        return tree.sha256

    def _file_digest(self, file: InputFile, fingerprint: Fingerprint) -> str:
        known = self._published.get(file.path)
        if known and known.is_unchanged(file.status):
            sha256, signed = known.sha256, Signature.of(file.status)
        else:
            sha256, signed = self._cache.file(file.absolute, file.status)
        fingerprint.watched[file.absolute] = (signed, sha256)
        fingerprint.input_bytes += file.status.st_size
        return sha256


def _components(stage: Stage, inputs: dict[str, list[list[str]]], code: StageCode) -> dict[str, object]:
    command: dict[str, object] = {"argv": stage.command} if stage.command else {"processor": stage.processor}
    command["args"] = stage.args
    if stage.stdin:
        command["stdin"] = stage.stdin
    if stage.stdout:
        command["stdout"] = stage.stdout
    components: dict[str, object] = {
        "inputs": inputs,
        "code": code.component,
        "params": stage.params,
        "command": command,
        "env": stage.env,
        "outputs": stage.outputs,
    }
    if code.is_python:
        components["interpreter"] = INTERPRETER
    return components
