"""`retry`, `stop`, `resume` and `full`: an attempt fails while it works, and the next must give the same bytes."""

from __future__ import annotations

import errno
import os
import random
import time
from itertools import pairwise
from typing import Any, NamedTuple

from pytest_offpipe.checks.case import SAME, Bench, Case, CheckFailedError, Trial, at_once, ended
from pytest_offpipe.compare import bytes_below, files_below
from pytest_offpipe.faults.disks import PAGE, TEMPORARY, make_room, mount_small, run_watched, says_full
from pytest_offpipe.faults.namespace import Confined
from pytest_offpipe.faults.plan import Fault
from pytest_offpipe.faults.shim import GRACE
from pytest_offpipe.runs import UNSYNCED
from pytest_offpipe.sandbox import copy
from runner.errors import EXIT_RETRYABLE
from runner.levels import RefusedError
from runner.spec.fields import ANY
from runner.spec.load import load_spec

OTHER_DISK = os.strerror(errno.EXDEV)
MEMORY = 8  # outputs may take this part of the memory; they exist twice when the stage runs again
CHECKPOINTS = 16  # about so many are made
KILLS = 8  # at most
PARTS = (0.0, 0.25, 0.5, 0.75, 0.95)  # of its bytes, at which a stage without checkpoints is killed
_STOPS = (0.5, 0.25, 0.1)  # of its usual time, counted from its first read; a short stage may be done at half of it
_STOPPED = "sent TERM to it in mid-work"
_SWALLOWS = "usual causes: a write that is not checked, a file that is never closed"
_LARGER = "larger inputs give it more to do (--offpipe-inputs)"


class Kill(NamedTuple):
    """Where to kill: `kind` and `arguments` of a fault, and how to say it."""

    kind: str
    arguments: dict[str, Any]
    where: str


def check_retry(case: Case) -> None:
    """Make the first of two attempts fail, once before its work and once after it."""
    code = min((code for code in case.stage.retry.retry_exit_codes if isinstance(code, int)), default=EXIT_RETRYABLE)
    policy = at_once(case.stage, case.stage.retry.attempts + 1)
    if policy["retryExitCodes"] != ANY:
        policy["retryExitCodes"] = [*dict.fromkeys([code, *policy["retryExitCodes"]])]
    bench = Bench(case, {"retry": policy})
    for when, what in (("before", "before it did anything"), ("after", "when its work was done")):
        fault = Fault("exit", case.stage.name, {"code": code, "when": when})
        trial = bench.trial(when)
        report = trial.run(fault)
        done = f"made an attempt exit with {code} {what}, and let it be retried"
        if not fault.fired:  # it failed without the fault, as it did not undisturbed
            done = f"ran it, to have it exit with {code} {what}"
        trial.require_same(report, done, "after a retry")
        if not fault.fired:  # there was no retry to prove anything about
            case.unmade(f"nothing shows that it was made to exit with {code} {what}")
        trial.close()


def check_stop(case: Case) -> None:
    """Send TERM once it has written something, or has worked for part of its usual time; then run it again."""
    bench = Bench(case)
    seconds = bench.undisturbed.attempts[-1].seconds
    case.require_time(2, seconds)
    for part in _STOPS:
        trial = bench.trial(f"stopped-{part:g}")
        fault = Fault("terminate", case.stage.name, {"after_bytes": 1, "after_seconds": seconds * part})
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
        if stopped.succeeded:
            complete = f"it had all its work done before TERM ended it; {_LARGER}"
            lacks = trial.lack(stopped, "when stopped", "its work was done", complete)
        what = f"it ended with 0 though it was stopped\n{lacks}"
        trial.fail(_STOPPED, "an exit code other than 0, or a signal", what, stopped)
    trial.require_same(trial.run(), f"{_STOPPED}, and ran it again", "when run again")


def check_resume(case: Case) -> None:
    """Count the checkpoints of an undisturbed run; then kill it at some, or at some sizes, each time from nothing."""
    deadline = time.monotonic() + case.settings.budget
    bench = Bench(case)
    case.require_time(3, bench.undisturbed.seconds)
    count, longest = _count(bench), 0.0
    chance = random.Random(f"{case.settings.seed}/{case.stage.name}")
    kills = at_checkpoints(count, chance) if count else at_sizes(bench)
    if not kills:
        case.unmade("it writes nothing to its only output, so nothing shows when it is in mid-work")
    landed: list[bool] = []
    for kill in kills:
        if landed and time.monotonic() + longest > deadline:
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


