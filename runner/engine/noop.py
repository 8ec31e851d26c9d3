"""A run whose plan finds everything up to date. It writes the no-op record, so that the next run needs no plan."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from runner.engine import Options
from runner.engine.journal import Invocation, opening, warning_record
from runner.engine.open_runs import supersede
from runner.errors import EXIT_OK, StateError
from runner.levels import NONE
from runner.noop import write_run
from runner.plan.decisions import Skip
from runner.record import files
from runner.record.events import ENDED, NOOP, encode
from runner.record.invocation import LONGEST_SPEC, new_run_id
from runner.record.log import Position, lines_of
from runner.record.noop_record import conditions_now, is_plain, record_of
from runner.results import SKIPPED, SUCCEEDED, RunResult, StageResult
from runner.spec.globs import parents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.engine.session import Session
    from runner.plan.planner import Planning
    from runner.record.recovery import OpenRun


def end_without_work(
    session: Session, planning: Planning, began: float, invocation: Invocation, others: Sequence[OpenRun] = ()
) -> RunResult:
    """Record a run without work that began at `began` (time.monotonic), and return its result.

    It supersedes `others`, open runs whose work is done. Writes no log if the options name a run that has one: it has
    ended, or another process executes it.
    """
    options, paths, durable = session.options, session.spec.paths, session.options.is_durable
    run_id, seconds = options.run_id or new_run_id(paths), time.monotonic() - began
    stages = {
        name: StageResult(name, SKIPPED, key=decision.key)
        for name, decision in planning.plan.decisions.items()
        if isinstance(decision, Skip)
    }

    def append(event: str, log: Position | None) -> str:
        ending = invocation.ended(EXIT_OK, {SKIPPED: len(stages)})
        return session.ledger.append(event, run_id, log, sync=durable, invocation=ending)

    def close(last: int, digest: str) -> str:
        supersede(session, others, run_id)
        return append(NOOP, Position(last, digest))

    first = opening(session, planning.spec, {"level": NONE}, session.seal.id, LONGEST_SPEC)
    warnings = [(event, encode(data)) for event, data in map(warning_record, invocation.warnings)]
    files.make_directories(paths.state_dir)
    try:
        head = write_run(paths, run_id, first, len(stages), seconds, close, session.seal, warnings, durable=durable)
        if session.events:
            session.events.append(b"".join(lines_of(paths.audit(run_id))))
    except StateError as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
        if not options.run_id:  # another process drew the same id
            return end_without_work(session, planning, began, invocation, others)
        head = append(ENDED, None)
    session.save_cache()
    _write_noop_record(session, planning, run_id, str(first["specSha256"]), invocation.began)
    return RunResult(session.spec.name, run_id, SUCCEEDED, EXIT_OK, stages, head, seconds, {"level": NONE})


def _write_noop_record(session: Session, planning: Planning, run_id: str, spec_sha256: str, began: int) -> None:
    """Write the no-op record of a plan that found every stage up to date, and that began at `began` (time.time_ns).

    The log of `run_id` has the spec. Writes nothing if options changed the plan, or if there were warnings, which the
    next run must repeat.
    """
    spec, options = planning.spec, session.options
    given = options._replace(
        workspace=None,
        jobs=None,
        keep_going=False,
        durability="full",
        events=None,
        argv=(),
        final=False,
        variables={} if options.var_sources else options.variables,
        var_sources=(),
    )
    if given != Options() or is_plain() or session.seal.id or session.warned:
        return
    examiner = planning.examiner
    record = record_of(_dependencies(planning), spec, spec_sha256, run_id, began)
    if record is None:
        return
    path = session.noop_record
    content = record.encode(conditions_now(spec.path, options.workspace, options.var_sources))
    with suppress(StateError):  # the next run plans again
        if examiner.changed_since(examiner.read):
            return  # another file may have taken a path, with older time stamps
        files.make_directories(os.path.dirname(path))
        files.replace(path, content, temporary=f"{path}.{os.getpid()}")


def _dependencies(planning: Planning) -> Iterator[set[str]]:
    """Return the paths that a plan depends on, as `groups` does: what it read, the spec, the markers, the outputs."""
    spec, examiner = planning.spec, planning.examiner
    files = {*examiner.paths(), *planning.orphans.absent, *spec.expanded_from, spec.path}
    entries = {spec.paths.marker(stage.name) for stage in spec.stages}
    trees, kinds = {*examiner.read.trees}, {spec.root}
    for stage in spec.stages:
        if processor := spec.processor_path(stage):
            files.add(processor)
        for path in stage.outputs.values():
            kinds.update(os.path.join(spec.workspace, parent) for parent in parents(path))
            place = spec.output_path(path)  # without a file, it is temporary, and was removed
            (trees if path.endswith("/") else entries if os.path.lexists(place) else files).add(place)
    return groups(files, entries, trees, kinds)


def groups(files: set[str], entries: set[str], trees: set[str], kinds: set[str]) -> Iterator[set[str]]:
    """Yield absolute paths in four groups: those to stat, to lstat, to lstat for their kind only, and the absent ones.

    files: read or listed, through links; they may be absent. entries: links are not followed, as for outputs. trees:
    directories with everything below them. kinds: directories of which only the kind of file counts.
    No path is both in the first and the second group: for an entry that is not a link, lstat serves as well.
    """
    files, entries = {path for path in files if "\0" not in path} | trees, set(entries)
    pending = list(trees)
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as listed:
            for entry in listed:
                is_directory = entry.is_dir(follow_symlinks=False)
                (files if is_directory else entries).add(entry.path)
                pending += [entry.path] if is_directory else []
    absent = {path for path in files if not os.path.exists(path)}
    yield files - absent - {path for path in entries & files if not os.path.islink(path)}
    yield entries
    yield kinds
    yield absent
