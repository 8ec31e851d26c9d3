"""A run whose stages are asked for one after the other, by a caller that does something of its own in between.

Its record is that of any run of the whole pipeline: begun once, a durable commit for each stage, and one end.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from runner import results
from runner.api.journal import Journal, close_ended
from runner.api.locking import held_lock, holder
from runner.api.open_runs import new_run, recovered_runs, run_to_go_on
from runner.api.plugins import make_plugins
from runner.api.preload import preload
from runner.api.refusals import refuse, refuse_newer
from runner.api.running import Quiet, attempts_of, outcome, skipped
from runner.api.session import Session, untold
from runner.api.surroundings import policy, surroundings
from runner.clock import Monotonic
from runner.contain.guard import settle
from runner.errors import OffpipeError
from runner.executor.loop import Executor
from runner.interrupts import Interrupts
from runner.levels import STRICT
from runner.results import RunResult, StageResult
from runner.spec.graph import select
from runner.values import Record, made

if TYPE_CHECKING:
    from runner.api.options import Options
    from runner.contain.client import Launcher
    from runner.decide.plan import Plan
    from runner.executor.attempts import Attempts
    from runner.executor.job import Surroundings
    from runner.executor.publishing import Publisher
    from runner.record.locks import PipelineLock


class _Part(Record):
    """What goes on between a run's beginning, or going on, and its end: `world` is what its stages start in."""

    journal: Journal
    publisher: Publisher
    attempts: Attempts
    world: tuple[Surroundings, dict[str, str]]
    began: float
    stages: dict[str, StageResult] = made(default_factory=dict)


