"""Recovery, before a run plans anything: finishes the commits of killed runs, and removes the files that they left.

`stage.commit` is the redo record. It is durable before the first partial is renamed. So whenever the run died, each
output is either at its real path (done), or still has its partial's name (rename it). Its inode identifies it.
"""

from __future__ import annotations

import os
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from runner.canonical import END, START
from runner.errors import Fault
from runner.paths import StatePaths, partial_path, tag_of, upward
from runner.record import events, files
from runner.record.checkpoints import collect, find_partials, keep_checkpoint, read_progress
from runner.record.ledger import refuse_replaced_log
from runner.record.log import Position, Record, cut_torn_line, damaged, key_id_of, last_record, position_of, read_chain
from runner.record.markers import Marker, OutputIdentity, read_marker, write_marker
from runner.record.seal import PLAIN, Seal
from runner.record.views import View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    Place = tuple[str, int]  # of a commit: its run, and its record in that log


class OpenLogs(NamedTuple):
    """What the logs of all open runs say together.

    `tags`: those of all attempts, stage -> tag -> key. `positions`: of each stage, and the commit whose marker its
    attempts would have replaced, the last position in the lists of the spec, if that is not 0. It never falls before
    the stage succeeds. So it is the highest one. `lineage`: commit -> the commit whose marker it replaced. `removed`:
    temporary outputs, by the run and record of their commit, and their path. `sealed`: the attempts that had a view.
    """

    tags: dict[str, dict[str, str]]
    positions: dict[tuple[str, Place | None], int]
    lineage: dict[Place, Place | None]
    removed: set[tuple[str, int, str]]
    sealed: list[events.AttemptStarted]


class OpenRun:
    """A run that has not succeeded yet, read from its log; or a new run, without a log (`last` is None).

    `attempts`: the number of the last attempt, by stage; `selected`: the stages named for the run (empty: all);
    `torn_bytes`: the length of the torn last line, which was cut off. `outputs` and `key_id` are those of its log.
    """

    def __init__(self, run: str, logs: OpenLogs | None = None) -> None:
        """`logs` are shared by all open runs."""
        self.run = run
        self.logs = logs or OpenLogs({}, {}, {}, set(), [])
        self.last: Position | None = None
        self.attempts: dict[str, int] = {}
        self.selected: tuple[str, ...] = ()
        self.torn_bytes = 0
        self.outputs = events.CommittedOutputs()
        self.key_id: str | None = None
        self.beginnings: dict[int, str] = {}  # number and hash of each record that begins a part of the run
        self.started: set[str] = set()  # the paths of the outputs of every stage that was started
        self.outputs_of: dict[str, Mapping[str, str]] = {}  # of each of them, as last started: name -> path
        self.offline_failures: set[str] = set()  # stages whose last attempt failed by a call for a network
        self.commits: dict[str, tuple[int, events.StageCommit]] = {}  # the last of each stage
        self.unsynced: set[str] = set()  # stages whose outputs may not be on disk

    def read(self, log: str, seal: Seal) -> None:
        """Read the log, and cut a torn last line. StateError if it is damaged."""
        last = last_record(log, seal)
        if last is None or last["ev"] != END:  # bytes after the end of a run do not come from a crash
            self.torn_bytes = cut_torn_line(log)
        for number, record in enumerate(read_chain(log, seal), 1):
            self.key_id = key_id_of(record, self.key_id)
            self.last = position_of(record)
            try:
                self._note(record, self.last)
            except ValueError as error:
                raise damaged(log, number) from error

    def _note(self, record: Record, place: Position) -> None:
        event = events.decode(record["ev"], record["data"])
        if isinstance(event, events.StageCommit):
            self.outputs.note(event)
            self.commits[event.stage] = (place.seq, event)
            self.unsynced.add(event.stage)
            self.logs.lineage[record["run"], place.seq] = _place(event.replaces)
        elif isinstance(event, events.OutputsRemoved):
            self.logs.removed.update((event.commit[0], event.commit[1], path) for path in event.outputs.values())
        elif isinstance(event, events.AttemptStarted):
            self.attempts[event.stage] = event.attempt
            self.logs.tags.setdefault(event.stage, {})[str(event.tag)] = str(event.key)
            self.started.update(event.outputs.values())
            self.outputs_of[event.stage] = event.outputs
            self.offline_failures.discard(event.stage)
            if event.sealed:
                self.logs.sealed.append(event)
            if event.position:
                key = event.stage, _place(event.replaces)
                self.logs.positions[key] = max(event.position, self.logs.positions.get(key, 0))
        elif isinstance(event, events.NetworkAttempt) and event.action == "fail":
            self.offline_failures.add(event.stage)
        elif isinstance(event, events.RunOpened):
            named = tuple(event.stages or ())
            self.selected = named if record["ev"] == START else self.selected_with(named)
            self.beginnings[place.seq] = place.hash
        elif record["ev"] == events.STOPPED:  # written after everything was made durable
            self.unsynced.clear()

    def selected_with(self, named: tuple[str, ...]) -> tuple[str, ...]:
        """Return `selected` after the run resumes, or begins, with the stages `named`."""
        if self.last is None:
            return named
        return tuple(dict.fromkeys((*self.selected, *named))) if self.selected and named else ()


