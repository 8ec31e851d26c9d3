"""How a run ended: a short text for people, one JSON object for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from runner import results
from runner.display.offline import offline_text
from runner.display.words import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner.errors import Fault
    from runner.results import RunResult, StageResult

_AFTER = "not started"  # though blocked by nothing that it needs
_ORDER = (results.SUCCEEDED, results.FAILED, results.BLOCKED, _AFTER, results.INTERRUPTED, results.SKIPPED)


def summary_text(result: RunResult) -> str:
    """Return the summary of a run and the head of the ledger."""
    needing, after = map(len, result.unstarted())
    counts = {status: result.count(status) for status in _ORDER} | {results.BLOCKED: needing, _AFTER: after}
    if result.status == results.SUCCEEDED and counts[results.SKIPPED] == len(result.stages):
        text = f"nothing to do, {counts[results.SKIPPED]} up to date"
    else:
        text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        text += f" in {seconds(result.seconds)}"
    return f"{result.pipeline}: {text} (run {result.run_id})\n{offline_text(result)}ledger head: {result.head}\n"


def run_json(result: RunResult) -> str:
    """Return a run's result as one JSON object."""
    return json_text({
        "run": result.run_id,
        "status": result.status,
        "exitCode": result.exit_code,
        "pipeline": result.pipeline,
        "seconds": round(result.seconds, 6),
        "ledgerHead": result.head,
        "isolation": result.isolation["level"],
        "stages": {name: _stage(stage) for name, stage in result.stages.items()},
    })  # fmt: skip


def error_json(exit_code: int, faults: Sequence[Fault]) -> str:
    """Return what kept a run from starting, or ended it, as one JSON object."""
    return json_text({"status": "error", "exitCode": exit_code, "errors": [fault_json(fault) for fault in faults]})


def fault_json(fault: Fault) -> dict[str, str]:
    """Return a fault as a JSON value."""
    return {"where": fault.where, "what": fault.what, "hint": fault.hint}


def json_text(value: object) -> str:
    """Return a JSON value as printed: indented, ASCII, with a line end."""
    return f"{json.dumps(value, indent=2)}\n"


def _stage(stage: StageResult) -> dict[str, object]:
    return {
        "status": stage.status,
        "key": stage.key,
        "seconds": round(stage.seconds, 6),
        "attempts": [attempt.as_metrics() for attempt in stage.attempts],
        "outputs": {
            name: {"path": made.path, "size": made.size, "sha256": made.sha256} for name, made in stage.outputs.items()
        },
        "error": fault_json(stage.fault) if stage.fault else None,
        "log": stage.log,
    }
