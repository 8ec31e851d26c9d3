"""The verb `run`, from top to bottom: plan, take the lock, recover, execute, and seal the record."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from runner.engine.journal import Journal
from runner.engine.noop import end_without_work, skipped
from runner.engine.open_runs import end_others, held_lock, needs_recovery, recover_runs
from runner.engine.preflight import refuse, refuse_newer
from runner.engine.remarks import remark
from runner.engine.session import Session
from runner.errors import EXIT_OK, EXIT_STAGE_FAILED, InterruptedRunError, LockHeldError, OffpipeError
from runner.interrupts import Interrupts
from runner.levels import NONE, STRICT
from runner.record.locks import is_held, last_holder
from runner.results import FAILED, INTERRUPTED, SKIPPED, SUCCEEDED, RunResult, StageResult

if TYPE_CHECKING:
    from runner.clock import Clock
    from runner.engine.session import Options
    from runner.errors import Fault
    from runner.plan.planner import Plan
    from runner.record.recovery import OpenRun
    from runner.sandbox.client import Launcher


class Listener(Protocol):
    """What follows a run beyond its hooks: a display."""

    @property
    def interval(self) -> float | None:
        """How often to call `tick`, in seconds; None for never."""

    def tick(self) -> None:
        """Redraw: time has passed."""

    def hashed(self, path: str, total: int, size: int) -> None:
        """Note that `size` more bytes of a file of `total` bytes are hashed."""

    def waiting(self, holder: dict[str, object]) -> None:
        """Say who holds the lock that the run waits for."""

    def warn(self, fault: Fault) -> None:
        """Warn of what stops nothing: a state file that counts as missing, a likely mistake in the spec."""

    def hooks(self) -> tuple[object, ...]:
        """Return what implements hooks. A run calls this once it has work to do; without work it loads no hooks."""


class Quiet:
    """A listener that does nothing."""

    interval: float | None = None

    def tick(self) -> None:
        """Do nothing."""

    def hashed(self, path: str, total: int, size: int) -> None:
        """Do nothing."""

    def waiting(self, holder: dict[str, object]) -> None:
        """Do nothing."""

    def warn(self, fault: Fault) -> None:
        """Do nothing."""

    def hooks(self) -> tuple[object, ...]:
        """Return nothing."""
        return ()


PATIENT_BESIDE_A_RUN = 0.5  # seconds of hashing after which it matters whether another run holds the lock


class _AnotherRunError(Exception):
    """Hashing takes long, and another run holds the lock: wait for that one instead of hashing beside it."""


def run(  # noqa: PLR0915 - the one long function: it tells a run from top to bottom
    spec_path: str, options: Options, listener: Listener | None = None, plugins: tuple[object, ...] = (),
    clock: Clock | None = None,
) -> RunResult:  # fmt: skip
    """Bring a pipeline up to date. `plugins` implement hooks, `listener` gets what is no hook, `clock` is for tests.

    Raises SpecError, InputError, OfflineError or UsageError before anything is written; LockHeldError; StateError when
    the disk refuses, which ends the run (the next one goes on from there).
    """
    listener, began = listener or Quiet(), time.monotonic()
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts(final=options.final))
        session = Session(spec_path, options, writes=True, warn=listener.warn)
        # Plan without the lock: a run without work needs none, and ends so beside another run.
        before = last_holder(session.spec.paths), session.head.position
        plan = _plan_without_lock(session, interrupts, listener)
        idle = plan if plan is not None and plan.is_noop else None
        if idle is not None and not needs_recovery(session):
            return end_without_work(session, idle, began)
        try:
            wait = options.wait if idle is None else 0.0
            lock = stack.enter_context(held_lock(session.spec, wait, listener.waiting, interrupts.check))
        except LockHeldError:
            if idle is None:
                raise
            # The open run is the holder's, even if it has the same id. This run needs none of its work.
            return end_without_work(session, idle, began, remembers=False)
        # Recover what killed runs left, while the launcher gets ready. Plan again if anything has changed.
        from runner.engine.plugins import make_plugins
        from runner.sandbox.guard import settle

        hooks = make_plugins((*listener.hooks(), *plugins)).hook
        launcher: Launcher = stack.enter_context(hooks.offpipe_make_launcher(spec=session.spec))
        lock.update_holder(launcher=launcher.pid, launcherStarted=launcher.started_at)
        recovered = recover_runs(session, listener.warn)
        if plan is None or recovered.is_any or (lock.previous, session.head.position) != before:
            plan = session.plan()
        plan = refuse(session, plan)
        if plan.is_noop and not recovered.is_open:
            end_others(session, recovered.others, {"level": NONE}, skipped(plan))
            return end_without_work(session, plan, began)
        # Execute.
        from runner.engine.execution import make_executor, preload

        launcher.load(session.imports)
        preload(session.spec, durable=options.is_durable)
        remark(session)
        launcher = stack.enter_context(settle(launcher, strict=options.offline == STRICT))
        lock.update_holder(run=recovered.mine.run, launcher=launcher.pid, launcherStarted=launcher.started_at)
        journal = Journal(session, recovered.mine, launcher.layers)
        attempts, executor = make_executor(session, plan, journal, launcher, hooks, interrupts, listener, clock)
        hooks.offpipe_run_started(
            spec=session.spec, run_id=journal.run_id, stages=len(session.stages), resumed=journal.resumed,
            isolation=launcher.layers, checkpoints=session.checkpoints,
        )  # fmt: skip
        try:
            stages = executor.execute()
            launcher.close()
            attempts.publisher.sync()
            result = _seal(session, journal, recovered.others, stages, interrupts.first, began)
        except OffpipeError:
            attempts.give_up()
            raise
        hooks.offpipe_run_finished(result=result)
        return result


def _plan_without_lock(session: Session, interrupts: Interrupts, listener: Listener) -> Plan | None:
    """Return the plan, or None where hashing takes long while another run holds the lock."""
    began, paths, is_beside = time.monotonic(), session.spec.paths, True

    def hashed(path: str, total: int, size: int) -> None:
        interrupts.check()
        is_long = is_beside and time.monotonic() - began > PATIENT_BESIDE_A_RUN
        if is_long and is_held(paths):
            raise _AnotherRunError
        listener.hashed(path, total, size)

    session.on_hashed = hashed
    refuse_newer(session)
    try:
        plan = session.plan()
    except _AnotherRunError:
        return None
    except InterruptedRunError:
        session.save_cache()  # the next run reads the rest
        raise
    finally:
        is_beside = False
    return refuse(session, plan)


def _seal(
    session: Session, journal: Journal, others: list[OpenRun], stages: dict[str, StageResult],
    signal: int | None, began: float,
) -> RunResult:  # fmt: skip
    """Write the last records of a run whose outputs are durable, and end `others`, whose work is done with it."""
    status, exit_code = outcome(stages, signal)
    if status == SUCCEEDED:
        end_others(session, others, journal.layers, stages)
    seconds = time.monotonic() - began
    head = journal.end(status, stages, seconds)
    session.save_cache()
    return RunResult(
        session.spec.name, journal.run_id, status, exit_code, stages, head, seconds, journal.layers, signal
    )


def outcome(stages: dict[str, StageResult], signal: int | None) -> tuple[str, int]:
    """Return a run's status and exit code: 128 + the signal's number; the failures' own code if they agree, else 1."""
    bad = [stage for stage in stages.values() if stage.status not in (SUCCEEDED, SKIPPED)]
    if not bad:
        return SUCCEEDED, EXIT_OK
    if signal is not None:
        return INTERRUPTED, 128 + signal
    codes = {stage.exit_code for stage in bad if stage.status == FAILED}
    return FAILED, codes.pop() if len(codes) == 1 else EXIT_STAGE_FAILED
