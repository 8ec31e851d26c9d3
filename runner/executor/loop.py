"""Runs the stages: starts those that are ready and admitted, and settles those that ended, until none is left.

One loop waits for the launcher, a signal, a sync, or the end of a back-off, whichever comes first.

The plan says only which stages may have to run. Each of those is decided again when it starts, from the disk as it is
then: its inputs may have been made since, with other bytes or the same, and its key must be that of what it reads.
"""

from __future__ import annotations

import select
from functools import partial
from typing import TYPE_CHECKING

from runner.errors import (
    EXIT_INTERNAL,
    EXIT_LOCKED,
    EXIT_STAGE_FAILED,
    EXIT_STATE,
    Fault,
    InputError,
    InterruptedRunError,
    OffpipeError,
)
from runner.executor.again import Again
from runner.executor.attempts import Attempts
from runner.executor.job import Job, RunContext, stage_fault
from runner.executor.publishing import CommitQueue, Publisher
from runner.executor.removals import Removals
from runner.executor.retry import BackOff, delay_after, failure
from runner.executor.room import shortage
from runner.executor.rounds import Rounds
from runner.executor.schedule import admits, blocked, blocking, unstarted
from runner.executor.versions import Versions
from runner.interrupts import Interrupts, Stopping
from runner.plan.decisions import Skip
from runner.results import ADOPTED, BLOCKED, FAILED, INTERRUPTED, SKIPPED, SUCCEEDED, AttemptResult, StageResult
from runner.spec.graph import ReadyQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from pluggy import HookRelay

    from runner.listener import Clock, Listener
    from runner.sandbox.launcher import Launch, Launcher

REDECISIONS = 2
LOOK_AGAIN = 0.1  # seconds, while stages run: a sleeping job that is due may not be admitted yet


