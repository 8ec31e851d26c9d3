"""`retry`, `stop` and `resume`: an attempt is ended early, and what follows has to give the same bytes."""

from __future__ import annotations

import os
import random
import time
from itertools import pairwise
from typing import Any, NamedTuple

from pytest_offpipe.checks.case import Bench, Budget, Case, Trial, at_once
from pytest_offpipe.faults.plan import Fault
from pytest_offpipe.faults.shim import GRACE
from pytest_offpipe.sandbox import bytes_below
from runner import results
from runner.errors import EXIT_RETRYABLE
from runner.spec.load import load_spec

CHECKPOINTS = 16  # there should be about so many
KILLS = 8  # at most, of those
PARTS = (0.0, 0.25, 0.5, 0.75, 0.95)  # of its bytes, at which a stage without checkpoints is killed
_STOPS = (0.5, 0.25, 0.1)  # of its usual time, since it began to read: a short one may be done when half is over
_STOPPED = "sent TERM to it in mid-work"
_LARGER = "larger inputs give it more to do (--offpipe-inputs)"


class Kill(NamedTuple):
    """Where to kill: `kind` and `arguments` of a fault, and how to say it."""

    kind: str
    arguments: dict[str, Any]
    where: str


def check_retry(case: Case) -> None:
    """Have two attempts follow each other in one run, the first of them ended by us, on either side of its work."""
    code = min(case.stage.retry.retry_exit_codes, default=EXIT_RETRYABLE)
    policy = at_once(case.stage, case.stage.retry.attempts + 1)
    codes = dict.fromkeys([code, *policy["retryExitCodes"]])
    bench = Bench(case, {"retry": {**policy, "retryExitCodes": list(codes)}})
    for when, what in (("before", "before it did anything"), ("after", "when its work was done")):
        fault = Fault("exit", case.stage.name, {"code": code, "when": when})
        trial = bench.trial(when)
        report = trial.run(fault)
        done = f"made an attempt exit with {code} {what}, and let it be retried"
        if not fault.fired:  # it failed by itself, as it does not undisturbed
            done = f"ran it, to have it exit with {code} {what}"
        trial.require_same(report, done, "after a retry")
        if not fault.fired:  # right bytes prove nothing of a retry that there was not
            case.unmade(f"nothing tells that it was made to exit with {code} {what}")
        trial.close()
    bench.close()


def check_stop(case: Case) -> None:
    """Send TERM once it has written something, or has worked for a part of its usual time; then run it again."""
    bench = Bench(case)
    seconds = bench.undisturbed.attempts[-1].seconds
    Budget(case).require(2, seconds)
    for part in _STOPS:
        trial = bench.trial(f"stopped-{part:g}")
        fault = Fault("terminate", case.stage.name, {"afterBytes": 1, "afterSeconds": seconds * part})
        stopped = trial.run(fault)
        if fault.fired:
            break
        trial.require_same(stopped, "ran it, to send TERM in mid-work", "this time")
        trial.close()
    else:
        case.unmade(f"it was done before TERM could be sent; {_LARGER}")
    if any(fault.notes("outlasted")):
        trial.fail(_STOPPED, f"it ends within {GRACE:g} s", f"it went on for {GRACE:g} s, and was killed", stopped)
    if stopped.attempts[-1].code == 0:  # right only if all was done: TERM came too late, or was ignored to the end
        lacks = stopped.error.removeprefix("error: ")
        if stopped.status == results.SUCCEEDED:
            complete = f"it had all its work done before TERM ended it; {_LARGER}"
            lacks = trial.lack(stopped, "when stopped", "its work was done", complete)
        what = f"it ended with 0 though it was stopped\n{lacks}"
        trial.fail(_STOPPED, "an exit code other than 0, or a signal", what, stopped)
    trial.require_same(trial.run(), f"{_STOPPED}, and ran it again", "when run again")
    bench.close()


