"""`stop`: asked to end in mid-work, it does so within the grace, not with 0, and the next run gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_offpipe.faults import Fault
from pytest_offpipe.shim import GRACE
from pytest_offpipe.trial import Bench, Budget
from runner import results

if TYPE_CHECKING:
    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.reports import StageReport
    from pytest_offpipe.trial import Trial

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
