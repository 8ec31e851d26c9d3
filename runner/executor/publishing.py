"""From partials to published outputs: all of a stage's outputs appear, or none.

The order is what makes a crash harmless at any instant: content fsynced, then the `stage.commit` record (the redo
record), then the renames, then the marker. Directories and markers are made durable once, before the run ends.

While one stage's outputs and record are synced, other stages run. One thread syncs outputs, in the order in which their
stages ended. Another syncs the log, once for all commits that were recorded meanwhile. The threads do nothing else:
records and renames are the loop's, in the order that recovery relies on.
"""

from __future__ import annotations

import os
import select
from collections import deque
from contextlib import contextmanager, suppress
from errno import EACCES, ENAMETOOLONG
from functools import partial
from typing import TYPE_CHECKING

from runner.canonical import canonical
from runner.errors import Fault, InputError, InterruptedRunError, OutputError, StateError, raise_if_system_error
from runner.paths import kind_of, partial_tag, upward, variable_name
from runner.plan.digests import digest_tree
from runner.plan.fingerprint import KEY_VERSION
from runner.record import files
from runner.record.events import ADOPTED, COMMIT, StageCommit
from runner.record.markers import Marker, OutputIdentity, write_marker
from runner.spec.globs import parents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from queue import SimpleQueue
    from threading import Thread

    from runner.executor.job import Job, RunContext
    from runner.interrupts import Interrupts

    Calls = SimpleQueue[Callable[[], None] | None]

FILE, DIRECTORY = "a file", "a directory"
MOST = 64  # jobs that wait for a sync: each holds its lock open, and a kill costs all their work
OUTPUTS, LOG = "outputs", "log"  # the threads
_SHOWN = 300  # characters of a path that cannot be read: it may be longer than any system call takes
_MEDDLED = "find out which other stage or process writes there"


