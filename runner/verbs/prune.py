"""The verb `prune`: remove the logs, metrics and audit logs of old runs. What they prove stays in the ledger."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

from runner.audit.archive import past_invocations
from runner.audit.verification import Verification
from runner.engine.journal import Invocation
from runner.engine.open_runs import held_lock
from runner.engine.session import Session
from runner.record import files
from runner.record.events import ENDED, PRUNED
from runner.record.invocation import new_run_id
from runner.record.ledger import pruned_commits
from runner.record.log import read_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.engine import Options
    from runner.errors import Fault
    from runner.paths import StatePaths


def prune(
    spec_path: str, options: Options, warn: Callable[[Fault], None], *, keep: int | None, before: str, dry_run: bool
) -> tuple[list[str], str]:
    """Remove the files of runs that have ended: all but the newest `keep` that have a log, or all from `before` a time.

    Return these runs, oldest first, and the ledger's head. Never removes an open run, nor one whose log has the spec of
    a run that stays. First adds a line to the ledger that names the runs, with the digests of the commits that markers
    refer to. The next `prune` completes a killed one. Holds the pipeline lock, unless it is a `dry_run`.
    DamagedRecordError if `verify` finds damage: then nothing is removed.
    """
    spec = options.load(spec_path)
    paths = spec.paths
    with Invocation(spec, options, warn, time.time_ns(), verb="prune") as invocation:
        invocation.is_recorded = dry_run or not os.path.exists(paths.ledger)  # then it leaves no line
        session = Session(spec_path, options, spec=spec, writes=True, warn=invocation.warn)
        with nullcontext() if dry_run else held_lock(spec, options.wait):
            verified = Verification(paths.state_dir, session.seal, shown=os.path.relpath(paths.state_dir))
            if os.path.exists(paths.ledger):
                verified.check()
            verified.require_intact("nothing was removed")
            runs, left = _removable(session, keep, before)
            if invocation.is_recorded:
                return runs, session.head.position.hash
            commits, removed = verified.markers.commits_of(set(runs)), verified.markers.removals_by(set(runs))
            head = session.ledger.append(
                PRUNED if runs else ENDED,
                new_run_id(paths),
                None,
                sync=True,
                invocation=invocation.ended(),
                runs=runs or None,
                commits=commits or None,
                removed=removed or None,
            )
            for run in _without_holders(session, {*runs, *left}):  # checked again: runs without work take no lock
                for path in (paths.audit(run), paths.metrics(run), paths.logs(run)):
                    files.discard(path)
    return runs, head


def _removable(session: Session, keep: int | None, before: str) -> tuple[list[str], set[str]]:
    """Return the runs to remove, oldest first, and those that a killed `prune` has left."""
    paths = session.spec.paths
    past = [each for each in past_invocations(paths.ledger) if each.verb == "run"]
    recorded = [run for run in dict.fromkeys(each.run for each in past) if os.path.lexists(paths.audit(run))]
    recent = recorded[:keep] if keep is not None else (each.run for each in past if each.began >= before)
    kept = {*recent, *session.read_head().open_runs}
    runs = [run for run in reversed(recorded) if run not in kept]
    left = _present(paths).intersection(pruned_commits(paths.ledger)).difference(runs)
    chosen = _without_holders(session, {*runs, *left})
    return [run for run in runs if run in chosen], left & chosen


def _without_holders(session: Session, runs: set[str]) -> set[str]:
    """Return `runs` without those whose log has the spec of another run."""
    paths = session.spec.paths
    logs = (paths.audit(run) for run in _present(paths) - runs)
    openings = (record for log in logs for record in islice(read_records(log, session.seal), 1))
    return runs.difference(record["data"].get("specIn") for record in openings)


def _present(paths: StatePaths) -> set[str]:
    """Return the runs that have an audit log, metrics, or logs."""
    present = set(os.listdir(paths.logs("")) if os.path.isdir(paths.logs("")) else ())
    for name in os.listdir(paths.state_dir) if os.path.isdir(paths.state_dir) else ():
        kind, _, rest = name.partition("_")
        if kind in ("audit", "metrics") and rest.endswith((".json", ".jsonl")):
            present.add(rest.rpartition(".")[0])
    return present - {"ledger"}
