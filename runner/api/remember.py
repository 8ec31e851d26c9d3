"""Remembering that there is nothing to do, so that the next run can tell without planning (see decide.noop, quick)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import runner
from runner.api.journal import LONGEST_SPEC, lasting_part, versions
from runner.api.options import Options
from runner.canonical import canonical
from runner.decide.looked import Looked, record
from runner.decide.noop import conditions_now, is_plain, record_path
from runner.errors import StateError
from runner.levels import NONE
from runner.record import files
from runner.record.seal import PLAIN
from runner.spec.index import parents

if TYPE_CHECKING:
    from runner.api.session import Session
    from runner.spec.model import Spec


SHORT_SPEC = 1 << 12  # characters of one that each run with nothing to do repeats; a longer one is named by who has it


def remember(session: Session, options: Options, run_id: str) -> None:
    """Write the record of a plan that found every stage up to date, as the run `run_id` tells.

    Only of a run of all stages as the spec has them, and one with nothing to warn of: a later one must say no less.
    """
    usual = Options(workspace=options.workspace, jobs=options.jobs, keep_going=options.keep_going,
                    durability=options.durability, argv=options.argv, final=options.final)  # fmt: skip
    if options != usual or is_plain() or session.seal is not PLAIN or session.has_warned or session.examiner is None:
        return
    looked = Looked()
    session.examiner.look_back(looked)
    _look_at_spec(session.spec, looked)
    found = record(
        looked,
        conditions_now((session.spec.path, options.workspace or ""), runner.__version__),
        _told(session, run_id),
        base=session.spec.workspace,
        began=session.began,
    )
    path = record_path(session.spec.path, options.workspace)
    if found is None:
        return
    try:
        files.make_directories(os.path.dirname(path))
        files.replace(path, found.encode(), temporary=f"{path}.{os.getpid()}")
    except StateError:  # the next run plans again
        return


def _look_at_spec(spec: Spec, looked: Looked) -> None:
    """Take in what loading the spec looked at, the markers, and the outputs."""
    looked.files.add(spec.path)
    looked.ways.add(spec.root)
    for stage in spec.stages:
        looked.entries.add(spec.paths.marker(stage.name))
        if processor := spec.processor_path(stage):
            looked.files.add(processor)
        for path in stage.outputs.values():
            looked.ways.update(os.path.join(spec.workspace, parent) for parent in parents(path))
            if path.endswith("/"):
                looked.tree(spec.output_path(path))
            else:
                looked.entries.add(spec.output_path(path))


def _told(session: Session, run_id: str) -> dict[str, object]:
    """Return what the quick way needs to record its run: of record 0 (see journal) what is the same for each."""
    spec = session.spec
    opening = lasting_part(spec, (), {"level": NONE}, None, LONGEST_SPEC)
    if len(str(opening.get("spec", ""))) > SHORT_SPEC:
        del opening["spec"]
        opening["specIn"] = run_id
    return {
        "state": spec.paths.state_dir, "locks": spec.paths.locks_dir, "stages": len(spec.stages),
        "name": spec.name, "nameJson": canonical(spec.name),
        "opening": {key: canonical(value) for key, value in opening.items()},
        "versions": canonical(versions("SYSTEM")).replace(b'"SYSTEM"', b"SYSTEM"),
    }  # fmt: skip
