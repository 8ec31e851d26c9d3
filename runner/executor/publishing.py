"""From partials to published outputs: all of a stage's outputs appear, or none.

The order is what makes a crash harmless at any instant: content fsynced, then the `stage.commit` record (the redo
record), then the renames, then the marker. Directories and markers are made durable once, before the run ends.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from errno import ENAMETOOLONG
from typing import TYPE_CHECKING

from runner.errors import Fault, InputError, OutputError, StateError, raise_refusal
from runner.paths import kind_of, partial_path, upward, variable_name
from runner.plan.digests import Signature, digest_tree
from runner.plan.fingerprint import KEY_VERSION, Fingerprint
from runner.record import files
from runner.record.events import COMMIT, StageCommit
from runner.record.markers import Marker, OutputIdentity, write_marker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runner.plan.digests import DigestCache
    from runner.record.audit import AuditLog
    from runner.spec.model import Spec, Stage

FILE, DIRECTORY = "a file", "a directory"
_SHOWN = 120  # characters of a path that is longer than any
_MEDDLED = "find out which other stage or process writes there"


class Publisher:
    """Publishes the outputs of stages that succeeded; one for a run."""

    def __init__(self, spec: Spec, log: AuditLog, cache: DigestCache, *, durable: bool) -> None:
        self._spec = spec
        self._log = log
        self._cache = cache
        self._durable = durable
        self._unsynced: dict[str, None] = {}
        self._workspace = os.path.realpath(spec.workspace)
        self._inode = inode_at(self._workspace)

    def fault_of(self, stage: Stage, tag: str, before: dict[str, object]) -> Fault | None:
        """Return what is wrong with the outputs after exit 0; `before` is from `real_identities`."""
        for name, declared in stage.outputs.items():
            where = f"stage {stage.name}, output {name}"
            if self._is_elsewhere(declared):
                what = f'a directory of "{declared}" was replaced by a link while the stage ran'
                return Fault(where, what, "remove the link; outputs stay in the workspace")
            kind, wanted = kind_at(partial_path(self._spec.output_path(declared), tag)), wanted_kind(declared)
            if kind == wanted:
                continue
            if kind is not None:
                other = {FILE: declared.rstrip("/"), DIRECTORY: f"{declared}/"}.get(kind)
                hint = f'declare "{other}" if that is meant' if other else ""
                made = kind if other else f"{kind}, no regular file"
                return Fault(where, f'"{declared}" is to be {wanted}, but the stage made {made}', hint)
            hint = f"write to $PIPELINE_OUTPUT_{variable_name(name)}, or {{outputs.{name}}} in a command"
            hint += "" if stage.stdout else f'; what it prints goes there with "stdout": "{name}"'
            if real_identities(self._spec, stage)[name] != before[name]:
                return Fault(where, f'the stage wrote "{declared}" itself, not the temporary file it was given', hint)
            return Fault(where, f'exit 0, but the stage did not write "{declared}"', hint)
        return None

    def make_durable(self, stage: Stage, tag: str) -> None:
        """Make what a stage has finished durable, in whatever thread.

        OutputError when the stage made it unreadable, or when it is no longer what the stage made.
        """
        for _, partial in self._finished(stage.name, stage.outputs, tag):
            with _blaming_stage():
                files.sync_or_discard(partial)

    def commit(
        self, stage: Stage, fingerprint: Fingerprint, tag: str, reasons: list[list[object]], program: str,
        before: Marker | None,
    ) -> Marker:  # fmt: skip
        """Record what a stage has finished, which is durable; the record is not yet. Return the marker it is to have.

        `before` is the marker that is replaced: the record names its commit, so that recovery knows which came later.
        """
        outputs: dict[str, OutputIdentity] = {}
        for name, partial in self._finished(stage.name, stage.outputs, tag):
            with _blaming_stage():
                outputs[name] = self._identity(stage.outputs[name], partial)
        key, spelled, run = fingerprint.key, fingerprint.spelled.decode(), self._log.run
        replaces = [before.run, before.audit_seq] if before else None
        data = StageCommit(stage.name, key, KEY_VERSION, spelled, tag, program, outputs, reasons, replaces)
        position = self._log.append(COMMIT, data)
        return Marker(stage.name, key, KEY_VERSION, fingerprint.components, outputs, run, position.seq, reasons)

    def put_in_place(self, marker: Marker, tag: str) -> dict[str, OutputIdentity]:
        """Rename what was committed, whose record is durable now, and write the marker.

        StateError when the log was taken away or changed while that was waited for: another run may have begun anew.
        OutputError when an output was, and none is renamed: the stage is then to run again, as the next run knows too.
        """
        self._log.refuse_changed()
        declared = {name: output.path for name, output in marker.outputs.items()}
        list(self._finished(marker.stage, declared, tag))  # all are there before the first rename
        for path in declared.values():
            real = self._spec.output_path(path)
            files.publish(partial_path(real, tag), real)
            if self._durable:
                self._unsynced.update(dict.fromkeys(upward(os.path.dirname(real), self._spec.workspace)))
        marker = marker.in_place(self._spec.workspace)
        write_marker(self._spec.paths, marker)
        if self._durable:
            self._unsynced[self._spec.paths.marker(marker.stage)] = None
        return marker.outputs

    def sync(self) -> None:
        """Make every rename and marker so far durable; the run's end may be recorded after this."""
        if self._durable:
            files.sync_files(tuple(self._unsynced))
            files.sync_directory(self._spec.paths.state_dir)
        self._unsynced.clear()

    def _finished(self, stage: str, outputs: Mapping[str, str], tag: str) -> Iterator[tuple[str, str]]:
        """Yield the outputs' names and partials; OutputError for one that is no longer what `fault_of` has seen.

        Where it has to be durable it may have waited for a sync since, and other stages work beside it.
        """
        for name, declared in outputs.items():
            partial = partial_path(self._spec.output_path(declared), tag)
            if self._durable and (self._is_elsewhere(declared) or kind_at(partial) != wanted_kind(declared)):
                what = f'"{declared}" was removed or replaced before it was published'
                raise OutputError(Fault(f"stage {stage}, output {name}", what, _MEDDLED))
            yield name, partial

    def _is_elsewhere(self, declared: str) -> bool:
        """Whether a link was put in the place of a directory on the way to an output, or all of the workspace moved."""
        path = self._workspace
        if inode_at(path) != self._inode:
            return True
        for name in declared.rstrip("/").split("/")[:-1]:
            path = f"{path}/{name}"
            if os.path.islink(path):
                return True
        return False

    def _identity(self, declared: str, partial: str) -> OutputIdentity:
        if declared.endswith("/"):
            tree = digest_tree(partial, self._cache)
            status = os.lstat(partial)
            return OutputIdentity(declared, tree.size, tree.sha256, status.st_ino, status.st_mtime_ns)
        with files.naming(partial, "read"):
            sha256, (size, mtime, _, inode) = self._cache.passing(partial)
        return OutputIdentity(declared, size, sha256, inode, mtime)


