"""Whether and when a failed attempt is tried again. Pure: no clock, no random state, no sleep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from runner.hashing import hasher

if TYPE_CHECKING:
    from runner.spec.model import Retry


def is_retryable(
    retry: Retry, *, code: int | None, signal: int | None, timed_out: bool, sent: bool, retry_on_timeout: bool
) -> bool:
    """Whether an attempt that ended so may be tried again.

    A time-out counts as a time-out, whatever the program answered to TERM. Otherwise a program that the runner itself
    ended (`sent`) has not failed.
    """
    if timed_out:
        return retry_on_timeout
    if sent:
        return False
    return code in retry.retry_exit_codes if signal is None else signal in retry.retry_signals


def delay_before(retry: Retry, attempt: int, seed: str) -> float:
    """Seconds to wait before attempt 2, 3, ...: drawn evenly from `[(1 - jitter) * d, d]`, the same for the same seed.

    With jitter 1 that is "full jitter" (M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015),
    with 0.5 his "equal jitter".
    """
    digest = hasher(f"{seed}/{attempt}".encode("utf-8", "surrogatepass")).digest()
    fraction = int.from_bytes(digest[:6], "big") / (2**48 - 1)
    return _longest(retry, attempt) * (1.0 - retry.jitter * fraction)


def may_start(retry: Retry, *, elapsed: float, delay: float) -> bool:
    """Whether an attempt after `delay` still begins within `maxTotalSeconds`; `elapsed` counts from the first start."""
    return retry.max_total_seconds is None or elapsed + delay <= retry.max_total_seconds


def _longest(retry: Retry, attempt: int) -> float:
    """The delay before jitter: `delay * multiplier ** n`, or the n-th of a list whose last value repeats."""
    before = attempt - 2
    if isinstance(retry.delays, tuple):
        delay = retry.delays[min(before, len(retry.delays) - 1)]
    elif retry.delays == 0:
        delay = 0.0
    else:
        try:
            delay = retry.delays * float(retry.multiplier) ** before
        except OverflowError:
            delay = math.inf
    return min(delay, retry.max_delay_seconds)
