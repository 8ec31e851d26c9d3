"""After a failed attempt: whether and when the next one starts, or else the fault of the stage.

The spec's policy decides, unless a plugin does.
"""

from __future__ import annotations

import heapq
import math
import re
from typing import TYPE_CHECKING

from runner.errors import EXIT_OFFLINE, EXIT_RETRYABLE, EXIT_STAGE_FAILED, EXIT_STATE, SYSTEM_ERRORS, Fault
from runner.hashing import hasher
from runner.levels import MAKING_VIEW
from runner.paths import variable_name
from runner.results import AttemptResult, network_text, signal_name
from runner.spec.fields import ANY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pluggy import HookRelay

    from runner.executor.job import Job
    from runner.listener import Clock
    from runner.spec.model import Retry, Stage

_HINT = "stages run offline: download its data beforehand, and declare it as an input"
MOST_LOST = 3  # attempts in a row, on a cluster
_INNOCENT = re.compile(r"(python|pypy)[0-9.]*[td]?|java")  # programs that often open sockets without need


class BackOff:
    """Jobs that wait for their next attempt, the next one first. `clock` is monotonic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: list[tuple[float, str, Job]] = []  # by the time of their next attempt

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, job: Job, delay: float) -> None:
        """Let a job wait for this many seconds."""
        heapq.heappush(self._waiting, (self._clock() + delay, job.stage.name, job))

    def seconds(self) -> float:
        """Return how long to wait for the next job at most, as the clock's patience allows."""
        return self._clock.patience(max(0.0, self._waiting[0][0] - self._clock()))

    def take_due(self, admits: Callable[[Job], bool]) -> Job | None:
        """Take the next job if its time has come and it is admitted."""
        is_due = self._waiting and self._waiting[0][0] <= self._clock() and admits(self._waiting[0][2])
        return heapq.heappop(self._waiting)[2] if is_due else None

    def take_all(self) -> Iterator[Job]:
        """Take and yield all jobs: their next attempt will not start."""
        while self._waiting:
            yield heapq.heappop(self._waiting)[2]


def delay_after(job: Job, attempt: AttemptResult, hooks: HookRelay, run_id: str, now: float) -> float | None:
    """Return the seconds to wait before the next attempt, or None if there is none.

    The delay depends only on run, stage and attempt, so you can compute it again later.
    """
    if job.is_offline_failure(attempt):
        return None
    if attempt.lost:
        job.tries_before += 1  # it does not count as a try
        lost = [each for each in job.attempts[-MOST_LOST:] if each.lost]
        return 0.0 if attempt.node and len(lost) < MOST_LOST else None  # without a node, no worker could take it
    stage, retry = job.stage, job.stage.retry
    wanted = is_retryable(stage, attempt)
    answer = hooks.offpipe_should_retry(stage=stage, attempt=attempt, retryable=wanted)
    tries = job.tries
    if tries >= retry.attempts or not (wanted if answer is None else answer):
        return None
    delay = next_delay(stage, tries, run_id, job.number)
    return delay if may_start(retry, elapsed=now - job.began, delay=delay) else None


def failure(job: Job, *, given_up: bool = False) -> tuple[Fault, int]:
    """Return the fault of a stage whose last attempt failed, and its exit code.

    `given_up`: the failure of another stage stopped the run before the next attempt.
    """
    attempt = job.attempts[-1]
    if job.is_offline_failure(attempt):
        return _network_fault(job, attempt), EXIT_OFFLINE
    fault = _fault_of(job, attempt)
    if attempt.failed_to_start and attempt.failed_to_start.partition(" ")[0] in SYSTEM_ERRORS:
        return fault, EXIT_STATE
    if attempt.failed_to_start and MAKING_VIEW in attempt.failed_to_start:
        return fault, EXIT_OFFLINE
    if given_up:
        fault = Fault(fault.where, f"{fault.what}; its next attempt was given up, because another stage failed")
    is_any = job.stage.retry.retry_exit_codes == ANY and not (attempt.lost or attempt.timed_out)
    return fault, EXIT_RETRYABLE if is_retryable(job.stage, attempt) and not is_any else EXIT_STAGE_FAILED