class Publisher:
    """Publishes the outputs of one run's successful jobs."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._cache = run.planning.planner.cache
        self.log = run.log
        self.durable = run.durable
        self._unsynced: dict[str, None] = {}
        self._adopted: dict[str, Marker] = {}  # stage that is gone -> the new marker

    def fault_of(self, job: Job) -> Fault | None:
        """Return what is wrong with the outputs after exit 0."""
        stage = job.stage
        for name, declared in stage.outputs.items():
            where = f"stage {stage.name}, output {name}"
            if self._is_elsewhere(declared):
                what = f'a directory above "{declared}" was replaced by a link while the stage ran'
                return Fault(where, what, "remove the link; outputs stay in the workspace")
            kind, wanted = kind_at(job.partials[name]), wanted_kind(declared)
            if kind == wanted:
                continue
            if kind is not None:
                other = {FILE: declared.rstrip("/"), DIRECTORY: f"{declared}/"}.get(kind)
                hint = f'declare "{other}" if that is what you mean' if other else ""
                return Fault(where, f'"{declared}" should be {wanted}, but the stage made {kind}', hint)
            hint = f"write to $PIPELINE_OUTPUT_{variable_name(name)}, or {{outputs.{name}}} in a command"
            if job.view:
                hint = f'it is sealed, and must write "{job.view.seen[name]}": what else it wrote is gone'
            hint += "" if stage.stdout else f'; what it prints goes there with "stdout": "{name}"'
            if job.signatures()[name] != job.before[name]:
                return Fault(where, f'the stage wrote "{declared}" itself, not the temporary file it was given', hint)
            return Fault(where, f'exit 0, but the stage did not write "{declared}"', hint)
        return None

    def make_durable(self, job: Job) -> None:
        """Sync the partials of a job, in any thread.

        Raises OutputError for a partial that the stage made unreadable, or that was replaced since.
        """
        for _, path in self._finished(job):
            with _blaming_stage():
                files.sync_or_discard(path)

    def commit(self, job: Job) -> None:
        """Record the outputs of a job, which are durable. The record itself is not durable yet.

        It names the commit whose marker it replaces, so that recovery knows which of the two came later.
        """
        outputs: dict[str, OutputIdentity] = {}
        for name, path in self._finished(job):
            with _blaming_stage():
                outputs[name] = self._identity(job.stage.outputs[name], path)
        before = self._run.planning.planner.markers.of(job.stage.name)
        replaces = [before.run, before.audit_seq] if before else None
        job.commit = self._record(job, outputs, before, job.reasons_as_json(), replaces)

    def _record(
        self,
        job: Job,
        outputs: dict[str, OutputIdentity],
        before: Marker | None,
        reasons: list[list[object]],
        replaces: list[object] | None,
        adopts: list[object] | None = None,
    ) -> Marker:
        """Record a commit or an adoption, and return its marker. `before` is the marker that it replaces or adopts."""
        fingerprint, former = job.fingerprint, self._run.planning.orphans.former_of(before) if before else ()
        data = StageCommit(
            job.stage.name,
            fingerprint.key,
            KEY_VERSION,
            canonical(fingerprint.components).decode(),
            job.tag,
            job.program,
            outputs,
            reasons,
            replaces,
            former or None,
            adopts,
            job.program_sha256,
            before.program_version if before and adopts else job.program_version,
        )
        position = self.log.append(ADOPTED if adopts else COMMIT, data)
        return data.marker(self.log.run, position.seq)

    def put_in_place(self, job: Job) -> None:
        """Rename the partials of a job whose commit is durable, and write the marker.

        Raises StateError if the log was removed or changed during the sync: another run may have started. If an output
        was removed or replaced, raises OutputError and renames none: this stage runs again in the next run.
        """
        assert job.commit is not None
        self.log.refuse_changed()
        list(self._finished(job))  # check all before the first rename
        for name, real in job.real.items():
            files.publish(job.partials[name], real)
            self._unsynced.update(dict.fromkeys(upward(os.path.dirname(real), self._run.spec.workspace)))
        marker = self._write_marker(job.commit)
        if job.has_checkpoint():
            files.discard(job.progress)
        self._cache.published.update((output.path, output) for output in marker.outputs.values())

    def _write_marker(self, commit: Marker) -> Marker:
        marker, paths = commit.in_place(self._run.spec.workspace), self._run.spec.paths
        write_marker(paths, marker)
        self._run.planning.planner.markers.note(marker)
        self._unsynced[paths.marker(marker.stage)] = None
        return marker

    def adopt(self, job: Job, marker: Marker) -> None:
        """Record that a stage adopts the commit, `marker`, of a stage that is gone. `sync` writes the new marker."""
        job.tag = partial_tag(self.log.run, job.fingerprint.key, 0)
        outputs = {name: output._replace(run=output.run or marker.run) for name, output in marker.outputs.items()}
        reasons: list[list[object]] = [["adopted", f'from stage "{marker.stage}", run {marker.run}', None, None]]
        adopts = [marker.stage, marker.run, marker.audit_seq]
        self._adopted[marker.stage] = adopted = self._record(job, outputs, marker, reasons, None, adopts)
        self._run.planning.planner.markers.note(adopted)

    def sync(self) -> None:
        """Write the markers of adopted commits, and make every rename and marker durable.

        Only then may the end of the run be recorded.
        """
        paths = self._run.spec.paths
        if self._adopted and self.durable:
            self.log.sync()
        for former, commit in self._adopted.items():
            self._write_marker(commit)
            files.discard(paths.marker(former))
        if self.durable:
            files.sync_files(tuple(self._unsynced))
            files.sync_file(paths.state_dir)

    def _finished(self, job: Job) -> Iterator[tuple[str, str]]:
        """Yield the outputs' names and partials; OutputError if one was replaced since `fault_of`.

        Durable outputs wait for syncs, and other stages run meanwhile.
        """
        for name, declared in job.stage.outputs.items():
            path = job.partials[name]
            if self.durable and (self._is_elsewhere(declared) or kind_at(path) != wanted_kind(declared)):
                what = f'"{declared}" was removed or replaced before it was published'
                raise OutputError(Fault(f"stage {job.stage.name}, output {name}", what, _MEDDLED))
            yield name, path

    def _is_elsewhere(self, declared: str) -> bool:
        """Whether a directory above an output was replaced by a link."""
        return any(os.path.islink(f"{self._run.spec.workspace}/{parent}") for parent in parents(declared))

    def _identity(self, declared: str, path: str) -> OutputIdentity:
        if declared.endswith("/"):
            tree = digest_tree(path, self._cache)
            status = os.lstat(path)
            return OutputIdentity(declared, tree.size, tree.sha256, status.st_ino, status.st_mtime_ns, tree.content)
        with files.naming(path, "read"):
            sha256, (size, mtime, _, inode) = self._cache.passing(path)
        return OutputIdentity(declared, size, sha256, inode, mtime)


class CommitQueue:
    """Takes successful jobs, and calls `put_in_place` for each when its outputs and their record are durable.

    `poll` is where the loop waits. It wakes when there are `steps` to take. `waiting`: how many wait for the disk.
    """

    def __init__(self, publisher: Publisher, put_in_place: Callable[[Job], None], poll: select.poll) -> None:
        self._publisher = publisher
        self._log = publisher.log
        self._put_in_place = put_in_place
        self._poll = poll
        descriptors = os.sysconf("SC_OPEN_MAX")  # -1: no limit. Running stages need some, too.
        self._most = MOST if descriptors < 0 else max(1, min(MOST, descriptors // 4))
        self.waiting = 0
        self._recorded: list[Job | Callable[[], None]] = []  # commits, and actions, wait for the next sync of the log
        self._covered: list[Job | Callable[[], None]] = []  # and these for the present one
        self._size = 0  # of the log, when that sync began
        self._threads: dict[str, tuple[Thread, Calls]] = {}
        self._ended: deque[tuple[Job | None, Exception | None]] = deque()  # None: a sync of the log
        self._cancelled: Exception | None = None
        with files.naming("the threads that sync", "wait for them"):
            self._wakeup, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        poll.register(self._wakeup, select.POLLIN)

    @property
    def has_room(self) -> bool:
        return self.waiting < self._most

    def take(self, job: Job) -> None:
        """Publish a job: in later `steps` if the run is durable, else at once."""
        if self._publisher.durable:
            self._submit(OUTPUTS, job, partial(self._publisher.make_durable, job))
            self.waiting += 1
        else:
            self._publisher.commit(job)
            self._put_in_place(job)

    def after_sync(self, action: Callable[[], None]) -> None:
        """Call `action` when all records so far are durable: during later `steps`, or at once if the run is not."""
        if self._publisher.durable:
            self.waiting += 1
            self._recorded.append(action)
            self._sync_log()
        else:
            action()

    def steps(self) -> Iterator[tuple[Job, Callable[[], None]]]:
        """Yield the steps that need no waiting, each with its job. A step may raise what fails the job.

        Raises StateError if the log cannot be made durable.
        """
        with suppress(BlockingIOError):
            os.read(self._wakeup, 4096)
        while self._ended:
            job, error = self._ended.popleft()
            if job is not None:
                yield job, partial(self._commit, job, error)
            else:
                self._log.flushed(self._size, error)
                covered, self._covered = self._covered, []
                self.waiting -= len(covered)
                for each in covered:
                    if callable(each):
                        each()
                    else:
                        yield each, partial(self._put_in_place, each)
            self._sync_log()

    def _sync_log(self) -> None:
        """Begin a sync of the log if steps wait for it, and none is at work."""
        if self._recorded and not self._covered:
            self._covered, self._recorded, self._size = self._recorded, [], self._log.size
            self._submit(LOG, None, self._log.flush)

    def hurry(self, interrupts: Interrupts) -> None:
        """After a second signal, interrupt the jobs whose sync has not begun."""
        if interrupts.first is not None and interrupts.count > 1:
            self._cancelled = InterruptedRunError(interrupts.first)

    def close(self) -> None:
        """Wait for the syncs that have begun, and stop. The next run publishes what is committed and not in place."""
        self._cancelled = self._cancelled or InterruptedError()
        for thread, calls in self._threads.values():
            calls.put(None)
            thread.join()
        self._poll.unregister(self._wakeup)
        os.close(self._wakeup)
        os.close(self._write_end)

    def _commit(self, job: Job, error: Exception | None) -> None:
        self.waiting -= 1
        if error is not None:
            raise error
        self._publisher.commit(job)
        self.waiting += 1
        self._recorded.append(job)

    def _submit(self, name: str, job: Job | None, sync: Callable[[], None]) -> None:
        """Call `sync` in the thread of this name, after its earlier calls. `steps` takes its end."""
        from queue import SimpleQueue
        from threading import Thread

        call = partial(self._call, job, sync)
        if name not in self._threads:
            calls: Calls = SimpleQueue()
            thread = Thread(target=_work, args=(calls,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread left: the loop waits for the disk
                call()
                return
            self._threads[name] = thread, calls
        self._threads[name][1].put(call)

    def _call(self, job: Job | None, sync: Callable[[], None]) -> None:
        """Runs in a *thread*."""
        error = self._cancelled if job is not None else None
        if error is None:
            try:
                sync()
            except Exception as raised:  # noqa: BLE001 - `steps` raises it
                error = raised
        self._ended.append((job, error))
        os.write(self._write_end, b"!")


def _work(calls: Calls) -> None:
    """Runs in a *thread*: make the calls in turn, until None."""
    for call in iter(calls.get, None):
        call()


@contextmanager
def _blaming_stage() -> Iterator[None]:
    """Raise OutputError for an output that the stage made unreadable, or that was removed."""
    try:
        yield
    except InputError as error:
        raise OutputError(*error.faults) from error
    except (OSError, StateError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, FileNotFoundError):
            raise OutputError(Fault(str(cause.filename), "was removed before it was published", _MEDDLED)) from error
        if isinstance(cause, OSError) and cause.errno in (EACCES, ENAMETOOLONG):
            what = f"the stage made it, but it cannot be read: {cause.strerror}"
            raise OutputError(Fault(str(cause.filename)[:_SHOWN], what)) from error
        raise


def kind_at(path: str) -> str | None:
    """Return the kind of what is at `path`, or None for nothing. StateError for an error of the disk or the system."""
    try:
        return kind_of(os.lstat(path).st_mode)
    except OSError as error:
        raise_if_system_error(error, path)
        return None


def wanted_kind(declared: str) -> str:
    """Return the kind of file that a stage must make for this output."""
    return DIRECTORY if declared.endswith("/") else FILE