class Executor:
    """Executes the stages of one run. All that it writes goes through `attempts` and `publisher`."""

    def __init__(
        self,
        run: RunContext,
        launcher: Launcher,
        hooks: HookRelay,
        interrupts: Interrupts,
        clock: Clock,
        listener: Listener,
        jobs: int | None,
        *,
        keep_going: bool,
    ) -> None:
        self.run = run
        self.attempts = Attempts(run)
        self.publisher = Publisher(run)
        self._versions = Versions(run, launcher)
        self._launcher = launcher
        self._hooks = hooks
        self._interrupts = interrupts
        self._clock = clock
        self._listener = listener
        self._jobs = jobs
        self._keep_going = keep_going
        self.results: dict[str, StageResult] = {}
        self._ready = ReadyQueue(run.planning.graph, run.planning.stages, run.planning.planner.temporary.inputs)
        self._ahead: tuple[Job, Launch] | None = None  # prepared, and starts as soon as it is admitted
        self._sleeping = BackOff(clock)
        self._running: dict[int, Job] = {}
        self._stopping = Stopping(interrupts, launcher.terminate, launcher.kill)
        self._poll = select.poll()
        self._poll.register(launcher.fileno(), select.POLLIN)
        self._poll.register(interrupts.wakeup, select.POLLIN)
        self._commits = CommitQueue(self.publisher, self._put_in_place, self._poll)
        self.removals = Removals(run, self._commits.after_sync)
        self._again = Again(run, self.results, self._ready, self.removals)
        self._rounds = Rounds(run, self.results, self._ready, self.removals, hooks, self._fail)

    def execute(self) -> dict[str, StageResult]:
        """Run until there is nothing left to start or to wait for. Return a result for every stage."""
        try:
            while self._goes_on():
                self._wait()
                ended = self._receive()
                if not any(end.code != 0 or end.network or job.network or job.shortage for job, end in ended):
                    self._start_ready()  # the next stage works while these are settled
                for job, attempt in ended:
                    self._settle(job, attempt)
                for job, step in self._commits.steps():
                    self._tolerating(job, step)
                    self._heed_interrupts()
                    self._start_ready()
        except BaseException:
            self._launcher.close()  # first: no stage may go on while a sync is slow
            raise
        finally:
            self._commits.close()
        if self._ahead is not None:
            self.attempts.abandon(self._ahead[0])
        self.attempts.remove_leftovers()
        for result in unstarted(
            self.run.planning.graph, self.run.planning.plan, self.results, interrupted=self._interrupts.count > 0
        ):
            self._note(result)
        return self.results

    def _goes_on(self) -> bool:
        """Start all that can start now. Return whether there is something to wait for."""
        self._heed_interrupts()
        while job := self._sleeping.take_due(self._admits):
            self._guarded(job, partial(self._start, job))
        self._start_ready()
        while not self._stopping.has_begun and self._rounds.expand():
            self._start_ready()
        self._heed_interrupts()  # an expansion takes time
        return bool(self._running or self._sleeping or self._versions.is_asking or self._commits.waiting)

    def _wait(self) -> None:
        timeout = self._listener.interval
        if self._sleeping:
            soon = LOOK_AGAIN if self._running else self._sleeping.seconds()
            timeout = soon if timeout is None else min(timeout, soon)
        self._poll.poll(None if timeout is None else timeout * 1000)
        self._interrupts.drain()
        self._listener.tick()

    def _receive(self) -> list[tuple[Job, AttemptResult]]:
        """Record and announce the network calls of running stages, and return the attempts that ended."""
        ended = []
        for report in self._launcher.receive():
            if report.launch not in self._running:
                self._versions.take(report)
            elif isinstance(report, AttemptResult):
                job = self._running.pop(report.launch)
                self._note_shortages(job)
                ended.append((job, report))
            else:
                job, calls = self._running[report.launch], report.calls
                self.attempts.record_network(job, calls)
                fails = any(map(job.fails_on, calls))
                self._hooks.offpipe_network_refused(stage=job.stage, attempt=job.number, calls=calls, fails=fails)
        return ended

    # ---- starting ----

    def _start_ready(self) -> None:
        """Start all stages that are admitted, and prepare one more."""
        while not self._stopping.has_begun and self._commits.has_room:
            if self._ahead is not None:
                if self._versions.is_asking or not self._admits(self._ahead[0]):
                    return
                ahead, self._ahead = self._ahead, None
                self._submit(*ahead)
            stage = self._ready.take()
            if stage is None:
                return
            if stage.is_open:
                continue  # its instances are not known yet
            decision, job = self.run.planning.plan.decisions[stage.name], Job(self.run.spec, stage)
            if by := blocking(self.run.planning.graph, stage.name, self.results):
                self._finish(blocked(stage.name, by))
            elif isinstance(decision, Skip) and not self._again.concerns(stage.name):
                job.fingerprint.key = decision.key
                self._skip(job)
            else:
                self._guarded(job, partial(self._begin, job))
            self._heed_interrupts()

    def _admits(self, job: Job) -> bool:
        running, capacity = [other.needs for other in self._running.values()], self._launcher.capacity(self._jobs)
        if job.stage.temporary and self._commits.waiting > capacity[0]:
            return False  # else its outputs would pile up while the stages that read the earlier ones wait for the disk
        return admits(capacity, running, self.attempts.needs(job))

    def _begin(self, job: Job) -> None:
        """Decide the stage, and prepare its first attempt if it must run. With `-k`, a missing input blocks it."""
        try:
            self._rounds.refuse(job.stage.name)
            self.attempts.decide(job)
            must_wait = self._again.decided(job)
        except InputError as error:
            if not self._keep_going:
                raise
            self._drop(job, job.result(BLOCKED, stage_fault(job.stage.name, error), error.exit_code))
            return
        if not job.reasons:
            self._skip(job)
        elif must_wait:
            return
        elif self.attempts.lock(job):
            self._ahead = job, self.attempts.prepare(job)
            self._versions.ask(job.stage)
        else:
            fault = Fault(f"stage {job.stage.name}", "another process holds its lock", "end it, or wait for it")
            self._fail(job, fault, EXIT_LOCKED)

    def _skip(self, job: Job) -> None:
        """Finish a stage that is up to date, or that takes over what another one made."""
        self.attempts.record_skip(job)
        if job.fingerprint.adopts:
            self.publisher.adopt(job, job.fingerprint.adopts)
        self.attempts.release(job)
        self._finish(job.result(ADOPTED if job.fingerprint.adopts else SKIPPED))

    def _start(self, job: Job) -> None:
        self._note_shortages()  # what the attempt before left goes
        self._submit(job, self.attempts.prepare(job))

    def _submit(self, job: Job, launch: Launch) -> None:
        self._note_shortages()  # a checkpoint's partial is cut
        job.started = self._clock()
        job.began = job.began or job.started
        job.program_version = self._versions.of(job.stage)
        self.attempts.started(job)
        self._hooks.offpipe_attempt_started(  # before it runs, so its checkpoint is still that of the last attempt
            stage=job.stage,
            attempt=job.number,
            progress=job.reports_to,
            partials=job.written_to,
            input_bytes=job.fingerprint.input_bytes,
            changed=job.changed,
        )
        self._running[launch.id] = job
        self._launcher.submit(launch)
        job.changed = None

    # ---- settling ----

    def _settle(self, job: Job, ended: AttemptResult) -> None:
        attempt = self.attempts.finish(job, ended)
        job.attempts.append(attempt)
        job.ended = min(self._clock(), job.started + attempt.seconds)  # without the time that it waited for this loop
        offline_failure = job.is_offline_failure(attempt)
        succeeded = not job.has_failed(attempt)
        interrupted = not succeeded and not offline_failure and self._stopping.explains(attempt)
        self._heed_interrupts()
        delay = None
        if not (succeeded or self._stopping.has_begun):
            delay = delay_after(job, attempt, self._hooks, self.run.log.run, self._clock())
        self._hooks.offpipe_attempt_finished(stage=job.stage, attempt=attempt, next_delay=delay)
        if succeeded:
            self._tolerating(job, partial(self._check_and_commit, job))
        elif interrupted:
            self._interrupt(job)
        elif delay is not None:
            job.delay = delay
            self._sleeping.put(job, delay)
        else:
            if offline_failure:
                self.attempts.discard(job)  # resumed after those calls, the next run would succeed
            self._fail(job, *failure(job))

    def _check_and_commit(self, job: Job) -> None:
        """Publish a job whose attempt succeeded, unless a disk was full, an input changed or an output is at fault."""
        if job.shortage:
            self._fail(job, job.shortage, EXIT_STATE)
        elif changed := self.attempts.changed_input(job):
            self.attempts.discard(job)
            self._start_over(job, changed)
        elif fault := self.publisher.fault_of(job):
            self.attempts.keep_stdout(job)
            self.attempts.discard(job)
            self._fail(job, fault, EXIT_STAGE_FAILED)
        else:
            self._commits.take(job)

    def _start_over(self, job: Job, changed: str) -> None:
        """Run a job again whose input `changed` while it ran, at most REDECISIONS times."""
        if self._interrupts.count:
            self._interrupt(job)
        elif job.redecided < REDECISIONS and not self._stopping.has_begun:
            self.attempts.redecide(job, changed)
            self._again.decided(job, has_run=True)
            if job.reasons:
                self._start(job)
            else:
                self._skip(job)
        else:
            what = f'"{changed}" changed while the stage ran, {job.redecided + 1} times'
            hint = "stop the program that writes to it, or give the stage a copy"
            self._fail(job, Fault(f"stage {job.stage.name}", what, hint), EXIT_STAGE_FAILED)

    def _note_shortages(self, *jobs: Job) -> None:
        """Note whose outputs are on a full disk: of these jobs, and of all that run.

        Call it before anything is removed, because others may find room again after a write that failed.
        """
        for job in (*jobs, *self._running.values()):
            job.shortage = job.shortage or shortage(job.stage.name, job.partials)

    def _put_in_place(self, job: Job) -> None:
        self._note_shortages(job)  # the old outputs go
        self._again.commits(job)
        self.publisher.put_in_place(job)
        self.attempts.release(job)
        self._finish(job.result(SUCCEEDED))

    def _heed_interrupts(self) -> None:
        if self._stopping.forward():
            self._hooks.offpipe_run_stopping(running=len(self._running), again=self._interrupts.count > 1)
            self._commits.hurry(self._interrupts)
            for job in self._sleeping.take_all():
                self._interrupt(job)

    def _tolerating(self, job: Job, step: Callable[[], None]) -> None:
        """Take a step towards publication, even after a first signal. A signal during the step interrupts the job."""
        self._interrupts.tolerated = min(1, self._interrupts.count)
        self._guarded(job, step)
        self._interrupts.tolerated = 0

    def _guarded(self, job: Job, action: Callable[[], None]) -> None:
        """Take an action for a stage. A fault of the stage fails it; a fault of the disk or of offpipe ends the run."""
        try:
            action()
        except InterruptedRunError:
            self._heed_interrupts()
            self._interrupt(job)
        except OffpipeError as error:  # a plugin may raise it after the stage's end
            if error.exit_code >= EXIT_INTERNAL or job.stage.name in self.results:
                raise
            self._fail(job, stage_fault(job.stage.name, error), error.exit_code)

    def _fail(self, job: Job, fault: Fault, exit_code: int) -> None:
        self._drop(job, job.result(FAILED, fault, exit_code))
        if not (self._keep_going or self._stopping.has_begun):  # only once, not in the calls below
            self._stopping.has_begun = True
            for other in self._sleeping.take_all():
                self._fail(other, *failure(other, given_up=True))

    def _interrupt(self, job: Job) -> None:
        self._drop(job, job.result(INTERRUPTED))

    def _drop(self, job: Job, result: StageResult) -> None:
        self.attempts.sweep(job)
        self.attempts.release(job)
        self._finish(result)

    def _finish(self, result: StageResult) -> None:
        self._note(result)
        self._again.ended(result)

    def _note(self, result: StageResult) -> None:
        self.results[result.name] = result
        self.attempts.record_end(result)
        self._hooks.offpipe_stage_finished(stage=self.run.stages[result.name], result=result)