def check_resume(case: Case) -> None:
    """Count the checkpoints of an undisturbed run; then kill it at some, or at some sizes, each time from nothing."""
    budget, bench = Budget(case), Bench(case)
    budget.require(3, bench.undisturbed.seconds)
    count, longest = _count(bench), 0.0
    chance = random.Random(f"{case.settings.seed}/{case.stage.name}")
    kills = at_checkpoints(count, chance) if count else at_sizes(bench)
    if not kills:
        case.unmade("it writes nothing to the one output that it has, so nothing tells when it is in mid-work")
    landed: list[bool] = []
    for kill in kills:
        if landed and not budget.allows(longest):
            break
        began = time.monotonic()
        trial = bench.trial(f"killed-{len(landed) + 1}")
        landed.append(_kill_and_go_on(trial, kill))
        trial.close()
        longest = max(longest, time.monotonic() - began)
    if not any(landed):
        case.unmade(f"it was done before any kill could land, {len(landed)} tried; {_LARGER}")
    left_out = len(kills) - len(landed)
    short = f", {left_out} left out for lack of time (--offpipe-budget)" if left_out else ""
    where = f"at checkpoints, of {count}" if count else "by the size of its partial outputs"
    case.note(f"{sum(landed)} of {len(landed)} kills landed{short}: {where}")
    bench.close()


def _count(bench: Bench) -> int:
    """Return how many checkpoints there are, which every trial has in the same places."""
    every = max(1, sum(map(_lines, bench.inputs.values())) // CHECKPOINTS)
    bench.overrides["checkpoint"] = {"everyLines": every}  # and by no clock
    trial, fault = bench.trial("counted"), Fault("count", bench.stage.name)
    trial.require_same(trial.run(fault), f"ran it with a checkpoint every {every:,} lines", "with checkpoints")
    count = fault.checkpoints
    trial.close()
    return count


def at_checkpoints(count: int, chance: random.Random) -> list[Kill]:
    """Return the kills at some of so many checkpoints: the first and the last, and others spread between."""
    inner = range(2, count)
    parts = min(len(inner), KILLS - 2)
    cuts = [2 + len(inner) * part // parts for part in range(parts + 1)] if parts else []
    chosen = [chance.randrange(begin, end) for begin, end in pairwise(cuts)]
    kills = []
    for place, number in enumerate(sorted({1, *chosen, count})):
        when = "before" if place % 2 else "after"
        where = f"at checkpoint {number} of {count}, {when} it was recorded"
        kills.append(Kill("killAtCheckpoint", {"atCheckpoint": number, "when": when}, where))
    return [kills[0], *kills[:0:-1]]  # should time be short, the first and the last matter most


def at_sizes(bench: Bench) -> list[Kill]:
    """Return the kills at some sizes of the partial outputs, all of them together.

    An empty file tells that the stage is at work, but for the one that the runner makes to be its standard output.
    """
    total = sum(map(bytes_below, bench.undisturbed.outputs.paths.values()))
    is_made_for_it = list(bench.stage.outputs) == [bench.stage.stdout]
    return [
        Kill("kill", {"afterBytes": size}, f"once {size:,} of the {total:,} bytes of its outputs were there")
        for size in dict.fromkeys(int(total * part) for part in PARTS)
        if size or not is_made_for_it
    ]


def _kill_and_go_on(trial: Trial, kill: Kill) -> bool:
    """Return whether the kill landed; fails the check unless the next run gives the same bytes."""
    stage, done = trial.bench.stage.name, f"killed it {kill.where}"
    fault, again = Fault(kill.kind, stage, kill.arguments), Fault("count", stage)
    killed = trial.run(fault)
    if killed.status == results.SUCCEEDED and fault.fired:  # a part of it that others do without, or did not miss
        trial.require_same(killed, f"{done}, and it ended with 0", "when killed")
    elif killed.status != results.SUCCEEDED and not fault.fired:
        trial.require_same(killed, f"ran it, to kill it {kill.where}", "this time")
    if killed.status == results.SUCCEEDED or not fault.fired:
        return bool(fault.fired)
    is_kept = os.path.exists(load_spec(trial.sandbox.spec).paths.progress(stage))
    report = trial.run(again)
    trial.require_same(report, f"{done}, then ran it again", "when resumed")
    number = kill.arguments.get("atCheckpoint", 0) - (kill.arguments.get("when") == "before")
    if number > 0 and not any(again.notes("resumed")):  # a stage with the SDK redid what a checkpoint had in it
        lost = "nothing of it was kept: were its outputs written by others than the SDK?"
        what = "it began anew" if is_kept else lost
        trial.fail(f"{done}, then ran it again", f"it goes on from checkpoint {number}", what, report)
    return True


def _lines(path: str) -> int:
    if os.path.isdir(path):
        return 0
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
