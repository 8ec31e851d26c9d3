"""What keeps a run from its work once it is planned."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner.api.journal import Journal
from runner.errors import Fault, InputError, SpecError, UsageError
from runner.plan.planner import Skip
from runner.record.audit import last_record
from runner.record.markers import read_marker
from runner.record.state import read_metrics

if TYPE_CHECKING:
    from runner.api.options import Options
    from runner.api.session import Session
    from runner.plan.planner import Plan


def refuse(session: Session, options: Options, plan: Plan) -> Plan:
    """Raise for whatever keeps a run of this plan from its work; return the plan that counts."""
    refuse_faults(plan)
    plan = refuse_used_run_id(session, options, plan)
    refuse_programs(session, plan)
    return plan


def refuse_faults(plan: Plan) -> None:
    """Raise InputError (exit 5) with every declared input that is missing or unusable."""
    if plan.faults:
        raise InputError(*plan.faults)


def refuse_programs(session: Session, plan: Plan) -> None:
    """Raise SpecError (exit 2) with every stage that may have to run, and whose program is not there."""
    pending = [stage for stage in session.stages if not isinstance(plan.decisions[stage.name], Skip)]
    if pending:
        from runner.api.programs import program_faults

        if faults := program_faults(session.spec, pending, os.environ.get("PATH", "")):
            raise SpecError(*faults)


def refuse_newer(session: Session, run_id: str | None) -> None:
    """Raise StateError where a newer release wrote what this run would go on from: before the lock, so nothing changes.

    Of each run that is open, or asked for, the end of the log and the metrics; and the markers, for its commits may be
    of stages that are not selected. Whoever plans has read the rest.
    """
    paths, runs = session.spec.paths, session.head.open_runs
    for run in dict.fromkeys((*runs, *((run_id,) if run_id else ()))):
        last_record(paths.audit(run), session.seal)
        read_metrics(paths, run)
    for stage in session.spec.stages if runs else ():
        read_marker(paths, stage.name)


def refuse_used_run_id(session: Session, options: Options, plan: Plan) -> Plan:
    """Raise UsageError for a run id that succeeded already, when there is something to do; return the plan that counts.

    That run may have succeeded while this one was planning: all is done then, as another look shows.
    """
    if options.run_id and options.run_id.lower() == "ledger":  # its log would be the ledger
        raise UsageError(Fault("--run-id", f'no run can be called "{options.run_id}"', "choose another"))
    if options.run_id and not plan.is_noop and Journal.is_closed(session, options.run_id):
        plan = session.plan()
        if plan.is_noop:
            return plan
        hint = "choose another, or leave --run-id out"
        raise UsageError(Fault("--run-id", f"the run {options.run_id} has succeeded already", hint))
    return plan
