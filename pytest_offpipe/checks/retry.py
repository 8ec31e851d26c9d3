"""`retry`: made to exit with a retryable code before, and after, its work, it ends with the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_offpipe.faults import Fault
from pytest_offpipe.trial import Bench, at_once
from runner.errors import EXIT_RETRYABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_offpipe.checks.case import Case
    from runner.spec.model import Stage


def check_retry(case: Case) -> None:
    """Have two attempts follow each other in one run, the first of them ended by us, on either side of its work."""
    code = min(case.stage.retry.retry_exit_codes, default=EXIT_RETRYABLE)
    bench = Bench(case, {"retry": _retrying(case.stage, code)})
    for when in ("before", "after"):
        fault = Fault("exit", case.stage.name, {"code": code, "when": when})
        trial = bench.trial(when)
        report = trial.run(fault)
        what = "before it did anything" if when == "before" else "when its work was done"
        done = f"made an attempt exit with {code} {what}, and let it be retried"
        if not fault.fired:  # it failed by itself, as it does not undisturbed
            done = f"ran it, to have it exit with {code} {what}"
        trial.require_same(report, done, "after a retry")
        if not fault.fired:  # right bytes prove nothing of a retry that there was not
            case.unmade(f"nothing tells that it was made to exit with {code} {what}")
        trial.close()
    bench.close()


def _retrying(stage: Stage, code: int) -> Mapping[str, Any]:
    """Return the stage's own policy with an attempt more, which is ours, and this code."""
    policy = at_once(stage, stage.retry.attempts + 1)
    return {**policy, "retryExitCodes": [code, *(one for one in policy["retryExitCodes"] if one != code)]}
