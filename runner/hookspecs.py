"""The hooks: what a plugin may decide, and what it is called for. Entry-point group: `offpipe`.

No hook is needed for a run to be correct: that is done by plain calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from runner.record.checkpoints import Progress
    from runner.results import AttemptResult, NetworkCalls, RunResult, StageResult
    from runner.sandbox.client import Launcher
    from runner.spec.model import Spec, Stage

hookspec = pluggy.HookspecMarker("offpipe")
hookimpl = pluggy.HookimplMarker("offpipe")


@hookspec(firstresult=True)
def offpipe_make_launcher(spec: Spec) -> Launcher | None:
    """Return the launcher that starts the stages of this run, or None. The first plugin that returns one decides."""


@hookspec(firstresult=True)
def offpipe_should_retry(stage: Stage, attempt: AttemptResult, retryable: bool) -> bool | None:
    """Return whether an attempt that failed is followed by another; `retryable` is what the spec's policy says.

    The bounds of the policy (attempts, maxTotalSeconds) hold whatever a plugin answers.
    """


@hookspec
def offpipe_run_started(
    spec: Spec, run_id: str, stages: int, resumed: bool, isolation: dict[str, str], checkpoints: dict[str, Progress]
) -> None:
    """Called when a run with work to do begins. `stages` is the number of stages that it covers.

    `isolation` is what keeps it offline, as in record 0 of the audit log: `level`, and a word on each layer.
    `checkpoints` are those that earlier runs left, by stage; whether one fits is decided when its stage starts.
    """


@hookspec
def offpipe_attempt_started(
    stage: Stage, attempt: int, progress: str, partials: dict[str, str], input_bytes: int, changed: str | None
) -> None:
    """Called just before a stage starts, which waits for it, so its checkpoint is still the one that it resumes from.

    `progress` is the path of its progress file, `partials` are those of its outputs. `changed` is the file that changed
    while the attempt before ran, if that is why there is another one. The hooks for the end of a stage that made room
    for this one may be called after this, even with `-j1`.
    """


@hookspec
def offpipe_network_refused(stage: Stage, attempt: int, calls: list[NetworkCalls], fails: bool) -> None:
    """Called when a running stage has asked for a network. `fails`: the stage will have failed when it ends."""


@hookspec
def offpipe_attempt_finished(stage: Stage, attempt: AttemptResult, next_delay: float | None) -> None:
    """Called when an attempt has ended. `next_delay`: seconds until the next one begins, None if there is none."""


@hookspec
def offpipe_stage_finished(stage: Stage, result: StageResult) -> None:
    """Called when a stage has ended."""


@hookspec
def offpipe_run_stopping(running: int, again: bool) -> None:
    """Called when a signal stops the run. `running` stages were sent TERM, or KILL at a later signal (`again`)."""


@hookspec
def offpipe_run_finished(result: RunResult) -> None:
    """Called when the run has ended and everything about it is on disk."""
