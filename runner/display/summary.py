"""The results of runs and of failed stages: text for people, JSON for programs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from runner.display.offline import offline_text
from runner.display.text import counted, fault_text, near_path, printable, seconds, size
from runner.errors import EXIT_RETRYABLE, Fault, StateError
from runner.paths import stdout_path
from runner.reading import open_regular
from runner.record.events import member_name
from runner.results import ADOPTED, BLOCKED, FAILED, INTERRUPTED, SKIPPED, SUCCEEDED, RunResult, StageResult, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.audit.verification import Verification

_NOT_STARTED = "not started"  # because the run stopped first; a stage that needs a failed one is blocked
_STATUSES = (SUCCEEDED, FAILED, BLOCKED, _NOT_STARTED, INTERRUPTED, ADOPTED, SKIPPED)
_STAGES_NAMED = 8  # of those that were not started
_TAIL_LINES = 20
_TAIL_BYTES = 4096


def summary_lines(result: RunResult) -> Iterator[str]:
    """Yield the summary of a run, with the head of the ledger."""
    yield f"{outcome_text(result)}\n{offline_text(result)}ledger head: {result.head}\n"


def outcome_text(result: RunResult) -> str:
    """Return the pipeline, the number of stages of each status, and the run."""
    counts = {status: result.count(status) for status in _STATUSES}
    counts[_NOT_STARTED] = len(result.unstarted()[1])
    counts[BLOCKED] -= counts[_NOT_STARTED]
    if counts[SKIPPED] == len(result.stages) and not result.removed.outputs:
        text = f"nothing to do, {counts[SKIPPED]} up to date"
    else:
        text = f"{counts_text(counts)} in {seconds(result.seconds)}"
    if result.removed.outputs:
        text += f", removed {counted(result.removed.outputs, 'temporary output')} ({size(result.removed.size)})"
    return f"{result.pipeline}: {text} (run {result.run_id})"


def counts_text(counts: Mapping[str, int]) -> str:
    """Return numbers of stages by status: `2 succeeded, 1 failed`."""
    return ", ".join(f"{counts[status]:,} {status}" for status in _STATUSES if counts.get(status))


def signature_text(verified: Verification) -> str:
    """Return the keys that signed the ledger, with their lines if signatures were checked; "" if it is not signed."""
    lines = verified.signatures.items()
    texts = [f"signed with {key}: signatures on lines {at} to {end}, covering 1 to {end}" for key, (at, end) in lines]
    if verified.signer and verified.signer not in verified.signatures:
        texts.append(f"signed with {printable(verified.signer)}, not checked")
    return ", ".join(texts)


def unstarted_lines(result: RunResult) -> Iterator[str]:
    """Yield the stages that were not started, and the reason."""
    needing, after = result.unstarted()
    if needing:
        yield f"blocked by what failed: {listed(needing, _STAGES_NAMED)}"
    if after:
        hint = " (-k starts what does not need it)" if result.status == FAILED else ""
        event = "interrupt" if result.status == INTERRUPTED else "failure"
        yield f"not started after the {event}: {listed(after, _STAGES_NAMED)}{hint}"


def failure_text(result: StageResult, log_command: str, *, tries: int = 1) -> str:
    """Return the fault of a failed stage, the tails of its log and kept stdout, and the command that prints the rest.

    `log_command` is `offpipe log SPEC`, `tries` the number of attempts that the stage may have.
    """
    lines = [fault_text(result.fault)] if result.fault else []
    code = result.attempts[-1].code if result.attempts and result.exit_code == EXIT_RETRYABLE else None
    if code and tries == 1 and result.fault and not result.fault.hint:
        lines.append(f"hint: {code} is retryable: set retry.attempts, or run again")
    if result.log and result.attempts:
        paths = {"log": result.log, "stdout": stdout_path(result.log)}
        tails = {name: tail for name, path in paths.items() if (tail := list(log_tail(path)))}
        for name, tail in (tails or {"log": []}).items():
            lines.append(f"{name}: {near_path(paths[name])}{'' if tail else ' (empty)'}")
            lines += [f"    {line}" for line in tail]
        if tails:  # else `log` would print nothing
            lines.append(f"more: {log_command} {result.name}")
    return "\n".join(lines)


def log_tail(path: str) -> Iterator[str]:
    """Yield the last lines of a log, at most 4 KiB, without characters that change how the terminal works."""
    try:
        with open(open_regular(path), "rb") as log:
            start = max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES)
            log.seek(start)
            content = log.read(_TAIL_BYTES)
    except (OSError, StateError):  # a stage may have put anything in its place, such as a FIFO
        return
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    if start and len(lines) > 1:
        del lines[0]  # its beginning was not read
    for line in lines[-_TAIL_LINES:]:
        yield printable(line.removesuffix(b"\r").decode("utf-8", "backslashreplace"))


def run_json(result: RunResult) -> dict[str, object]:
    """Return a run's result as a JSON value."""
    return {
        "run": result.run_id,
        **fields_json(result, "status", "exit_code", "pipeline", "seconds"),
        "ledgerHead": result.head,
        "isolation": result.isolation["level"],
        "removed": result.removed._asdict(),
        "stages": {
            name: {
                **fields_json(stage, "status", "key", "seconds"),
                "attempts": [attempt.as_metrics() for attempt in stage.attempts],
                "outputs": {name: fields_json(made, "path", "size", "sha256") for name, made in stage.outputs.items()},
                "error": stage.fault and fault_json(stage.fault),
                "log": stage.log,
            }
            for name, stage in result.stages.items()
        },
    }


def error_json(exit_code: int, faults: Sequence[Fault], run: Mapping[str, str]) -> str:
    """Return the faults that ended a command as one JSON object; `run` comes from `errors.run_of`."""
    errors = [fault_json(fault) for fault in faults]
    return json_text({"status": "error", "exitCode": exit_code, **run, "errors": errors})


def fault_json(fault: Fault) -> dict[str, object]:
    """Return a fault as a JSON value."""
    return fields_json(fault, "where", "what", "hint")


def fields_json(value: object, *names: str) -> dict[str, object]:
    """Return attributes as members of a JSON object: `byte_offset` as `byteOffset`, floats to the microsecond."""
    members: dict[str, object] = {}
    for name in names:
        member = getattr(value, name)
        members[member_name(name)] = round(member, 6) if isinstance(member, float) else member
    return members


def json_text(value: object) -> str:
    """Return a JSON value as printed: indented, ASCII, with a line end."""
    return f"{json.dumps(value, indent=2)}\n"