@contextmanager
def _blaming_stage() -> Iterator[None]:
    """Raise OutputError for what a stage made so that nobody can read it, and for what somebody took away."""
    try:
        yield
    except InputError as error:
        raise OutputError(*error.faults) from error
    except (OSError, StateError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, PermissionError):
            raise OutputError(Fault(str(cause.filename), "the stage made it, but nobody may read it")) from error
        if isinstance(cause, FileNotFoundError):
            raise OutputError(Fault(str(cause.filename), "was removed before it was published", _MEDDLED)) from error
        if isinstance(cause, OSError) and cause.errno == ENAMETOOLONG:
            where = f"{str(cause.filename)[:_SHOWN]}..."
            raise OutputError(Fault(where, "the stage made it, but its path is too long to be read")) from error
        raise


def real_identities(spec: Spec, stage: Stage) -> dict[str, object]:
    """Return the signature of whatever is at each output's real path now, to tell later whether a stage wrote there."""
    found: dict[str, object] = {}
    for name, declared in stage.outputs.items():
        try:
            found[name] = Signature.of(os.lstat(spec.output_path(declared)))
        except OSError:
            found[name] = None
    return found


def kind_at(path: str) -> str | None:
    """Return what is there, or None. StateError when the system refused to look, which says nothing of the path."""
    try:
        return kind_of(os.lstat(path).st_mode)
    except OSError as error:
        raise_refusal(error, path)
        return None


def inode_at(path: str) -> tuple[int, int] | None:
    """Return device and inode of what a path leads to, or None."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def wanted_kind(declared: str) -> str:
    """Return what a stage must make for an output that is declared so."""
    return DIRECTORY if declared.endswith("/") else FILE
