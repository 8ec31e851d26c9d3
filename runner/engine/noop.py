"""A run that finds everything up to date, and the record by which the next one finds the same without a plan."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from runner import noop
from runner.canonical import stamp
from runner.engine import Options
from runner.engine.journal import opening
from runner.errors import EXIT_OK, StateError
from runner.hashing import sha256_of
from runner.levels import NONE
from runner.plan.fingerprint import Dependencies
from runner.plan.planner import Skip
from runner.record import files
from runner.record.audit import Position
from runner.record.events import NOOP
from runner.record.ledger import Ledger
from runner.record.seal import PLAIN
from runner.results import SKIPPED, SUCCEEDED, RunResult, StageResult
from runner.spec.globs import parents

if TYPE_CHECKING:
    from runner.engine.session import Session
    from runner.plan.planner import Plan
    from runner.spec.model import Spec


def end_without_work(session: Session, plan: Plan, began: float, *, remembers: bool = True) -> RunResult:
    """Record a run of a plan without work, which began at `began` (time.monotonic); return its result.

    `remembers`: also write the no-op record.
    """
    seconds = time.monotonic() - began
    run_id, head = record_noop(session, len(plan.decisions), seconds)
    session.save_cache()
    if remembers:
        remember(session, run_id)
    stages = skipped(plan)
    return RunResult(session.spec.name, run_id, SUCCEEDED, EXIT_OK, stages, head, seconds, {"level": NONE})


def skipped(plan: Plan) -> dict[str, StageResult]:
    """Return a result for each stage that the plan finds up to date."""
    return {
        name: StageResult(name, SKIPPED, key=decision.key)
        for name, decision in plan.decisions.items()
        if isinstance(decision, Skip)
    }


def record_noop(session: Session, stages: int, seconds: float) -> tuple[str, str]:
    """Record a run that found everything up to date: log, metrics, one line in the ledger. Returns its id and the head.

    Writes nothing for a given id that has a log: that run has ended, or another process is executing it.
    """
    options, paths, seal = session.options, session.spec.paths, session.seal
    run_id = options.run_id or noop.new_run_id(paths)
    first = opening(session, options.stages, {"level": NONE}, seal, longest_spec=noop.LONGEST_SPEC)
    ledger = Ledger(paths.ledger, session.spec.name, stamp, seal)

    def close(digest: str) -> str:
        return ledger.append(NOOP, run_id, Position(1, digest), sync=options.is_durable)

    files.make_directories(paths.state_dir)
    try:
        head = noop.record_run(paths, run_id, first, stages, seconds, close, seal.hash, durable=options.is_durable)
    except StateError as error:
        if not isinstance(error.__cause__, FileExistsError):
            raise
        if not options.run_id:  # another process drew the same id
            return record_noop(session, stages, seconds)
        head = session.head.position.hash
    return run_id, head


def remember(session: Session, run_id: str) -> None:
    """Write the no-op record of a plan that found every stage up to date, as the run `run_id` has it in its log.

    Only of a run of all stages as the spec has them that warned of nothing: a later run must say no less.
    """
    spec, options = session.spec, session.options
    given = options._replace(workspace=None, jobs=None, keep_going=False, durability="full", argv=(), final=False)
    if given != Options() or noop.is_plain() or session.seal is not PLAIN or session.warned:
        return
    dependencies = Dependencies()
    session.examiner.add_to(dependencies)
    _add_spec(spec, dependencies)
    sha256 = sha256_of(spec.canonical.encode("utf-8", "backslashreplace"))
    record = noop.record_of(dependencies, spec.paths, spec.name, len(spec.stages), sha256, run_id, session.began)
    if record is None:
        return
    path = noop.record_path(spec.path, options.workspace)
    content = record.encode(noop.conditions_now(spec.path, options.workspace))
    try:
        files.make_directories(os.path.dirname(path))
        files.replace(path, content, temporary=f"{path}.{os.getpid()}")
    except StateError:  # the next run plans again
        return


def _add_spec(spec: Spec, dependencies: Dependencies) -> None:
    """Add what loading the spec read, the markers, and the outputs."""
    dependencies.files.add(spec.path)
    dependencies.kinds.add(spec.root)
    for stage in spec.stages:
        dependencies.entries.add(spec.paths.marker(stage.name))
        if processor := spec.processor_path(stage):
            dependencies.files.add(processor)
        for path in stage.outputs.values():
            dependencies.kinds.update(os.path.join(spec.workspace, parent) for parent in parents(path))
            if path.endswith("/"):
                dependencies.trees.add(spec.output_path(path))
            else:
                dependencies.entries.add(spec.output_path(path))
