"""The hooks: what a plugin may decide, and the events for which it is called. Entry-point group: `offpipe`.

Correctness depends on no hook: everything else in a run is a plain call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Callable

    from runner.errors import Fault
    from runner.record.checkpoints import Progress
    from runner.results import AttemptResult, NetworkCalls, RunResult, StageResult
    from runner.sandbox.launcher import Launcher
    from runner.spec.model import Spec, Stage

hookspec = pluggy.HookspecMarker("offpipe")
hookimpl = pluggy.HookimplMarker("offpipe")


@hookspec(firstresult=True)
def offpipe_make_launcher(spec: Spec, warn: Callable[[Fault], None], check: Callable[[], None]) -> Launcher | None:
    """Return the launcher that starts the stages of this run, or None. The first launcher counts.

    `warn` shows a warning, and puts it on record. `check` raises when a signal has arrived.
    """


@hookspec(firstresult=True)
def offpipe_should_retry(stage: Stage, attempt: AttemptResult, retryable: bool) -> bool | None:
    """Return whether to retry after a failed attempt, or None. `retryable` is the answer of the spec's policy.

    The bounds of the policy (attempts, maxTotalSeconds) hold in any case.
    """


@hookspec
def offpipe_run_started(
    spec: Spec, run_id: str, stages: int, resumed: bool, isolation: dict[str, str], checkpoints: dict[str, Progress]
) -> None:
    """Called when a run with work to do begins. `stages` is the number of its stages, as far as they are known.

    `isolation` says what keeps it offline, as in record 0 of the audit log: the `level`, and each layer. `checkpoints`
    are those of earlier runs, by stage. Whether a checkpoint fits is decided when its stage starts.
    """


@hookspec
def offpipe_run_expanded(spec: Spec, templates: list[str], stages: int) -> None:
    """Called when a run has made the values of `templates`, so that their instances are known.

    `spec` has all instances that are known by now; `stages` is the number of the run's stages that are known.
    """


@hookspec
def offpipe_attempt_started(
    stage: Stage, attempt: int, progress: str, partials: dict[str, str], input_bytes: int, changed: str | None
) -> None:
    """Called just before a stage starts. The stage waits for the hook, so its checkpoint is still the old one.

    `progress` is the path of its progress file, `partials` are the paths of its partials. `changed` is the file that
    changed during the attempt before, if that is why there is another. Even with `-j1`, this may be called before the
    hooks for the end of the previous stage.
    """


@hookspec
def offpipe_network_refused(stage: Stage, attempt: int, calls: list[NetworkCalls], fails: bool) -> None:
    """Called when a running stage has asked for a network. `fails`: the stage is ended because of it."""


@hookspec
def offpipe_attempt_finished(stage: Stage, attempt: AttemptResult, next_delay: float | None) -> None:
    """Called when an attempt has ended. `next_delay`: seconds until the next attempt begins, None if there is none."""


@hookspec
def offpipe_stage_finished(stage: Stage, result: StageResult) -> None:
    """Called when a stage has ended."""


@hookspec
def offpipe_run_stopping(running: int, again: bool) -> None:
    """Called when a signal stops the run. `running` stages were sent TERM, or KILL after a later signal (`again`)."""


@hookspec
def offpipe_run_finished(result: RunResult) -> None:
    """Called when the run has ended and all of its records are on disk.

    If it was refused before it began, `result.status` is `refused`, and `result.fault` says why.
    """
