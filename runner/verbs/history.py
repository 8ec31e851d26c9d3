"""What earlier invocations left on record: the ledger's lines and the logs of runs.

No spec is needed: a state directory is enough, and it may be a copy.
"""

from __future__ import annotations

import os
from functools import cache, partial
from itertools import islice
from json import dumps
from typing import TYPE_CHECKING, Any

from runner.audit.archive import RUNNING, Archive, Past, last_run, open_archive, past_invocations
from runner.errors import Fault, UsageError
from runner.record import events
from runner.record.ledger import read_head
from runner.record.locks import is_held
from runner.record.markers import Marker, marked_stages, read_marker
from runner.results import SUCCEEDED, NetworkCalls, network_text
from runner.spec.graph import refuse_unknown, select_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.engine import Options


def runs(
    target: str, options: Options, *, since: str | None = None, failed: bool = False, limit: int | None = None
) -> list[Past]:
    """Return the invocations on record, the newest first: those after `since` (as in records), and at most `limit`.

    With `failed`, only those that were refused, failed, were interrupted, or did not end.
    """
    paths = open_archive(target, options).paths
    past = past_invocations(paths.ledger, is_running=is_held(paths), since=since or "")
    return list(islice((each for each in past if not failed or each.outcome not in (SUCCEEDED, RUNNING)), limit))


def find_logs(target: str, options: Options, selector: str, run: str | None, attempt: int | None) -> dict[str, str]:
    """Return the paths of the logs of the selected stages, by stage.

    By default, each is of the last attempt in the last run that started the stage. Stages that were not started, or
    have no such attempt on record, are left out. UsageError if none remains, for an unknown stage, and for a run
    without a log.
    """
    archive = open_archive(target, options)
    paths, spec = archive.paths, archive.spec
    if run:
        _require_log(archive, run)
    run_ids = (run,) if run else read_head(paths.ledger, archive.seal).open_runs[::-1]
    started = cache(partial(_started, archive, attempt))
    logs: dict[str, str] = {}
    stages = select_names(spec.names if spec else marked_stages(paths), (selector,)) or [selector]
    for stage, marker in zip(stages, markers := [read_marker(paths, stage) for stage in stages], strict=True):
        for run_id in (*run_ids, marker.run) if marker and not run else run_ids:
            if number := started(run_id).get(stage):
                logs[stage] = paths.log(run_id, stage, number)
                break
    if logs:
        return logs
    if spec:
        refuse_unknown(spec, (selector,))  # with a hint
    marker = markers[0]
    if marker and not run and not os.path.lexists(paths.audit(marker.run)):
        raise UsageError(Fault(f"stage {selector}", f"its log was pruned with the run {marker.run}"))
    what = f"has no attempt {attempt} on record" if attempt else "was not started" if run else "was never started"
    what, hint = f"{what} in the run {run}" if run else what, ""
    if marker and marker.reasons and marker.reasons[0][0] == "adopted":
        what, hint = f"{what}; its outputs are {marker.reasons[0][1]}", "for their log, name that stage, and --run"
    raise UsageError(Fault(f"stage {selector}", what, hint))


def _require_log(archive: Archive, run: str) -> None:
    """Raise UsageError, which says why, for a run without an audit log: it was pruned or refused, or is unknown."""
    if not os.path.exists(archive.paths.audit(run)):
        past = next((past for past in past_invocations(archive.paths.ledger) if past.run == run), None)
        kept = f"run {run} has no log: {'pruned' if past.pruned else past.outcome}" if past else f'no run "{run}"'
        raise UsageError(Fault("", kept))


def _started(archive: Archive, attempt: int | None, run: str) -> dict[str, int]:
    """Return the last attempt of each stage that a run started; only stages with that `attempt`, if it is given."""
    started = (event for _, event in archive.events(run) if isinstance(event, events.AttemptStarted))
    return {event.stage: event.attempt for event in started if attempt in (None, event.attempt)}


def markers_of(directory: str, options: Options, selector: str) -> list[Marker]:
    """Return the markers of the selected stages in a state directory. UsageError if there is none."""
    paths = open_archive(directory, options).paths
    stages = select_names(marked_stages(paths), (selector,))
    if markers := [marker for stage in stages if (marker := read_marker(paths, stage))]:
        return markers
    hint = f"offpipe log {directory} has the events"
    raise UsageError(Fault(f"stage {selector}", "has no completion marker here", hint))


def read_events(target: str, options: Options, run: str | None, *, as_json: bool) -> Iterator[str]:
    """Yield the audit log of a run (default: the last one), a line for each event. UsageError for an unknown run."""
    archive = open_archive(target, options)
    chosen = run or last_run(archive.paths.ledger).get("run")
    if not chosen:
        raise UsageError(Fault("", "no run yet"))
    _require_log(archive, chosen)
    for record, event in archive.events(chosen):
        text = f"{record['ts']} {record['ev']} {_subject(record['data'], event)}".rstrip()
        yield dumps(record) if as_json else text


def calls_of(event: events.NetworkAttempt) -> str:
    """Return which program asked for which network, as text."""
    return network_text([NetworkCalls(event.program, event.family, event.count, is_probe=False)])


def _subject(data: dict[str, Any], event: events.Event | None) -> str:
    names = ("stage", "attempt", "exit", "signal", "status", "node")
    shown = [str(data[name]) for name in names if data.get(name) is not None]
    if isinstance(event, events.NetworkAttempt):
        shown += [calls_of(event), event.action]
    elif isinstance(event, events.RunWarning):
        shown += [f"{event.where}: {event.what}"]
    elif data.get("lost"):
        shown.append(f"lost: {data['lost']}")
    elif shown and data.get("why"):
        shown[-1:] = [f"{shown[-1]}: {data['why']}"]
    return " ".join(shown)
