"""From partials to published outputs: all of a stage's outputs appear, or none.

The order is what makes a crash harmless at any instant: content fsynced, then the `stage.commit` record (the redo
record), then the renames, then the marker. Directories and markers are made durable once, before the run ends.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from errno import ENAMETOOLONG
from typing import TYPE_CHECKING

from runner.errors import Fault, InputError, OutputError, StateError, raise_if_system_error
from runner.paths import kind_of, upward, variable_name
from runner.plan.digests import digest_tree
from runner.plan.fingerprint import KEY_VERSION
from runner.record import files
from runner.record.events import COMMIT, StageCommit
from runner.record.markers import OutputIdentity, write_marker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.executor.job import Job, RunContext

FILE, DIRECTORY = "a file", "a directory"
_SHOWN = 120  # characters of a path that is longer than any
_MEDDLED = "find out which other stage or process writes there"


class Publisher:
    """Publishes the outputs of the jobs of one run that succeeded."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self.log = run.log
        self.durable = run.durable
        self._unsynced: dict[str, None] = {}
        self._workspace = os.path.realpath(run.spec.workspace)
        self._inode = inode_at(self._workspace)

    def fault_of(self, job: Job) -> Fault | None:
        """Return what is wrong with the outputs after exit 0."""
        stage = job.stage
        for name, declared in stage.outputs.items():
            where = f"stage {stage.name}, output {name}"
            if self._is_elsewhere(declared):
                what = f'a directory of "{declared}" was replaced by a link while the stage ran'
                return Fault(where, what, "remove the link; outputs stay in the workspace")
            kind, wanted = kind_at(job.partials[name]), wanted_kind(declared)
            if kind == wanted:
                continue
            if kind is not None:
                other = {FILE: declared.rstrip("/"), DIRECTORY: f"{declared}/"}.get(kind)
                hint = f'declare "{other}" if that is meant' if other else ""
                made = kind if other else f"{kind}, no regular file"
                return Fault(where, f'"{declared}" is to be {wanted}, but the stage made {made}', hint)
            hint = f"write to $PIPELINE_OUTPUT_{variable_name(name)}, or {{outputs.{name}}} in a command"
            hint += "" if stage.stdout else f'; what it prints goes there with "stdout": "{name}"'
            if job.signatures()[name] != job.before[name]:
                return Fault(where, f'the stage wrote "{declared}" itself, not the temporary file it was given', hint)
            return Fault(where, f'exit 0, but the stage did not write "{declared}"', hint)
        return None

    def make_durable(self, job: Job) -> None:
        """Make what a job has finished durable, in whatever thread.

        OutputError when the stage made it unreadable, or when it is no longer what the stage made.
        """
        for _, partial in self._finished(job):
            with _blaming_stage():
                files.sync_or_discard(partial)

    def commit(self, job: Job) -> None:
        """Record what a job has finished, which is durable; the record is not yet.

        It names the commit whose marker is replaced, so that recovery knows which came later.
        """
        stage, tag, fingerprint = job.stage, job.tag, job.fingerprint
        outputs: dict[str, OutputIdentity] = {}
        for name, partial in self._finished(job):
            with _blaming_stage():
                outputs[name] = self._identity(stage.outputs[name], partial)
        before, reasons = self._run.marker_of(stage.name), job.reasons_as_json()
        data = StageCommit(
            stage.name, fingerprint.key, KEY_VERSION, fingerprint.spelled.decode(), tag, job.program, outputs, reasons,
            [before.run, before.audit_seq] if before else None,
        )  # fmt: skip
        position = self.log.append(COMMIT, data)
        job.commit = data.marker(self.log.run, position.seq)

    def put_in_place(self, job: Job) -> None:
        """Rename what was committed, whose record is durable now, and write the marker.

        StateError when the log was taken away or changed while that was waited for: another run may have begun anew.
        OutputError when an output was, and none is renamed: the stage is then to run again, as the next run knows too.
        """
        assert job.commit is not None
        spec, paths = self._run.spec, self._run.spec.paths
        self.log.refuse_changed()
        list(self._finished(job))  # all are there before the first rename
        for name, real in job.real.items():
            files.publish(job.partials[name], real)
        marker = job.commit.in_place(spec.workspace)
        write_marker(paths, marker)
        if self.durable:
            for real in job.real.values():
                self._unsynced.update(dict.fromkeys(upward(os.path.dirname(real), spec.workspace)))
            self._unsynced[paths.marker(marker.stage)] = None
        if job.has_checkpoint():
            files.discard(job.progress)
        self._run.published.update((output.path, output) for output in marker.outputs.values())

    def sync(self) -> None:
        """Make every rename and marker so far durable; the run's end may be recorded after this."""
        if self.durable:
            files.sync_files(tuple(self._unsynced))
            files.sync_directory(self._run.spec.paths.state_dir)
        self._unsynced.clear()

    def _finished(self, job: Job) -> Iterator[tuple[str, str]]:
        """Yield the outputs' names and partials; OutputError for one that is no longer what `fault_of` has seen.

        Where it has to be durable it may have waited for a sync since, and other stages work beside it.
        """
        for name, declared in job.stage.outputs.items():
            partial = job.partials[name]
            if self.durable and (self._is_elsewhere(declared) or kind_at(partial) != wanted_kind(declared)):
                what = f'"{declared}" was removed or replaced before it was published'
                raise OutputError(Fault(f"stage {job.stage.name}, output {name}", what, _MEDDLED))
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
            tree = digest_tree(partial, self._run.cache)
            status = os.lstat(partial)
            return OutputIdentity(declared, tree.size, tree.sha256, status.st_ino, status.st_mtime_ns)
        with files.naming(partial, "read"):
            sha256, (size, mtime, _, inode) = self._run.cache.passing(partial)
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


def kind_at(path: str) -> str | None:
    """Return what is there, or None. StateError when the system refused to look, which says nothing of the path."""
    try:
        return kind_of(os.lstat(path).st_mode)
    except OSError as error:
        raise_if_system_error(error, path)
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