def _place(commit: Sequence[Any] | None) -> Place | None:
    return (commit[0], commit[1]) if commit else None


def recover(
    paths: StatePaths,
    workspace: str,
    runs: tuple[str, ...],
    declared: Mapping[str, Mapping[str, str]],
    unknown: Collection[str] = (),
    *,
    durable: bool,
    seal: Seal = PLAIN,
    warn: Callable[[Fault], None] = lambda _: None,
) -> list[OpenRun]:
    """Redo the commits of every open run, oldest first, and remove the files that they left.

    The caller holds the pipeline lock. `declared`: stage -> output name -> path, in the present spec; partials of other
    outputs are removed. Instances of `unknown` templates, whose instances are not known now, count as declared. With
    `durable`, every output that a dead run renamed is on disk when this returns, because no later run syncs it. `warn`
    is called for a commit whose output cannot be renamed because a file of another origin is in the way.
    """
    recovery = _Recovery(paths, workspace, declared, frozenset(), warn, durable, OpenLogs({}, {}, {}, set(), []))
    opened = [recovery.read(run, seal) for run in runs]
    started = chain.from_iterable(run.outputs_of.items() for run in opened)
    declared = {**declared, **{stage: made for stage, made in started if stage.partition("@")[0] in unknown}}
    declared_paths = frozenset(path for outputs in declared.values() for path in outputs.values())
    recovery = recovery._replace(declared=declared, declared_paths=declared_paths)
    for run in opened:
        recovery.redo(run)
    if opened:  # after every redo: a later run may have committed a file that still has a partial's name
        recovery.sweep(opened)
    files.discard(paths.temporary)
    return opened