def _count(bench: Bench) -> int:
    """Return the number of checkpoints; every trial has them in the same places."""
    every = max(1, sum(map(_lines, bench.inputs.values())) // CHECKPOINTS)
    bench.overrides["checkpoint"] = {"everyLines": every}  # and by no clock
    trial, fault = bench.trial("counted"), Fault("count", bench.stage.name)
    trial.require_same(trial.run(fault), f"ran it with a checkpoint every {every:,} lines", "with checkpoints")
    count = fault.checkpoints
    trial.close()
    return count


def at_checkpoints(count: int, chance: random.Random) -> list[Kill]:
    """Return kills at some of `count` checkpoints: the first, the last, and others between."""
    inner = range(2, count)
    parts = min(len(inner), KILLS - 2)
    cuts = [2 + len(inner) * part // parts for part in range(parts + 1)] if parts else []
    chosen = [chance.randrange(begin, end) for begin, end in pairwise(cuts)]
    kills = []
    for place, number in enumerate(sorted({1, *chosen, count})):
        when = "before" if place % 2 else "after"
        where = f"at checkpoint {number} of {count}, {when} it was recorded"
        kills.append(Kill("kill_at_checkpoint", {"at_checkpoint": number, "when": when}, where))
    return [kills[0], *kills[:0:-1]]  # if time is short, the first and the last matter most


def at_sizes(bench: Bench) -> list[Kill]:
    """Return the kills at some sizes of the partial outputs, all of them together.

    An empty output shows that the stage is at work, unless it is standard output, which the runner creates.
    """
    total = sum(map(bytes_below, bench.undisturbed.outputs.paths.values()))
    is_made_for_it = list(bench.stage.outputs) == [bench.stage.stdout]
    return [
        Kill("kill", {"after_bytes": size}, f"once {size:,} of the {total:,} bytes of its outputs were there")
        for size in dict.fromkeys(int(total * part) for part in PARTS)
        if size or not is_made_for_it
    ]


def _kill_and_go_on(trial: Trial, kill: Kill) -> bool:
    """Return whether the kill landed; fails the check unless the next run gives the same bytes."""
    stage, done = trial.bench.stage.name, f"killed it {kill.where}"
    fault, again = Fault(kill.kind, stage, kill.arguments), Fault("count", stage)
    killed = trial.run(fault)
    if killed.succeeded and fault.fired:  # the kill hit a process that the stage can do without
        trial.require_same(killed, f"{done}, and it ended with 0", "when killed")
    elif not killed.succeeded and not fault.fired:
        trial.require_same(killed, f"ran it, to kill it {kill.where}", "this time")
    if killed.succeeded or not fault.fired:
        return bool(fault.fired)
    is_kept = os.path.exists(load_spec(trial.sandbox.spec).paths.progress(stage))
    report = trial.run(again)
    trial.require_same(report, f"{done}, then ran it again", "when resumed")
    number = kill.arguments.get("at_checkpoint", 0) - (kill.arguments.get("when") == "before")
    if number > 0 and not any(again.notes("resumed")):  # a stage with the SDK redid what a checkpoint had in it
        lost = "its work was lost: does something other than the SDK write its outputs?"
        what = "it began anew" if is_kept else lost
        trial.fail(f"{done}, then ran it again", f"it goes on from checkpoint {number}", what, report)
    return True


def _lines(path: str) -> int:
    if os.path.isdir(path):
        return 0
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def check_full(case: Case) -> None:
    """Run it where about half of its outputs fit; then make room, and run it again."""
    bench = Bench(case)
    case.require_time(2, bench.undisturbed.seconds)
    files = [file for path in bench.undisturbed.outputs.paths.values() for file in files_below(path)]
    pages = sum(-(-os.lstat(file).st_size // PAGE) for file in files)
    if not pages:
        case.unmade("its outputs are empty, so there is nothing that a full disk could refuse")
    if pages > os.sysconf("SC_PHYS_PAGES") // MEMORY:
        case.unmade(f"{pages * PAGE >> 20:,} MiB of outputs are too much for a disk in this machine's memory")
    trial = bench.trial("full")
    try:
        confined = Confined()
    except RefusedError as error:
        case.unmade(f"no disk of its own can be mounted for it here: {error}")
    workspace = f"{trial.sandbox.directory}/workspace"
    os.makedirs(workspace)
    # TMPDIR is on the small disk, too, because a stage may rename a file from there to its output.
    trial.around.temporary = f"{workspace}/{TEMPORARY}"
    trial = trial._replace(options=UNSYNCED._replace(workspace=workspace))
    paths = load_spec(trial.sandbox.spec, workspace=workspace).paths
    with confined:
        bench.call = confined.call
        bench.call(mount_small, workspace, pages // 2, (paths.state_dir, paths.locks_dir))
        try:
            done = f"ran it on a disk with {pages // 2 * PAGE:,} bytes left for its outputs"
            _fill_and_make_room(trial, done)
        except CheckFailedError:
            if case.directory.exists():  # else the check was not made; the disk is gone after this block
                bench.call(copy, workspace, f"{trial.sandbox.directory}/kept")
            raise


def _fill_and_make_room(trial: Trial, done: str) -> None:
    """Run it in a workspace on the small disk, then again with room. Only calls of the bench see that disk."""
    bench = trial.bench
    run, was_full = bench.call(run_watched, trial.sandbox, trial.around, trial.options)
    report = trial.of_stage(run)
    was_full = was_full or says_full(report.log)
    if was_full and report.attempts and report.attempts[-1].timed_out:
        limit = bench.overrides["timeoutSeconds"]
        trial.fail(done, "it ends, with an exit code other than 0", f"it still ran after {limit:.0f} s", report)
    if report.succeeded:  # correct only if all bytes are there, as in a file with holes
        complete = "all of its outputs fit into half of their size"
        lacks = trial.lack(report, "on a full disk", "it was written", complete)
        what = f"it ignored that the disk was full\n{_SWALLOWS}\n{lacks}"
        trial.fail(done, f"an exit code other than 0, or {SAME}", what, report)
    bench.call(make_room, trial.options.workspace)
    again = trial.run_apart(bench.call)
    if not again.succeeded and OTHER_DISK in again.log:
        bench.case.unmade("it links files across disks: its inputs are on another disk here than its outputs")
    trial.require_same(again, f"{done}, then ran it again with room", "with room again")
    if not was_full:
        bench.case.unmade(f"it failed, although its disk was never seen to be full: {ended(report)}")
