"""Runs that have not succeeded yet: what the killed ones had decided on is finished, and one of them goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runner.api.journal import new_run_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.api.options import Options
    from runner.api.session import Session
    from runner.errors import Fault
    from runner.paths import StatePaths
    from runner.record.recovery import OpenRun


def recovered_runs(session: Session, options: Options, warn: Callable[[Fault], None]) -> list[OpenRun]:
    """Finish what killed runs had decided on; return the runs that are open, the one asked for among them."""
    from runner.record.recovery import recover

    spec, open_runs = session.spec, session.head.open_runs
    wanted = (options.run_id,) if options.run_id and options.run_id not in open_runs else ()
    outputs = {stage.name: stage.outputs for stage in spec.stages}
    durable = options.durability == "full"
    return recover(
        spec.paths, spec.workspace, (*open_runs, *wanted), outputs, durable=durable, seal=session.seal, warn=warn
    )


def run_to_go_on(recovered: list[OpenRun], options: Options) -> OpenRun | None:
    """Return the run that this one is a part of, newest first: the one asked for, or one of no other stages.

    A run of named stages must not end, and so close, a run in which others failed.
    """
    if options.run_id:
        return next(one for one in recovered if one.run == options.run_id)
    named = set(options.stages)
    fitting = [one for one in recovered if not named or (one.selected and named.issuperset(one.selected))]
    return fitting[-1] if fitting else None


def new_run(paths: StatePaths, recovered: list[OpenRun]) -> OpenRun:
    """Return a run of a default id; it knows of the attempts of those that stay open, and may go on from theirs."""
    from runner.record.recovery import OpenRun

    return OpenRun(new_run_id(paths), None, {}, 0, tags=recovered[0].tags if recovered else {})