class _Recovery(NamedTuple):
    """The recovery of open runs."""

    paths: StatePaths
    workspace: str
    declared: Mapping[str, Mapping[str, str]]
    declared_paths: frozenset[str]
    warn: Callable[[Fault], None]
    durable: bool
    logs: OpenLogs

    def read(self, name: str, seal: Seal) -> OpenRun:
        log, run = self.paths.audit(name), OpenRun(name, self.logs)
        run.read(log, seal)
        if run.attempts or run.commits:
            refuse_replaced_log(self.paths.ledger, name, run.beginnings, log, seal)
        if run.last is None:
            files.discard(log)  # the run died before its first record, and may start its log again
        elif self.durable and run.unsynced:
            files.sync_again(log)  # no rename may come before the sync of its commit
        return run

    def redo(self, run: OpenRun) -> None:
        """Finish the last commit of each stage, and make durable what the run may not have synced."""
        renamed: dict[str, None] = {}
        for stage, (seq, commit) in run.commits.items():
            unsynced = self.durable and stage in run.unsynced
            if self._finish((run.run, seq), commit, unsynced=unsynced) and unsynced:
                renamed[self.paths.marker(stage)] = None
                for path in filter(os.path.lexists, map(self._real, commit.outputs.values())):
                    files.sync_or_discard(path)  # a run that was not durable did not
                    renamed.update(dict.fromkeys(upward(os.path.dirname(path), self.workspace)))
        if renamed:
            files.sync_files([*renamed, self.paths.state_dir])
        run.commits.clear()  # they are done, and large

    def _finish(self, place: Place, commit: events.StageCommit, *, unsynced: bool) -> bool:
        """Rename outputs that are still partials, and write the marker if it is lost, or if it is `unsynced`.

        False if there is a later commit, if an output is in neither place (then the stage is not up to date), or if a
        file of another origin is in the way.
        """
        stage = commit.stage
        marker = read_marker(self.paths, stage)  # first: a marker of a newer release ends the run
        if self._is_overtaken(place, marker):
            return False
        waiting: list[tuple[str, str]] = []
        for identity in commit.outputs.values():
            real = self._real(identity)
            if identity.at(real) or (*place, identity.path) in self.logs.removed:
                continue
            partial = partial_path(real, commit.tag)
            if not identity.at(partial):
                if marker and marker.key == commit.key and (marker.run, marker.audit_seq) != place:
                    files.discard(self.paths.marker(stage))  # else the stage might count as up to date
                return False
            if not self._may_replace(real, identity.path, marker):
                what = f"is left as it is; run {place[0]} made another output for this path"
                self.warn(Fault(real, f"{what}, which no stage declares any more"))
                return False
            waiting.append((partial, real))
        for partial, real in waiting:  # only if all are there
            files.publish(partial, real)
        if unsynced or not marker or (marker.run, marker.audit_seq) != place:
            files.make_directories(self.paths.temporary)
            write_marker(self.paths, commit.marker(*place).in_place(self.workspace))
        progress = read_progress(self.paths.progress(stage))
        if progress and progress.key == commit.key:  # another key is that of a later attempt
            files.discard(self.paths.progress(stage))
        return True

    def _is_overtaken(self, place: Place, marker: Marker | None) -> bool:
        """Whether a marker is that of a later commit: not of this one, nor of one before it in the open logs."""
        if not marker:
            return False
        at: Place | None = place
        followed: set[Place] = set()
        while at is not None and at not in followed:
            followed.add(at)
            at = self.logs.lineage.get(at)
        return (marker.run, marker.audit_seq) not in followed

    def _may_replace(self, real: str, path: str, marker: Marker | None) -> bool:
        """Whether an output may go to its real path: it is declared, or free, or has the output of the marker."""
        if path in self.declared_paths or not os.path.lexists(real):
            return True
        outputs = marker.outputs.values() if marker else ()
        return any(identity.path == path and identity.at(real) for identity in outputs)

    def sweep(self, runs: list[OpenRun]) -> None:
        """Remove all partials, except those that the checkpoint of a declared stage vouches for.

        Stages that were not started are swept, too: the record of a start is not synced, so a power cut may have taken
        the record and left the partial.
        """
        listings: dict[str, list[str]] = {}
        for each in self.logs.sealed:
            View(self.workspace, self.paths, each.stage, each.outputs, each.seen_as or {}, each.tag).end()
        for stage, tags in self.logs.tags.items():
            last = next(reversed(tags))  # of the newest attempt
            collect(self.paths.progress(stage, last), self.paths.progress(stage), last)
        undeclared = {stage for run in runs for stage in run.attempts} - self.declared.keys()
        offline = {stage for run in runs for stage in run.offline_failures}  # their checkpoints lie behind the call
        for stage in undeclared | offline:
            files.discard(self.paths.progress(stage))
        for stage, outputs in self.declared.items():
            real = {name: os.path.join(self.workspace, path) for name, path in outputs.items()}
            keep_checkpoint(self.paths.progress(stage), None, real, self.logs.tags.get(stage, {}), listings)
        left = {path for run in runs for path in run.started} - self.declared_paths
        ours = {tag for tags in self.logs.tags.values() for tag in tags}
        for partials in find_partials({path: os.path.join(self.workspace, path) for path in left}, listings).values():
            for partial in partials:
                if tag_of(partial) in ours:  # another pipeline may make that output now
                    files.discard(partial)

    def _real(self, identity: OutputIdentity) -> str:
        return os.path.join(self.workspace, identity.path.rstrip("/"))
