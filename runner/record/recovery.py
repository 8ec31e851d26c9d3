"""What a run does before it plans anything: finish what a dead run had committed, and remove what it left.

`stage.commit` is the redo record. It is durable before the first partial is renamed, so whatever the instant of the
death, each output is found under its real path (done), or under its partial's name (rename it), told by its inode.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.errors import Fault
from runner.paths import partial_path, upward
from runner.record import files
from runner.record.audit import cut_torn_line, damaged, key_id_of, last_record, position_of, read_chain
from runner.record.checkpoints import find_partials, keep_checkpoint, read_progress
from runner.record.events import (
    STOPPED,
    AttemptStarted,
    CommittedOutputs,
    NetworkAsked,
    RunOpened,
    StageCommit,
    decode,
)
from runner.record.ledger import OpenRun, refuse_untold, together
from runner.record.markers import read_marker, write_marker
from runner.record.seal import PLAIN
from runner.record.spelling import END, START
from runner.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runner.paths import StatePaths
    from runner.record.audit import Position, Record
    from runner.record.markers import Marker, OutputIdentity
    from runner.record.seal import Seal


def recover(
    paths: StatePaths, workspace: str, runs: tuple[str, ...], declared: Mapping[str, Mapping[str, str]],
    *, durable: bool, seal: Seal = PLAIN, warn: Callable[[Fault], None] = lambda _: None,
) -> list[OpenRun]:  # fmt: skip
    """Redo the commits of every open run, oldest first, and sweep what they left; the pipeline lock is held.

    `declared`: stage -> output name -> path, as the spec is now; nothing of what it does not name stays. With `durable`
    what the dead run had renamed is on disk when this returns, for it will not be looked at again. `warn` is called for
    a commit whose output cannot be renamed, since somebody else's file is in the way.
    """
    told = {run: _read_run(paths, run, seal, durable=durable) for run in runs}
    lineage = {place: before for one in told.values() for place, before in one.lineage.items()}
    now = Now(lineage, frozenset(path for outputs in declared.values() for path in outputs.values()), warn)
    for run, one in told.items():
        _redo_run(paths, workspace, run, one, now, durable=durable)
    tags: dict[str, dict[str, str]] = {}
    for one in told.values():
        for stage, known in one.tags.items():
            tags.setdefault(stage, {}).update(known)
    for one in told.values():  # not before: a later run may have committed what is still under a partial's name
        for stage in one.asked:
            files.discard(paths.progress(stage))  # from a checkpoint behind that it would not ask again
        _sweep(paths, workspace, one.started, declared, tags, every=one.died)
    recovered = [
        OpenRun(run, one.last, one.attempts, one.torn_bytes, one.selected, one.outputs, one.key_id, tags)
        for run, one in told.items()
    ]
    _empty_temporary(paths)
    return recovered


Place = tuple[str, int]  # of a commit: the run, and the record in its log


class Now(Value):
    """What came after a commit. `lineage`: the commits in open logs, each with that whose marker it replaced, or None.

    `declared` are the paths that are an output of some stage now; `warn` hears of what is in the way.
    """

    lineage: Mapping[Place, Place | None]
    declared: frozenset[str]
    warn: Callable[[Fault], None]

    def is_overtaken(self, place: Place, marker: Marker | None) -> bool:
        """Whether a marker is of a later commit: of none that this commit, or one behind it, has replaced.

        A commit that does not say what it replaced is an earlier release's: it never counts as overtaken.
        """
        if marker is None or place not in self.lineage:
            return False
        at: Place | None = place
        seen: set[Place] = set()
        while at is not None and at not in seen:
            if at == (marker.run, marker.audit_seq):
                return False
            seen.add(at)
            at = self.lineage.get(at)
        return True

    def may_replace(self, real: str, path: str, marker: Marker | None) -> bool:
        """Whether what is at the real path of an output is a stage's: it is one's now, or the marker's, or nothing."""
        if path in self.declared or not os.path.lexists(real):
            return True
        outputs = marker.outputs.values() if marker else ()
        return any(one.path == path and is_identical(real, one) for one in outputs)


def _empty_temporary(paths: StatePaths) -> None:
    """Remove all that must not outlive a run, also while a run without work saves its cache there."""
    dead = paths.put_aside
    files.discard(dead)
    if os.path.lexists(paths.temporary):
        files.set_aside(paths.temporary, dead)  # first: a directory in which files appear cannot be removed
        files.discard(dead)


