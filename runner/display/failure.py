"""What is shown of a stage that failed: what happened, the tail of its log, and where to look further."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner import results
from runner.display.words import fault_text, near_path, printable
from runner.errors import EXIT_RETRYABLE, StateError
from runner.record import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runner.results import RunResult, StageResult

_NAMED = 8  # of the stages that were not started
_TAIL_LINES = 20
_TAIL_BYTES = 4096


def failure_text(result: StageResult, log_command: str, *, tries: int = 1) -> str:
    """Return the block about a failed stage; `log_command` is `offpipe log SPEC`, `tries` what retry allows."""
    lines = [fault_text(result.fault)] if result.fault else []
    if result.fault and not result.fault.hint and tries == 1 and (code := _retryable(result)):
        lines.append(f"hint: {code} is retryable: set retry.attempts, or run again")
    if result.log and result.attempts:
        tail = list(log_tail(result.log))
        lines.append(f"log: {near_path(result.log)}{'' if tail else ' (empty)'}")
        lines += [f"    {line}" for line in tail]
        if tail:  # of an empty log it would print nothing
            lines.append(f"more: {log_command} {result.name}")
    return "".join(f"{line}\n" for line in lines)


def _retryable(result: StageResult) -> int | None:
    """Return the exit code of the last attempt, if the stage failed with what may be tried again."""
    return result.attempts[-1].code if result.attempts and result.exit_code == EXIT_RETRYABLE else None


def unstarted_lines(result: RunResult) -> Iterator[str]:
    """Yield which stages were never started, and why."""
    needing, after = result.unstarted()
    if needing:
        yield f"blocked by what failed: {_listed(needing)}"
    if after:
        hint = " (-k starts what does not need it)" if result.status == results.FAILED else ""
        event = "interrupt" if result.status == results.INTERRUPTED else "failure"
        yield f"not started after the {event}: {_listed(after)}{hint}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def log_tail(path: str) -> Iterator[str]:
    """Yield the last lines of a log, at most 4 KiB, escaped so that they cannot move the cursor or change colours."""
    try:
        with open(files.open_regular(path), "rb") as log:
            size = log.seek(0, os.SEEK_END)
            start = max(0, size - _TAIL_BYTES)
            log.seek(start)
            lines = log.read(_TAIL_BYTES).split(b"\n")
    except (OSError, StateError):  # a stage may have put anything in its place, a FIFO for one
        return
    if not lines[-1]:
        lines.pop()
    if start and len(lines) > 1:
        del lines[0]  # its beginning is not among the bytes read
    for line in lines[-_TAIL_LINES:]:
        yield printable(line.removesuffix(b"\r").decode("utf-8", "backslashreplace"))
