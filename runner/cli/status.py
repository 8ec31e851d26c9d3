"""What `status` prints, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.decide.plan import Skip
from runner.display.decisions import plan_json, plan_lines
from runner.display.extent import outgrown_text
from runner.display.summary import fault_json
from runner.display.words import counted, printable
from runner.record.events import CLOSED, NOOP
from runner.record.locks import describe
from runner.results import network_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.api.history import Part, Refused
    from runner.api.reading import Incomplete, Status

_MOST_LINES = 20  # of what went wrong in the last run


def status_lines(status: Status) -> Iterator[str]:
    """Yield what is known, most important first."""
    decisions = status.planned.plan.decisions
    pending = {name: decision for name, decision in decisions.items() if not isinstance(decision, Skip)}
    name = status.planned.graph.spec.name
    state = f"{len(pending)} of {counted(len(decisions), 'stage')} pending" if pending else _nothing_pending(status)
    yield f"{name}: {state}\n"
    yield f"last run: {_last_run(status)}\n"
    yield from (f"  {line}\n" for line in _part_lines(status.part))
    if status.last_success and status.last_success[0] != status.last_run:
        yield f"last success: {status.last_success[0]}, ended {status.last_success[1]}\n"
    elif status.last_run and not status.last_success:
        yield "last success: none yet\n"
    if status.holder is not None:
        yield f"running now: {printable(describe(status.holder))}\n"
        yield from (
            f"  {stage}  attempt {attempt}, since {since}\n" for stage, (attempt, since) in status.working.items()
        )
    elif status.open_runs:
        yield f"the next run of all stages goes on under: {printable(status.open_runs[-1])}\n"
    width = max((len(one.stage) for one in status.incomplete), default=0)
    for one in status.incomplete:
        is_outgrown = one.fits is False
        told = outgrown_text(one.line_offset, one.byte_offset) if is_outgrown else f"incomplete, {_extent(one)}"
        yield f"{one.stage:<{width}}  {told}\n"
    if pending:
        yield "pending:\n"
        yield from (f"  {line}" for line in plan_lines(pending, status.planned.failures, {}, {}, full=False))
    for path in status.undeclared:
        yield f"no stage makes it any more: {printable(path)}\n"


def status_json(status: Status) -> dict[str, object]:
    """Return the status as a JSON value."""
    last = {
        "run": status.last_run, "status": _ending(status), "time": status.last_time, "isolation": _level(status),
        "began": status.part.began, "ended": status.part.ended, "failed": status.part.failed,
        "unstarted": status.part.unstarted, "interrupted": status.part.interrupted,
        "networkRefused": [_refused_json(one) for one in status.part.refused],
    }  # fmt: skip
    success = dict(zip(("run", "time"), status.last_success, strict=True)) if status.last_success else None
    return {
        "pipeline": status.planned.graph.spec.name,
        "pending": status.is_pending,
        "lastRun": last if status.last_run else None,
        "lastSuccess": success,
        "openRuns": list(status.open_runs),
        "lock": status.holder,
        "working": [
            {"stage": stage, "attempt": attempt, "since": since} for stage, (attempt, since) in status.working.items()
        ],
        "incomplete": [_incomplete_json(one) for one in status.incomplete],
        "stages": plan_json(status.planned.plan.decisions, status.planned.failures),
        "undeclared": list(status.undeclared),
        "faults": [fault_json(fault) for fault in status.planned.plan.faults],
    }


def _refused_json(one: Refused) -> dict[str, object]:
    calls = one.calls
    return {
        "stage": one.stage, "program": calls.program, "family": calls.family, "count": calls.calls,
        "action": one.action,
    }  # fmt: skip


def _nothing_pending(status: Status) -> str:
    """Return that no stage is pending; a run that was stopped before its end still wants another to end it."""
    if status.open_runs and status.holder is None:
        return "every stage is up to date, but a run is open; the next run has only to end it"
    return "everything is up to date"


def _part_lines(part: Part) -> Iterator[str]:
    """Yield what went wrong in the last run: a line a stage, at most as many as fit on a page."""
    lines = [f"{stage}  failed: {printable(why)}" for stage, why in part.failed.items()]
    lines += [f"{stage}  interrupted" for stage in part.interrupted]
    for one in part.refused:
        then = "which failed the stage" if one.action == "fail" else "on record"
        lines.append(f"{one.stage}  was refused a network: {printable(network_text([one.calls]))}, {then}")
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"and {len(lines) - _MOST_LINES:,} more"
    if part.unstarted:
        yield f"{counted(len(part.unstarted), 'stage')} not started"


def _incomplete_json(one: Incomplete) -> dict[str, object]:
    return {"stage": one.stage, "lineOffset": one.line_offset, "byteOffset": one.byte_offset, "fits": one.fits}


def _last_run(status: Status) -> str:
    if status.last_run is None:
        return "none yet"
    level = _level(status)
    guard = f", offline guard: {printable(level)}" if level else ""
    times = f"began {status.part.began or status.last_time}"
    times += f", ended {status.part.ended}" if status.part.ended else ""
    return f"{printable(status.last_run)}, {_ending(status)}, {times}{guard}"


def _level(status: Status) -> str | None:
    """Return how well the last run's stages were kept offline; None when it started none, or was killed."""
    isolation = status.metrics.get("isolation")
    return str(isolation["level"]) if isinstance(isolation, dict) and "level" in isolation else None


def _ending(status: Status) -> str:
    """Return how the last run ended; a run that was killed left neither a closing record nor metrics."""
    if status.last_event == NOOP:
        return "nothing to do"
    if status.last_event == CLOSED:
        return "succeeded"
    if status.is_running:
        return "running"
    return printable(str(status.metrics.get("status", "did not end")))


def _extent(one: Incomplete) -> str:
    if one.line_offset is not None:
        return counted(one.line_offset, "line")
    return counted(one.byte_offset, "byte") if one.byte_offset is not None else "at a checkpoint"
