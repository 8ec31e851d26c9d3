"""The hooks: choices that a plugin may take, and news that it may hear. Entry-point group: `offpipe`.

What a run's correctness rests on is no hook but a plain call.
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
    """Return the launcher that starts the stages of this run; the first plugin to answer decides."""


@hookspec(firstresult=True)
def offpipe_should_retry(stage: Stage, attempt: AttemptResult, retryable: bool) -> bool | None:
    """Return whether an attempt that failed is followed by another; `retryable` is what the spec's policy says.

    The bounds of the policy (attempts, maxTotalSeconds) hold whatever a plugin answers.
    """


@hookspec
def offpipe_run_started(
    spec: Spec, run_id: str, stages: int, resumed: bool, isolation: dict[str, str], checkpoints: dict[str, Progress]
) -> None:
    """Hear that a run with work to do begins; `stages` is how many it decides over, `isolation` what keeps it offline.

    That is as in record 0 of the audit log: `level`, and a word on each layer. `checkpoints` are those that earlier
    runs left, by stage; whether one fits is settled when its stage is started.
    """


@hookspec
def offpipe_attempt_started(
    stage: Stage, attempt: int, progress: str, partials: dict[str, str], input_bytes: int, changed: str | None
) -> None:
    """Hear that a stage is started; `progress` is the path of its progress file, `partials` those of its outputs.

    It is told just before, and waits for that: so a checkpoint is still the one that the attempt goes on from. Another
    stage, whose end makes room for it, may be told as finished only after this, also with `-j1`.
    `changed` is the file that changed while the attempt before ran, if that is why there is another one.
    """


@hookspec
def offpipe_network_refused(stage: Stage, attempt: int, calls: list[NetworkCalls], fails: bool) -> None:
    """Hear that a stage, which goes on working, has asked for a network; `fails`: it will have failed when it ends."""


@hookspec
def offpipe_attempt_finished(stage: Stage, attempt: AttemptResult, next_delay: float | None) -> None:
    """Hear how an attempt ended, and in how many seconds the next one begins, if there is one."""


@hookspec
def offpipe_stage_finished(stage: Stage, result: StageResult) -> None:
    """Hear how a stage ended."""


@hookspec
def offpipe_run_stopping(running: int, again: bool) -> None:
    """Hear that a signal asked the run to stop: so many stages were sent TERM, or KILL if it is not the first one."""


@hookspec
def offpipe_run_finished(result: RunResult) -> None:
    """Hear how the run ended, after everything about it is on disk."""