def _network_fault(job: Job, attempt: AttemptResult) -> Fault:
    refused = [calls for calls in attempt.network if job.fails_on(calls)]
    what = f"asked for a network, which was refused: {network_text(refused)}"
    if attempt.code == 0 and not attempt.timed_out:
        what += "; it exited 0, but its outputs were thrown away"
    elif attempt.sent and not attempt.timed_out:
        what += "; it was ended"
    hint = _HINT
    if all(_INNOCENT.fullmatch(calls.program) for calls in refused):
        hint = (
            "stages run offline; for calls that the program does not need (Python's uuid1 and getnode, urllib3 loaded "
            'twice by requests, boto3 or multiqc, Java\'s getLocalHost) use "offline": {"onAttempt": "record"}'
        )
    return Fault(f"stage {job.stage.name}", what, hint)


def _fault_of(job: Job, attempt: AttemptResult) -> Fault:
    where = f"stage {job.stage.name}"
    if attempt.lost:
        return Fault(where, f"its attempt was {attempt.describe()}", "run again to go on")
    tried = f" after {len(job.attempts)} attempts" if len(job.attempts) > 1 else ""
    if attempt.failed_to_start:
        hint = "pass the names in a file: {list.NAME}" if attempt.failed_to_start.startswith("E2BIG") else _hint(job)
        return Fault(where, f"could not start {job.program}: {attempt.failed_to_start}", hint)
    refused = [calls for calls in attempt.network if not (calls.is_probe and _INNOCENT.fullmatch(calls.program))]
    offline = f"; a network was refused to {network_text(refused)}" if refused else ""
    if attempt.timed_out:
        return Fault(where, f"ended at its time limit of {job.needs.timeout:g} s{tried}{offline}")
    hint = _hint(job)
    if attempt.local_sockets:
        hint = (
            "local sockets (AF_UNIX) were refused, as stages run offline; where multiprocessing needs them, "
            'use "fork" or "spawn" instead of "forkserver", and a Queue or shared memory instead of a Manager'
        )
    elif job.written:
        name, path = next(iter(job.written.items()))
        hint = f'it wrote "{path}" itself, which stays there; write to $PIPELINE_OUTPUT_{variable_name(name)} instead'
    return Fault(where, f"failed with {attempt.describe()}{tried}{offline}", hint)


def _hint(job: Job) -> str:
    """Return the hint for a stage that failed because it sees too little, if it is sealed."""
    if job.view is None:
        return ""
    if MAKING_VIEW in (job.attempts[-1].failed_to_start or ""):
        return "offpipe doctor says what the views of sealed stages need"
    if job.undeclared:
        return f'it is sealed, and does not declare "{job.undeclared}", which its log names: add it to "inputs"'
    return "it is sealed, and sees only what it declares"


# ---- the policy: no clock, no random state ----


def is_retryable(stage: Stage, attempt: AttemptResult) -> bool:
    """Whether the spec retries an attempt that ended like this.

    After a time-out, the program's exit code or signal does not count. Never retried: a program that the runner ended
    (`sent`), or that could not start.
    """
    if attempt.lost:
        return True
    if attempt.timed_out:
        return stage.retry_on_timeout
    if attempt.sent or attempt.failed_to_start:
        return False
    ending = attempt.code if attempt.signal is None else signal_name(attempt.signal)
    return stage.retry.retry_exit_codes == ANY or ending in stage.retry.retry_exit_codes


def next_delay(stage: Stage, tries: int, run_id: str, attempt: int) -> float:
    """Return the seconds from the end of an attempt, which was the last of so many `tries`, to the next attempt."""
    return delay_before(stage.retry, tries + 1, f"{run_id}/{stage.name}/{attempt + 1}")


def delay_before(retry: Retry, attempt: int, seed: str) -> float:
    """Return the seconds to wait before attempt 2, 3, ...: uniform in `[(1 - jitter) * d, d]`, fixed by the seed.

    With jitter 1 that is "full jitter" (M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015),
    with 0.5 his "equal jitter".
    """
    before = attempt - 2
    if isinstance(retry.delay_seconds, tuple):  # the last one repeats
        delay = retry.delay_seconds[min(before, len(retry.delay_seconds) - 1)]
    else:
        try:
            delay = retry.delay_seconds * float(retry.multiplier) ** before
        except OverflowError:
            delay = math.inf if retry.delay_seconds else 0.0
    digest = hasher(f"{seed}/{attempt}".encode("utf-8", "surrogatepass")).digest()
    fraction = int.from_bytes(digest[:6], "big") / (2**48 - 1)
    return min(delay, retry.max_delay_seconds) * (1.0 - retry.jitter * fraction)


def may_start(retry: Retry, *, elapsed: float, delay: float) -> bool:
    """Whether an attempt after `delay` starts within `maxTotalSeconds`. `elapsed` is the time since the first start."""
    return retry.max_total_seconds is None or elapsed + delay <= retry.max_total_seconds
