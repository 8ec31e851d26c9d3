"""Writes the no-op record, from which the next run can tell without a plan that it has nothing to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runner import noop
from runner.api.options import Options
from runner.errors import StateError
from runner.hashing import sha256_of
from runner.plan.dependencies import Dependencies
from runner.record import files
from runner.record.seal import PLAIN
from runner.spec.locations import parents

if TYPE_CHECKING:
    from runner.api.session import Session
    from runner.spec.model import Spec


def remember(session: Session, options: Options, run_id: str) -> None:
    """Write the record of a plan that found every stage up to date, as the run `run_id` has it in its log.

    Only of a run of all stages as the spec has them, and one with nothing to warn of: a later one must say no less.
    """
    usual = Options(workspace=options.workspace, jobs=options.jobs, keep_going=options.keep_going,
                    durability=options.durability, argv=options.argv, final=options.final)  # fmt: skip
    if options != usual or noop.is_plain() or session.seal is not PLAIN or session.has_warned or not session.examiner:
        return
    spec, dependencies = session.spec, Dependencies()
    session.examiner.look_back(dependencies)
    _add_spec(spec, dependencies)
    described = spec.name, len(spec.stages), _spec_in_log(spec, run_id)
    record = noop.record_of(dependencies, spec.paths, *described, session.began)
    if record is None:
        return
    path = noop.record_path(spec.path, options.workspace)
    content = record.encode(noop.conditions_now(spec.path, options.workspace))
    try:
        files.make_directories(os.path.dirname(path))
        files.replace(path, content, temporary=f"{path}.{os.getpid()}")
    except StateError:  # the next run plans again
        return


def _spec_in_log(spec: Spec, run_id: str) -> tuple[str, bytes, str]:
    """Return the digest of the spec, how record 0 of a run with nothing to do has it, and the run that holds it."""
    encoded = spec.canonical.encode("utf-8", "backslashreplace")
    form = noop.SPEC if len(spec.canonical) <= noop.SHORT_SPEC else noop.SPEC_IN
    return sha256_of(encoded), form if len(encoded) <= noop.LONGEST_SPEC else noop.NO_SPEC, run_id


def _add_spec(spec: Spec, dependencies: Dependencies) -> None:
    """Add what loading the spec looked at, the markers, and the outputs."""
    dependencies.files.add(spec.path)
    dependencies.ways.add(spec.root)
    for stage in spec.stages:
        dependencies.entries.add(spec.paths.marker(stage.name))
        if processor := spec.processor_path(stage):
            dependencies.files.add(processor)
        for path in stage.outputs.values():
            dependencies.ways.update(os.path.join(spec.workspace, parent) for parent in parents(path))
            if path.endswith("/"):
                dependencies.tree(spec.output_path(path))
            else:
                dependencies.entries.add(spec.output_path(path))
