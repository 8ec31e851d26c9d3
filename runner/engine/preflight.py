"""What keeps a run from starting: missing inputs and programs, a run id that is used, files of a newer release."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from runner.engine.open_runs import is_closed
from runner.errors import Fault, InputError, InterruptedRunError, SpecError, UsageError
from runner.plan.code.commands import shebang
from runner.plan.planner import Skip
from runner.record.audit import last_record
from runner.record.locks import is_held
from runner.record.markers import read_marker
from runner.record.state import read_metrics
from runner.sandbox.environment import stage_path
from runner.sandbox.programs import find_program, may_be_made, missing_program
from runner.spec.placeholders import expand, references

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from runner.engine.session import Session
    from runner.interrupts import Interrupts
    from runner.plan.planner import Plan
    from runner.spec.model import Spec, Stage

PATIENT_BESIDE_A_RUN = 0.5  # seconds of hashing after which it matters whether another run holds the lock


class _AnotherRunError(Exception):
    """Hashing takes long, and another run holds the lock: wait for that one instead of hashing beside it."""


def plan_without_lock(
    session: Session, interrupts: Interrupts, on_hashed: Callable[[str, int, int], None]
) -> Plan | None:
    """Return the plan that counts, or None where hashing takes long while another run holds the lock.

    Raises as `refuse` does. `on_hashed` gets a path, its size, and the bytes just read.
    """
    began, paths, is_beside = time.monotonic(), session.spec.paths, True

    def hashed(path: str, total: int, size: int) -> None:
        interrupts.check()
        is_long = is_beside and time.monotonic() - began > PATIENT_BESIDE_A_RUN
        if is_long and is_held(paths):
            raise _AnotherRunError
        on_hashed(path, total, size)

    session.on_hashed = hashed
    refuse_newer(session)
    try:
        plan = session.plan()
    except _AnotherRunError:
        return None
    except InterruptedRunError:
        session.save_cache()  # the next run reads the rest
        raise
    finally:
        is_beside = False
    return refuse(session, plan)


def refuse(session: Session, plan: Plan) -> Plan:
    """Raise for whatever keeps a run of this plan from its work; return the plan that counts.

    InputError (exit 5) with every declared input that is missing or unusable; SpecError (exit 2) with every stage that
    may have to run, and whose program is not there.
    """
    if plan.faults:
        raise InputError(*plan.faults)
    plan = refuse_used_run_id(session, plan)
    pending = [stage for stage in session.stages if not isinstance(plan.decisions[stage.name], Skip)]
    if faults := program_faults(session.spec, pending):
        raise SpecError(*faults)
    return plan


def refuse_newer(session: Session) -> None:
    """Raise StateError where a newer release wrote what this run would go on from: before the lock, so nothing changes.

    Of each run that is open, or asked for, the end of the log and the metrics; and the markers, for its commits may be
    of stages that are not selected. Whoever plans has read the rest.
    """
    paths, runs, run_id = session.spec.paths, session.head.open_runs, session.options.run_id
    for run in dict.fromkeys((*runs, *((run_id,) if run_id else ()))):
        last_record(paths.audit(run), session.seal)
        read_metrics(paths, run)
    for stage in session.spec.stages if runs else ():
        read_marker(paths, stage.name)


def refuse_used_run_id(session: Session, plan: Plan) -> Plan:
    """Raise UsageError for a run id that succeeded already, when there is something to do; return the plan that counts.

    That run may have succeeded while this one was planning: then all is done, as a new plan shows.
    """
    run_id = session.options.run_id
    if run_id and run_id.lower() == "ledger":  # its log would be the ledger
        raise UsageError(Fault("--run-id", f'no run can be called "{run_id}"', "choose another"))
    if run_id and not plan.is_noop and is_closed(session, run_id):
        plan = session.plan()
        if not plan.is_noop:
            hint = "choose another, or leave --run-id out"
            raise UsageError(Fault("--run-id", f"the run {run_id} has succeeded already", hint))
    return plan


def program_faults(spec: Spec, stages: Collection[Stage]) -> list[Fault]:
    """Return a fault for each of `stages` whose program is not there.

    A program that a stage makes, or that is an input, is checked when its stage starts.
    """
    outputs = frozenset(spec.output_path(path) for stage in spec.stages for path in stage.outputs.values())
    found: dict[tuple[str, str], Fault | None] = {}
    faults = []
    for stage in stages:
        word, field = _program(spec, stage)
        if word is None:
            continue
        key = (word, stage_path(stage.env, sys.executable))
        if key not in found:  # many stages share a program
            found[key] = _program_fault(*key, spec.root, outputs)
        if fault := found[key]:
            faults.append(Fault(f"{spec.shown}#/stages/{stage.index}/{field}", fault.what, fault.hint))
    return faults


def _program(spec: Spec, stage: Stage) -> tuple[str | None, str]:
    """Return the program's word (None if it is known only at its start) and the field that has it."""
    processor = spec.processor_path(stage)
    if processor is not None:
        return (None if processor.endswith(".py") else processor), "processor"
    assert stage.command is not None
    first = stage.command[0]
    if any(form != "params" for form, _ in references(first)):
        return None, ""
    word = expand((first,), inputs={}, lists={}, outputs={}, params=stage.params, python=sys.executable)[0]
    return word, "command/0"


def _program_fault(word: str, path: str, root: str, outputs: Collection[str]) -> Fault | None:
    program = find_program(word, path, root)
    if program is None:
        is_made = may_be_made(word, path, root, outputs)
        return None if is_made else missing_program(word, path, os.environ.get("PATH", ""), root, "")
    words = shebang(program)
    if not words or os.path.exists(os.path.join(root, words[0])):
        return None
    shown = os.path.relpath(program, root) if program.startswith(f"{root}/") else program
    return Fault("", f'"{shown}" is to be run by "{words[0]}", which is not there', "mend its first line (#!)")
