"""`retry` and `stop`: an attempt that is made to end early, and the same bytes afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_offpipe.checks.trial import Bench, Budget, at_once
from pytest_offpipe.faults.plan import Fault
from pytest_offpipe.faults.shim import GRACE
from runner import results
from runner.errors import EXIT_RETRYABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.checks.trial import Trial
    from pytest_offpipe.reports import StageReport
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


_PARTS = (0.5, 0.25, 0.1)  # of its usual time, since it began to read: a short one may be done when half is over
_DONE = "sent TERM to it in mid-work"


def check_stop(case: Case) -> None:
    """Send TERM once it has written something, or has worked for a part of its usual time; then run it again."""
    bench = Bench(case)
    seconds = bench.undisturbed.attempts[-1].seconds
    if not Budget(case.settings.budget).allows(2 * seconds):
        case.unmade(f"two runs of {seconds:.0f} s do not fit into the {case.settings.budget:g} s of --offpipe-budget")
    for part in _PARTS:
        trial = bench.trial(f"stopped-{part:g}")
        fault = Fault("terminate", case.stage.name, {"afterBytes": 1, "afterSeconds": seconds * part})
        stopped = trial.run(fault)
        if fault.fired:
            break
        trial.require_same(stopped, "ran it, to send TERM in mid-work", "this time")
        trial.close()
    else:
        case.unmade("it was done before TERM could be sent; larger inputs give it more to do (--offpipe-inputs)")
    if any(fault.notes("outlasted")):
        trial.fail(_DONE, f"it ends within {GRACE:g} s", f"it went on for {GRACE:g} s, and was killed", stopped)
    if stopped.attempts[-1].code == 0:
        _judge_success(trial, stopped)
    trial.require_same(trial.run(), f"{_DONE}, and ran it again", "when run again")
    bench.close()


def _judge_success(trial: Trial, stopped: StageReport) -> None:
    """An exit code of 0 is right only if all was done; then TERM came too late to matter, or was ignored to the end."""
    case = trial.bench.case
    if stopped.status == results.SUCCEEDED:
        if trial.bench.volatile:
            case.unmade("it ended with 0, and whether all of its work was done cannot be told from volatile bytes")
        found = trial.bench.changed(stopped.outputs.paths, "when stopped")
        if not found:
            case.unmade("it had all its work done before TERM ended it; larger inputs give it more (--offpipe-inputs)")
    else:
        found = stopped.error
    what = f"it ended with 0 though it was stopped\n{found.removeprefix('error: ')}"
    trial.fail(_DONE, "an exit code other than 0, or a signal", what, stopped)
