"""The up-to-date key of a stage: everything that its outputs depend on, as named components.

The key is the SHA-256 of the components' canonical JSON; the components themselves are kept in the marker, so that
`plan` and `explain` can name what changed, old and new. All paths that a plan has read are its `Dependencies`: while
none of them changes, so does no key (see `runner.noop`).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.canonical import canonical
from runner.errors import Fault, InputError, raise_if_system_error
from runner.hashing import sha256_of
from runner.paths import output_of
from runner.plan.digests import FileDigest, Signature, digest_tree
from runner.plan.inputs import InputFile, InputResolver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.plan.code.component import CodeReader, StageCode
    from runner.plan.digests import DigestCache
    from runner.record.markers import OutputIdentity
    from runner.spec.graph import Graph
    from runner.spec.model import Stage

KEY_VERSION = 1
INTERPRETER = f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"


class Fingerprint:
    """The key of a stage, what it was computed from, and the files that must still be the same when it is published.

    `spelled` are the components as canonical JSON. `imports` are those of `StageCode.standard`.
    """

    __slots__ = ("components", "imports", "input_bytes", "inputs", "key", "spelled", "trees", "watched")

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.components: dict[str, object] = {}
        self.inputs: dict[str, list[InputFile]] = {}
        self.watched: dict[str, FileDigest] = {}
        self.trees: dict[str, str] = {}
        self.input_bytes = 0
        self.imports: tuple[str, ...] = ()
        self.spelled = b""


class Dependencies:
    """Absolute paths that a plan depends on.

    files: read, or listed, through links; they may be absent. entries: not followed, such as outputs. trees:
    directories with all that lies below them. kinds: directories of which only the kind counts.
    """

    __slots__ = ("entries", "files", "kinds", "trees")

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.entries: set[str] = set()
        self.trees: set[str] = set()
        self.kinds: set[str] = set()

    def by_look(self) -> Iterator[set[str]]:
        """Yield the paths by how their state is read: with stat, with lstat, lstat's kind only, and those absent.

        Each path comes once: an entry that is no link is the file that a link would lead to.
        """
        files, entries = {path for path in self.files if "\0" not in path} | self.trees, set(self.entries)
        pending = list(self.trees)
        while pending:
            with suppress(OSError), os.scandir(pending.pop()) as found:
                for entry in found:
                    is_directory = entry.is_dir(follow_symlinks=False)
                    (files if is_directory else entries).add(entry.path)
                    pending += [entry.path] if is_directory else []
        absent = {path for path in files if not os.path.exists(path)}
        yield files - absent - {path for path in entries & files if not os.path.islink(path)}
        yield entries
        yield self.kinds
        yield absent


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

    def add_to(self, dependencies: Dependencies) -> None:
        """Add every path that was read so far to `dependencies`."""
        dependencies.files |= self._watched | self._resolver.paths | self._code.paths
        dependencies.trees |= self._trees

    def examine(self, stage: Stage, skip_inputs: frozenset[str] = frozenset()) -> Fingerprint:
        """Return the fingerprint of a stage, as of now; `skip_inputs`, which are not made yet, are left out.

        Raises InputError with every fault of its inputs, OfflineError for code that is banned or cannot be parsed.
        """
        fingerprint = Fingerprint()
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
        except (OSError, InputError) as error:
            raise_if_system_error(error, path)
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
            raise_if_system_error(error, file.absolute)
            raise InputError(Fault(file.path, f"cannot read it: {error.strerror}")) from error
        fingerprint.trees[file.absolute] = tree.sha256
        fingerprint.input_bytes += tree.size
        return tree.sha256

    def _file_digest(self, file: InputFile, fingerprint: Fingerprint) -> str:
        known = self._published.get(file.path)
        if known and known.is_unchanged(file.status):
            digest = FileDigest(known.sha256, Signature.of(file.status))
        else:
            digest = self._cache.file(file.absolute, file.status)
        fingerprint.watched[file.absolute] = digest
        fingerprint.input_bytes += file.status.st_size
        return digest.sha256


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