class _Told:
    """What the log of a run tells: its last commit of each stage, those not yet durable, and what was started."""

    def __init__(self, log: str, seal: Seal) -> None:
        before = last_record(log, seal)
        sealed = before is not None and before["ev"] == END
        self.torn_bytes = 0 if sealed else cut_torn_line(log)  # what follows the end of a run was put there
        self.died = True  # without a word
        self.outputs = CommittedOutputs()
        self.key_id: str | None = None
        self.commits: dict[str, tuple[int, StageCommit]] = {}
        self.unsynced: set[str] = set()
        self.started: dict[str, set[str]] = {}
        self.asked: set[str] = set()  # stages whose last attempt failed by asking for a network
        self.attempts: dict[str, int] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.lineage: dict[Place, Place | None] = {}
        self.last: Position | None = None
        self.selected: tuple[str, ...] = ()
        self.beginnings: dict[int, str] = {}
        for number, record in enumerate(read_chain(log, seal), 1):
            self.key_id = key_id_of(record, self.key_id)
            self.last = position_of(record)
            try:
                self._note(record, self.last)
            except ValueError as error:
                raise damaged(log, number) from error

    def _note(self, record: Record, place: Position) -> None:
        event = decode(record["ev"], record["data"])
        if isinstance(event, StageCommit):
            self.outputs.note(event)
            self.commits[event.stage] = (place.seq, event)
            self.unsynced.add(event.stage)
            if "replaces" in record["data"]:
                before = event.replaces
                self.lineage[record["run"], place.seq] = (before[0], before[1]) if before else None
        elif isinstance(event, AttemptStarted):
            self.attempts[event.stage] = event.attempt
            self.tags.setdefault(event.stage, {})[str(event.tag)] = str(event.key)
            self.started.setdefault(event.stage, set()).update(event.outputs.values())
            self.asked.discard(event.stage)
        elif isinstance(event, NetworkAsked) and event.action == "fail":
            self.asked.add(event.stage)
        elif isinstance(event, RunOpened):
            named = tuple(event.stages or ())
            self.selected = named if record["ev"] == START else together(self.selected, named)
            self.beginnings[place.seq] = place.hash
            self.died = True
        elif record["ev"] == STOPPED:  # written after everything was made durable
            self.unsynced.clear()
            self.died = False


def _read_run(paths: StatePaths, run: str, seal: Seal, *, durable: bool) -> _Told:
    log = paths.audit(run)
    told = _Told(log, seal)
    if told.started or told.commits:
        refuse_untold(paths.ledger, run, told.beginnings, log, seal)
    if told.last is None:
        files.discard(log)  # its run died before it had said anything, and may begin it anew
    elif durable and told.unsynced:
        files.sync_again(log)  # it may have been killed between a commit and its sync, and a rename must not come first
    return told


def _redo_run(paths: StatePaths, workspace: str, run: str, told: _Told, now: Now, *, durable: bool) -> None:
    renamed: dict[str, None] = {}
    for stage, (seq, commit) in told.commits.items():
        anew = durable and stage in told.unsynced
        if redo(paths, workspace, (run, seq), commit, now, anew=anew) and anew:
            renamed[paths.marker(stage)] = None
            real = [os.path.join(workspace, one.path.rstrip("/")) for one in commit.outputs.values()]
            for path in real:  # a run without durability has left that to us
                files.sync_or_discard(path)
            renamed.update((place, None) for path in real for place in upward(os.path.dirname(path), workspace))
    if renamed:
        files.sync_files([*renamed, paths.state_dir])
    told.commits.clear()  # done, and large


def _sweep(
    paths: StatePaths, workspace: str, started: Mapping[str, set[str]], declared: Mapping[str, Mapping[str, str]],
    tags: Mapping[str, Mapping[str, str]], *, every: bool,
) -> None:  # fmt: skip
    """Remove the partials of a run that died, but for what the checkpoint of a declared stage vouches for.

    `every`: of all declared stages, also those that were not `started`: that record is not synced, and a power cut may
    have taken it and left the partial, which is then nobody's.
    """
    left = {path for outputs in started.values() for path in outputs}
    listings: dict[str, list[str]] = {}
    for stage, outputs in declared.items():
        if every or stage in started or not left.isdisjoint(outputs.values()):
            left.difference_update(outputs.values())
            real = {name: os.path.join(workspace, path) for name, path in outputs.items()}
            keep_checkpoint(paths.progress(stage), None, real, tags.get(stage, {}), listings)
    for stage in started:
        if stage not in declared:
            files.discard(paths.progress(stage))
    for found in find_partials({path: os.path.join(workspace, path) for path in left}, listings).values():
        for partial in found:
            files.discard(partial)


def redo(paths: StatePaths, workspace: str, place: Place, commit: StageCommit, now: Now, *, anew: bool = False) -> bool:
    """Bring one committed stage to its end: rename what is still partial, write the marker that is lost.

    `anew`: write it in any case, for the disk may have refused the one that is there.

    False when an output is neither in place nor under its partial's name, so that the stage is not up to date; and when
    there is a later commit of the stage, or a file of somebody else's in the way.
    """
    stage = commit.stage
    marker = read_marker(paths, stage)  # first: one of a newer release ends it
    if now.is_overtaken(place, marker):
        return False
    waiting: list[tuple[str, str]] = []
    for identity in commit.outputs.values():
        real = os.path.join(workspace, identity.path.rstrip("/"))
        if is_identical(real, identity):
            continue
        partial = partial_path(real, commit.tag)
        if not is_identical(partial, identity):
            return False
        if not now.may_replace(real, identity.path, marker):
            what = (
                f"is left as it is, though run {place[0]} had made an output for it; no stage has that output any more"
            )
            now.warn(Fault(real, what))
            return False
        waiting.append((partial, real))
    for partial, real in waiting:  # all are there, or none is renamed
        files.publish(partial, real)
    if anew or marker is None or (marker.run, marker.audit_seq) != place:
        files.make_directories(paths.temporary)
        write_marker(paths, commit.marker(*place).in_place(workspace))
    progress = read_progress(paths.progress(stage))
    if progress is not None and progress.key == commit.key:  # with another key it is that of a later attempt
        files.discard(paths.progress(stage))
    return True


def is_identical(path: str, identity: OutputIdentity) -> bool:
    """Whether the very file (or directory) that was committed is at `path`: inode, size and time; renames keep them."""
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return status.st_ino == identity.inode if identity.path.endswith("/") else identity.matches(status)
