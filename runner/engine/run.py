"""The verb `run`, from top to bottom: plan, take the lock, recover, execute, and write the last records."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING

from runner.engine.start import early_launcher, make_executor, make_hooks, make_launcher, preload
from runner.errors import EXIT_OK, EXIT_STAGE_FAILED, WORST_FIRST, LockHeldError
from runner.interrupts import Interrupts
from runner.levels import STRICT
from runner.listener import Clock, Listener
from runner.results import FAILED, GOOD, INTERRUPTED, SUCCEEDED, RunResult, StageResult
from runner.sandbox.guard import settle

if TYPE_CHECKING:
    from runner.engine import Options
    from runner.engine.journal import Journal
    from runner.engine.session import Session
    from runner.record.recovery import OpenRun
    from runner.spec.model import Spec


def run(  # noqa: PLR0915 - the one long function: it tells a run from top to bottom
    spec_path: str,
    options: Options,
    listener: Listener | None = None,
    plugins: tuple[object, ...] = (),
    clock: Clock | None = None,
    spec: Spec | None = None,
) -> RunResult:
    """Bring a pipeline up to date. `plugins` implement hooks, `listener` gets what no hook covers, tests pass `clock`.

    `spec` is what `options.load` returned, if it was called. Raises SpecError, InputError, OfflineError or UsageError
    before it writes anything, and LockHeldError. StateError, if the disk refuses something, ends the run; the next run
    continues it.
    """
    listener, began, began_ns = listener or Listener(), time.monotonic(), time.time_ns()
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts(final=options.final))
        # Load the spec. If there is certainly work, the launcher gets ready while the rest of the program is loaded.
        spec = spec or options.load(spec_path)
        early = None if plugins else early_launcher(spec, options)
        stack.enter_context(early or nullcontext())
        from runner.engine import noop, open_runs, preflight
        from runner.engine.journal import Invocation, Journal
        from runner.engine.session import Session
        from runner.record.locks import last_holder

        # Plan without the lock: a run without work needs none, and can end while another run is at work.
        invocation = stack.enter_context(Invocation(spec, options, listener.warn, began_ns, plugins))
        session = Session(spec_path, options, spec=spec, writes=True, warn=invocation.warn)
        before = last_holder(spec.paths), session.head.position
        planning = preflight.plan_without_lock(session, interrupts, listener.hashed)
        idle = planning if planning is not None and planning.plan.is_noop else None
        if idle is not None and not open_runs.needs_recovery(session):
            return noop.end_without_work(session, idle, began, invocation)
        try:
            wait = options.wait if idle is None else 0.0
            lock = stack.enter_context(open_runs.held_lock(spec, wait, listener.waiting, interrupts.check))
        except LockHeldError:
            if idle is None:
                raise
            return noop.end_without_work(session, idle, began, invocation)  # the holder of the lock recovers
        # Recover what killed runs left, while the launcher gets ready. Plan again if something has changed.
        hooks = make_hooks((*listener.hooks(), *plugins))
        launcher = stack.enter_context(make_launcher(hooks, spec, early, session.warn, interrupts.check))
        lock.update_holder(launcher=launcher.pid, launcherStarted=launcher.started_at)
        recovered = open_runs.recover_runs(session, planning.spec if planning else spec)
        if planning is None or recovered.is_any or (lock.previous, session.head.position) != before:
            planning = session.plan()
        planning = preflight.refuse(session, planning)
        if planning.plan.is_noop and not recovered.is_open:
            return noop.end_without_work(session, planning, began, invocation, recovered.others)
        # Execute.
        launcher.load(planning.examiner.standard, planning.examiner.distributions)
        preload(planning.spec, durable=options.is_durable)
        preflight.remark(session, planning.spec, planning.stages, planning.markers)
        launcher = stack.enter_context(settle(launcher, strict=options.offline == STRICT))
        preflight.refuse_without_views(session, planning, launcher.layers)
        lock.update_holder(run=recovered.mine.run, launcher=launcher.pid, launcherStarted=launcher.started_at)
        journal = Journal(session, planning.spec, recovered.mine, launcher.layers, invocation)
        executor = make_executor(
            session, planning, journal.log, recovered.mine, launcher, hooks, interrupts, listener, clock
        )
        hooks.offpipe_run_started(
            spec=planning.spec,
            run_id=journal.run_id,
            stages=len(planning.stages) - len(planning.opened),
            resumed=journal.resumed,
            isolation=launcher.layers,
            checkpoints=planning.checkpoints,
        )
        with executor.attempts:
            stages = executor.execute()
            executor.publisher.sync()
            journal.spec = executor.run.spec
            result = _seal(session, journal, recovered.others, stages, interrupts.first, began)
            result = result._replace(removed=executor.removals.removed)
        launcher.close()  # of a cluster, it may take seconds
        hooks.offpipe_run_finished(result=result)
        return result


def _seal(
    session: Session,
    journal: Journal,
    others: list[OpenRun],
    stages: dict[str, StageResult],
    signal: int | None,
    began: float,
) -> RunResult:
    """Write the last records of a run whose outputs are durable. If it succeeded, it has done the work of `others`."""
    from runner.engine.open_runs import supersede

    status, exit_code = outcome(stages, signal)
    if status == SUCCEEDED:
        supersede(session, others, journal.run_id)
    seconds = time.monotonic() - began
    head = journal.end(status, exit_code, stages, seconds)
    session.save_cache()
    return RunResult(
        session.spec.name, journal.run_id, status, exit_code, stages, head, seconds, journal.layers, signal
    )


def outcome(stages: dict[str, StageResult], signal: int | None) -> tuple[str, int]:
    """Return a run's status and exit code: 128 + signal, or the worst code of its stages."""
    bad = [stage for stage in stages.values() if stage.status not in GOOD]
    if not bad:
        return SUCCEEDED, EXIT_OK
    if signal is not None:
        return INTERRUPTED, 128 + signal
    codes = {stage.exit_code for stage in bad}
    return FAILED, next((code for code in WORST_FIRST if code in codes), EXIT_STAGE_FAILED)