class StepwiseRun:
    """A run of a whole pipeline, open from the first stage that is asked for until `close`.

    The pipeline lock is held meanwhile, and the spec is as it was in the beginning; all else is looked at afresh for
    each stage. Its launcher is asked for anew each time: where that is another one, or the environment is another, the
    run ends there and goes on, so that the record is true. A process that dies leaves a run that the next one goes on
    with.
    """

    def __init__(self, spec_path: str, options: Options, plugins: tuple[object, ...] = ()) -> None:
        """`options` name no stages, and no run; `plugins` implement hooks."""
        self._spec_path = spec_path
        self._options = options
        self._manager = make_plugins(plugins)
        self._interrupts: Interrupts | None = None
        self._session: Session | None = None
        self._lock: PipelineLock | None = None
        self._held = ExitStack()
        self._part: _Part | None = None
        self._said: tuple[str | None, int, object] | None = None

    def run(self, stage: str) -> RunResult:
        """Bring a stage up to date, and what it needs; return how these did. Raises as `api.run` does.

        What keeps the stage from being started is no harm to the run; with any other error the run is broken off.
        """
        began = time.monotonic()
        with Interrupts(final=self._options.final) as self._interrupts:
            if self._session is None:
                session = Session(self._spec_path, self._options, self._tick, writes=True)
                refuse_newer(session, None)
                self._session = session
            try:
                plan = self._planned(self._session, stage)
            except OffpipeError:
                if self._part is None:
                    self._session = None
                raise
            try:
                return self._executed(self._session, self._interrupts, stage, plan, began)
            except BaseException:
                self._break_off()
                raise

    def close(self) -> None:
        """End the run: it has succeeded if all of the pipeline is up to date. May be called again."""
        try:
            if self._part is not None:
                self._end(self._part)
                self._part = None
        finally:
            self._break_off()

    def _tick(self, _size: int) -> None:
        if self._interrupts is not None:
            self._interrupts.check()

    def _planned(self, session: Session, stage: str) -> Plan:
        session.stages = select(session.graph, (stage,))
        return refuse(session, self._options, session.plan())

    def _executed(
        self, session: Session, interrupts: Interrupts, stage: str, plan: Plan, began: float
    ) -> RunResult:  # fmt: skip
        lock = self._taken(session, interrupts)
        launcher: Launcher = self._manager.hook.offpipe_make_launcher(spec=session.spec)
        try:
            if self._part is None:
                preload(session.spec, durable=self._options.durability == "full", recovers=True)
            self._say(lock, self._part.journal.run_id if self._part else None, launcher)
            launcher = settle(launcher, strict=self._options.offline == STRICT)
            part = self._going_on(session, launcher, began)
            if part is not self._part:
                self._part = part
                plan = self._planned(session, stage)  # recovery may have finished something
            launcher.load(session.imports)
            self._say(lock, part.journal.run_id, launcher)
            found = Executor(
                session.graph, session.stages, plan, part.attempts, launcher, policy(self._options),
                self._manager.hook, interrupts, Monotonic(), Quiet(),
            ).execute()  # fmt: skip
        finally:
            launcher.close()
            lock.forget_launcher()
        session.read_head()  # a stage that wrote into the record is found out by itself, not at the end
        part.stages |= {name: one for name, one in found.items() if one.status != results.SKIPPED}
        status, exit_code = outcome(found, interrupts.first)
        seconds = time.monotonic() - began
        return RunResult(
            session.spec.name, part.journal.run_id, status, exit_code, found, "", seconds, launcher.layers,
            interrupts.first,
        )  # fmt: skip

    def _say(self, lock: PipelineLock, run_id: str | None, launcher: Launcher) -> None:
        """Say in the lock file for whom it is held, where that is not what stands there since the stage before."""
        said = run_id, launcher.pid, launcher.started_at
        if said != self._said:
            lock.write_holder(holder(run_id, launcher))
            self._said = said

    def _taken(self, session: Session, interrupts: Interrupts) -> PipelineLock:
        """Return the pipeline lock, which is taken now if it was not."""
        if self._lock is None:
            wait = self._options.wait
            taken = held_lock(session.spec, wait, lambda _: None, interrupts.check)
            self._lock = self._held.enter_context(taken)
        return self._lock

    def _going_on(self, session: Session, launcher: Launcher, began: float) -> _Part:
        """Return what is open, or is opened now; in another world than that of the stages before it, a new part is."""
        durable = self._options.durability == "full"
        world = surroundings(launcher, durable=durable), launcher.layers
        if self._part is not None:
            if self._part.world == world:
                return self._part
            self._end(self._part)
            self._part = None
        session.head = session.read_head()
        close_ended(session, durable=durable)
        session.heal()
        recovered = recovered_runs(session, self._options, untold)
        mine = run_to_go_on(recovered, self._options) or new_run(session.spec.paths, recovered)
        journal = Journal.begin(session, self._options, mine, launcher.layers)
        publisher, attempts = attempts_of(session, journal, world[0])
        self._manager.hook.offpipe_run_started(
            spec=session.spec, run_id=journal.run_id, stages=len(session.spec.stages), resumed=journal.resumed,
            isolation=launcher.layers, checkpoints=session.checkpoints,
        )  # fmt: skip
        return _Part(journal, publisher, attempts, world, began)

    def _end(self, part: _Part) -> None:
        """Record the end; what is still to be done is for a run that goes on with this one."""
        assert self._session is not None
        session = self._session
        part.publisher.sync()
        stages, (status, exit_code) = part.stages, outcome(part.stages, None)
        if status == results.SUCCEEDED:
            session.stages = select(session.graph, ())
            status = results.INTERRUPTED
            with suppress(OffpipeError):
                plan = session.plan()
                stages = {**skipped(plan), **stages}
                status = results.SUCCEEDED if plan.is_noop else results.INTERRUPTED
        seconds = time.monotonic() - part.began
        head = part.journal.end(status, stages, seconds)
        session.save_cache()
        ended = RunResult(
            session.spec.name, part.journal.run_id, status, exit_code, stages, head, seconds, part.world[1]
        )
        self._manager.hook.offpipe_run_finished(result=ended)

    def _break_off(self) -> None:
        """Let go of everything, whether or not the run has ended."""
        part, self._part, self._session, self._lock, self._said = self._part, None, None, None, None
        try:
            if part is not None:
                part.attempts.give_up()
        finally:
            self._held.close()
