"""The verb `run`: decide, take the lock, recover, execute, and record it all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from runner import results
from runner.api.journal import Journal, close_ended, record_noop
from runner.api.locking import last_holder
from runner.api.open_runs import covered, end_others, new_run, recovered_runs, run_to_go_on
from runner.api.refusals import refuse, refuse_newer
from runner.api.remember import remember
from runner.api.session import Session
from runner.errors import EXIT_OK, EXIT_STAGE_FAILED, InterruptedRunError, LockHeldError, OffpipeError
from runner.interrupts import Interrupts
from runner.levels import NONE, STRICT
from runner.record.others import has_leftovers, is_held
from runner.results import RunResult, StageResult

if TYPE_CHECKING:
    from pluggy import PluginManager

    from runner.api.options import Options
    from runner.clock import Clock
    from runner.errors import Fault
    from runner.executor.attempts import Attempts
    from runner.executor.job import Surroundings, Ticker
    from runner.executor.publishing import Publisher
    from runner.plan.planner import Plan
    from runner.record.ledger import OpenRun
    from runner.sandbox.client import Launcher


class Listener(Protocol):
    """What hears of a run beyond its hooks; a display."""

    @property
    def interval(self) -> float | None:
        """How often to call `tick`, in seconds; None for never."""

    def tick(self) -> None:
        """Hear that time passes."""

    def hashed(self, path: str, total: int, size: int) -> None:
        """Hear that `size` more bytes of a file of `total` bytes are hashed."""

    def waiting(self, holder: dict[str, object]) -> None:
        """Hear who holds the lock that is waited for."""

    def warn(self, fault: Fault) -> None:
        """Hear of what stops nothing: a state file that counts as missing, what a spec probably does not mean."""

    def hooks(self) -> tuple[object, ...]:
        """Return what implements hooks. Asked once there is work to do, so that a run without any loads nothing."""


class Quiet:
    """A listener that does not listen."""

    interval: float | None = None

    def tick(self) -> None:
        """Nothing to redraw."""

    def hashed(self, path: str, total: int, size: int) -> None:
        """Nobody to tell."""

    def waiting(self, holder: dict[str, object]) -> None:
        """Nobody to tell."""

    def warn(self, fault: Fault) -> None:
        """Nobody to tell."""

    def hooks(self) -> tuple[object, ...]:
        """Return nothing."""
        return ()


PATIENT_BESIDE_A_RUN = 0.5  # seconds of hashing after which it matters whether another run holds the lock


class _AnotherRunError(Exception):
    """Hashing takes long, and another run holds the lock: it will know better what is to be done."""


def run(
    spec_path: str, options: Options, listener: Listener | None = None, plugins: tuple[object, ...] = (),
    clock: Clock | None = None,
) -> RunResult:  # fmt: skip
    """Bring a pipeline up to date; `listener` hears what is no hook, `plugins` implement hooks, `clock` is for tests.

    Raises SpecError, InputError, OfflineError or UsageError before anything is written; LockHeldError; StateError when
    the disk refuses, which ends the run (the next one goes on from there).
    """
    heard: Listener = listener or Quiet()
    began = time.monotonic()
    with Interrupts(final=options.final) as interrupts:
        may_be_held = True

        def tick(size: int) -> None:
            interrupts.check()
            if (
                may_be_held
                and time.monotonic() - began > PATIENT_BESIDE_A_RUN
                and is_held(session.spec.paths.pipeline_lock, session.spec.paths.state_dir)
            ):
                raise _AnotherRunError
            path, total = session.cache.reading
            heard.hashed(path, total, size)

        session = Session(spec_path, options, tick, writes=True, warn=heard.warn)
        refuse_newer(session, options.run_id)
        seen = last_holder(session.spec.paths)
        plan = _planned(session)
        may_be_held = False
        if plan is not None:
            plan = refuse(session, options, plan)
            begun = session.head.open_runs or Journal.is_unfinished(session, options.run_id)
            if plan.is_noop and not begun and not session.damage and not has_leftovers(session.spec.paths):
                return _nothing_to_do(session, options, plan, began)
        try:
            return _run_locked(session, options, plan, seen, began, interrupts, heard, plugins, clock)
        except LockHeldError:
            if plan is None or not plan.is_noop:
                raise
            # The run that is open is the holder's, also one of the same id, and none of its work concerns us.
            return _nothing_to_do(session, options, plan, began, remembers=False)


def _planned(session: Session) -> Plan | None:
    """Return the plan without the lock, or None when another run has it."""
    try:
        return session.plan()
    except _AnotherRunError:
        return None
    except InterruptedRunError:
        session.save_cache()  # the next run reads the rest
        raise


def _nothing_to_do(
    session: Session, options: Options, plan: Plan, began: float, *, remembers: bool = True
) -> RunResult:
    seconds = time.monotonic() - began
    run_id, head = record_noop(session, options, len(plan.decisions), seconds)
    session.save_cache()
    if remembers:
        remember(session, options, run_id)
    stages = skipped(plan)
    return RunResult(session.spec.name, run_id, results.SUCCEEDED, EXIT_OK, stages, head, seconds, {"level": NONE})


def skipped(plan: Plan) -> dict[str, StageResult]:
    """Return a result for each stage that the plan finds up to date."""
    from runner.plan.planner import Skip

    return {
        name: StageResult(name, results.SKIPPED, key=decision.key)
        for name, decision in plan.decisions.items()
        if isinstance(decision, Skip)
    }


def _run_locked(
    session: Session, options: Options, plan: Plan | None, seen: dict[str, object] | None, began: float,
    interrupts: Interrupts, heard: Listener, plugins: tuple[object, ...], clock: Clock | None,
) -> RunResult:  # fmt: skip
    """`plan` was made without the lock, after `seen` was its last holder; it holds if no other came between."""
    from runner.api.plugins import make_plugins

    manager = make_plugins((*heard.hooks(), *plugins))
    if plan is None or plan.is_noop or seen is None:
        return _run_holding(session, options, plan, seen, began, interrupts, heard, manager, None, clock)
    # There is work, and the lock was free: the launcher gets ready while what the lock takes is loaded.
    launcher = _made_launcher(manager, session)
    try:
        launcher.load(session.imports)
        return _run_holding(session, options, plan, seen, began, interrupts, heard, manager, launcher, clock)
    finally:
        launcher.close()


def _made_launcher(manager: PluginManager, session: Session) -> Launcher:
    launcher: Launcher = manager.hook.offpipe_make_launcher(spec=session.spec)
    return launcher


def _run_holding(
    session: Session, options: Options, plan: Plan | None, seen: dict[str, object] | None, began: float,
    interrupts: Interrupts, heard: Listener, manager: PluginManager, early: Launcher | None, clock: Clock | None,
) -> RunResult:  # fmt: skip
    """Take the lock and do it all. `early` is the launcher, where it was started already."""
    from runner.api.locking import held_lock, holder
    from runner.api.preload import preload
    from runner.sandbox.guard import settle

    spec = session.spec
    wait = 0.0 if plan is not None and plan.is_noop else options.wait
    with held_lock(spec, wait, heard.waiting, interrupts.check) as lock:
        planned_at, session.head = session.head.position, session.read_head()
        close_ended(session, durable=options.durability == "full")
        interrupts.check()
        launcher = early or _made_launcher(manager, session)
        try:
            preload(spec, durable=options.durability == "full", recovers=bool(session.head.open_runs))
            lock.write_holder(holder(None, launcher))
            session.heal()
            recovered = recovered_runs(session, options, heard.warn)
            mine = run_to_go_on(recovered, options) or new_run(spec.paths, recovered)
            lock.write_holder(holder(mine.run, launcher))
            undisturbed = seen is not None and lock.previous == seen and session.head.position == planned_at
            if plan is None or recovered or not undisturbed:
                plan = session.plan()
            plan = refuse(session, options, plan)
            others = [one for one in covered(recovered, options) if one is not mine]
            begun = mine.last is not None or mine.run in session.head.open_runs
            if plan.is_noop and (not begun or Journal.is_closed(session, mine.run)):
                end_others(session, options, others, {"level": NONE}, skipped(plan))
                return _nothing_to_do(session, options, plan, began)
            session.remark()
            launcher = settle(launcher, strict=options.offline == STRICT)
            launcher.load(session.imports)
            lock.write_holder(holder(mine.run, launcher))
            journal = Journal.begin(session, options, mine, launcher.layers)
            return _execute(session, options, plan, began, interrupts, heard, manager, launcher, journal, others, clock)
        finally:
            launcher.close()
            lock.forget_launcher()


def _execute(
    session: Session, options: Options, plan: Plan, began: float, interrupts: Interrupts, heard: Ticker,
    manager: PluginManager, launcher: Launcher, journal: Journal, others: list[OpenRun], clock: Clock | None,
) -> RunResult:  # fmt: skip
    """Do the work of a run that has begun; where all of it succeeds, `others` are ended with it."""
    from runner.api.surroundings import policy, surroundings
    from runner.clock import Monotonic
    from runner.executor.loop import Executor

    spec = session.spec
    publisher, attempts = attempts_of(session, journal, surroundings(launcher, durable=journal.durable))
    executor = Executor(
        session.graph, session.stages, plan, attempts, launcher, policy(options), manager.hook, interrupts,
        clock or Monotonic(), heard,
    )  # fmt: skip
    manager.hook.offpipe_run_started(
        spec=spec, run_id=journal.run_id, stages=len(session.stages), resumed=journal.resumed,
        isolation=launcher.layers, checkpoints=session.checkpoints,
    )  # fmt: skip
    try:
        stages = executor.execute()
        launcher.close()
        status, exit_code = outcome(stages, interrupts.first)
        publisher.sync()
        if status == results.SUCCEEDED:
            end_others(session, options, others, launcher.layers, stages)
        seconds = time.monotonic() - began
        head = journal.end(status, stages, seconds)
    except OffpipeError:
        launcher.close()
        attempts.give_up()
        raise
    session.save_cache()
    ended = status, exit_code, stages, head, seconds, launcher.layers, interrupts.first
    result = RunResult(spec.name, journal.run_id, *ended)
    manager.hook.offpipe_run_finished(result=result)
    return result


def attempts_of(session: Session, journal: Journal, world: Surroundings) -> tuple[Publisher, Attempts]:
    """Return what publishes the outputs of an open run, and what prepares, records and settles its attempts."""
    from runner.executor.attempts import Attempts
    from runner.executor.publishing import Publisher

    publisher = Publisher(session.spec, journal.log, session.cache, durable=journal.durable)
    return publisher, Attempts(
        session.spec, journal.run_id, journal.log, session.planner, session.new_examiner, session.marker,
        session.published, publisher, world, journal.earlier, journal.tags,
    )  # fmt: skip


def outcome(stages: dict[str, StageResult], signal_number: int | None) -> tuple[str, int]:
    """Return a run's status and exit code: 128 + the signal's number; the failures' own code if they agree, else 1."""
    bad = [one for one in stages.values() if one.status not in (results.SUCCEEDED, results.SKIPPED)]
    if not bad:
        return results.SUCCEEDED, EXIT_OK
    if signal_number is not None:
        return results.INTERRUPTED, 128 + signal_number
    codes = {one.exit_code for one in bad if one.status == results.FAILED}
    return results.FAILED, codes.pop() if len(codes) == 1 else EXIT_STAGE_FAILED
