"""`resume`: killed in mid-work, at checkpoints if it has any, then run again, it ends with the same bytes."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from pytest_offpipe.checks.trial import Bench, Budget
from pytest_offpipe.faults.plan import Fault
from pytest_offpipe.sandbox import bytes_below
from runner import results
from runner.spec.load import load_spec

if TYPE_CHECKING:
    from pytest_offpipe.checks.case import Case
    from pytest_offpipe.checks.trial import Trial
    from pytest_offpipe.reports import StageReport

CHECKPOINTS = 16  # there should be about so many
KILLS = 8  # at most, of those
PARTS = (0.0, 0.25, 0.5, 0.75, 0.95)  # of its bytes, at which a stage without checkpoints is killed
_LARGER = "larger inputs give it more to do (--offpipe-inputs)"


class Kill(NamedTuple):
    """Where to kill: `arguments` of a fault, and how to say it."""

    kind: str
    arguments: dict[str, object]
    where: str


@dataclass(slots=True)
class Tally:
    """What became of the kills of one check."""

    landed: int = 0
    missed: int = 0
    left_out: int = 0

    def __str__(self) -> str:
        text = f"{self.landed} of {self.landed + self.missed} kills landed"
        return f"{text}, {self.left_out} left out for lack of time (--offpipe-budget)" if self.left_out else text


def check_resume(case: Case) -> None:
    """Count the checkpoints of an undisturbed run; then kill it at some, or at some sizes, each time from nothing."""
    budget, bench = Budget(case.settings.budget), Bench(case)
    seconds = bench.undisturbed.seconds
    if not budget.allows(3 * seconds):
        what = f"a kill takes three runs of {seconds:.0f} s"
        case.unmade(f"{what}, which do not fit into the {budget.seconds:g} s of --offpipe-budget")
    count, longest = _count(bench), 0.0
    kills = (
        at_checkpoints(count, random.Random(f"{case.settings.seed}/{case.stage.name}")) if count else at_sizes(bench)
    )
    if not kills:
        case.unmade("it writes nothing to the one output that it has, so nothing tells when it is in mid-work")
    tally = Tally()
    for number, kill in enumerate(kills):
        if number and not budget.allows(longest):
            tally.left_out = len(kills) - number
            break
        began = time.monotonic()
        trial = bench.trial(f"killed-{number + 1}")
        landed = _kill_and_go_on(trial, kill)
        tally.landed, tally.missed = tally.landed + landed, tally.missed + (not landed)
        trial.close()
        longest = max(longest, time.monotonic() - began)
    if not tally.landed:
        case.unmade(f"it was done before any kill could land, {tally.missed} tried; {_LARGER}")
    case.note(f"{tally}: {'at checkpoints, of ' + str(count) if count else 'by the size of its partial outputs'}")
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
    numbers = sorted({1, *chosen, count})
    kills = []
    for place, number in enumerate(numbers):
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
    sizes = dict.fromkeys(int(total * part) for part in PARTS)
    return [
        Kill("kill", {"afterBytes": size}, f"once {size:,} of the {total:,} bytes of its outputs were there")
        for size in sizes
        if size or not is_made_for_it
    ]


def _kill_and_go_on(trial: Trial, kill: Kill) -> bool:
    """Return whether the kill landed; fails the check unless the next run gives the same bytes."""
    stage = trial.bench.case.stage.name
    fault = Fault(kill.kind, stage, kill.arguments)
    done = f"killed it {kill.where}"
    killed = trial.run(fault)
    if not fault.fired:
        if killed.status != results.SUCCEEDED:
            trial.require_same(killed, f"ran it, to kill it {kill.where}", "this time")
        return False
    if killed.status == results.SUCCEEDED:  # a part of it that others do without, or did not miss
        trial.require_same(killed, f"{done}, and it ended with 0", "when killed")
        return True
    is_kept = os.path.exists(load_spec(trial.sandbox.spec).paths.progress(stage))
    again = Fault("count", stage)
    report = trial.run(again)
    trial.require_same(report, f"{done}, then ran it again", "when resumed")
    _require_resumed(trial, kill, report, is_kept=is_kept, has_resumed=any(again.notes("resumed")))
    return True


def _require_resumed(trial: Trial, kill: Kill, report: StageReport, *, is_kept: bool, has_resumed: bool) -> None:
    """Fail the check where a stage with the SDK redid what a checkpoint had in it."""
    if kill.kind != "killAtCheckpoint" or has_resumed:
        return
    number = int(str(kill.arguments["atCheckpoint"])) - (kill.arguments["when"] == "before")
    if number:
        what = (
            "it began anew" if is_kept else "nothing of it was kept: were its outputs written by others than the SDK?"
        )
        trial.fail(f"killed it {kill.where}, then ran it again", f"it goes on from checkpoint {number}", what, report)


def _lines(path: str) -> int:
    if os.path.isdir(path):
        return 0
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
